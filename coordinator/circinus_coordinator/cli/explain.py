"""``circinus explain``: what binds a query, and what would admit it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json, print_json

__all__ = ["explain"]

ALL = 0.9995  # a share that reads as 100 %


@click.command()
@click.argument("query")
@with_api
@as_json
def explain(query: str, api: str, as_json: bool) -> None:
    """Say why QUERY got what it got, and the cheapest change that would give it more."""
    from circinus_coordinator.api.client import Client

    found = Client(api).get(f"/v1/explain/{urllib.parse.quote(query, safe='')}")
    if as_json:
        print_json(found)
        return
    click.echo(_in_words(query, found))


def _in_words(query: str, found: Mapping[str, Any]) -> str:
    share = found.get("share") or 0.0
    whole = share > ALL
    lines = [f"{query}: {share:.0%} of its requests are served"]
    if found.get("binding"):
        lines.append(f"  {'tightest' if whole else 'in the way'}: {found['binding']}")
    if found.get("reason"):
        lines.append(f"  why: {found['reason']}")
    if found.get("relaxation"):
        lines.append(f"  what would help: {found['relaxation']}")
    return "\n".join(lines)
