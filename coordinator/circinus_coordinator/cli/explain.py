"""``circinus explain``: what binds a query, and what would admit it."""

from __future__ import annotations

import urllib.parse

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json, print_json

__all__ = ["explain"]


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
    import yaml

    click.echo(yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip())
