"""The OpenAPI 3.1 document, made from the endpoints and the types they answer with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from circinus import __version__
from circinus_coordinator.api.endpoints import Endpoint
from circinus_coordinator.api.errors import ErrorDocument

__all__ = ["openapi_document"]

REFERENCE = "#/components/schemas/{name}"


def openapi_document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document for these endpoints."""
    rows = list(endpoints)
    kinds = [e.answer for e in rows if not isinstance(e.answer, str)]
    schemas, components = msgspec.json.schema_components(
        [*kinds, ErrorDocument], ref_template=REFERENCE
    )
    schema_of = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=False)}
    error = {"content": {"application/json": {"schema": schemas[-1]}}}
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(
            row, schema_of.get(id(row.answer)), error
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Circinus coordinator",
            "version": __version__,
            "summary": "Devices, queries, plans, and what was promised and measured.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(row: Endpoint, schema: Any, error: dict[str, Any]) -> dict[str, Any]:
    media = row.answer if isinstance(row.answer, str) else "application/json"
    names = re.findall(r"{(\w+)}", row.path)
    operation: dict[str, Any] = {
        "operationId": _operation_id(row),
        "summary": row.summary,
        "responses": {
            str(row.status): {
                "description": "As asked",
                "content": {media: {"schema": schema if schema is not None else {}}},
            },
            "default": {"description": "What went wrong, and the remedy", **error},
        },
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in row.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if row.body:
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": {}} for media in row.body},
        }
    return operation


def _operation_id(row: Endpoint) -> str:
    words = [w for w in re.split(r"[/{}.]+", row.path) if w and w != "v1"]
    return "_".join([row.method.lower(), *words])
