import json
from collections.abc import Iterator
from typing import Any

from circinus_coordinator.api.endpoints import ENDPOINTS
from circinus_coordinator.api.openapi import openapi_document


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def test_the_document_is_valid_openapi() -> None:
    from openapi_spec_validator import validate

    validate(json.loads(json.dumps(openapi_document(ENDPOINTS))))


def test_every_reference_leads_to_a_schema() -> None:
    document = openapi_document(ENDPOINTS)
    for node in walk(document):
        reference = node.get("$ref")
        if isinstance(reference, str):
            assert reference.rpartition("/")[2] in document["components"]["schemas"]


def test_every_operation_has_an_id_of_its_own() -> None:
    document = openapi_document(ENDPOINTS)
    ids = [n["operationId"] for n in walk(document["paths"]) if "operationId" in n]
    assert len(ids) == len(set(ids)) == len(ENDPOINTS)
