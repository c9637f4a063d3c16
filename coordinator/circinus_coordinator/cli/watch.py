"""``circinus watch``: promised and measured, as they change."""

from __future__ import annotations

import json
import sys
import time

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json

__all__ = ["watch"]


@click.command()
@click.option("--once", is_flag=True, help="Print the present state and end.")
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="S",
    help="Seconds between two looks of the live table.",
)
@with_api
@as_json
def watch(once: bool, interval: float, api: str, as_json: bool) -> None:
    """Follow the queries: a live table on a terminal, else one line for each event.

    With --json, each event is one line of JSON. Ends with Ctrl-C, which gives exit code 130, or
    with the coordinator, which gives 1.
    """
    from circinus.errors import Transient
    from circinus_coordinator.api.client import Client

    client = Client(api)
    if once:
        _once(client.get("/v1/queries")["queries"], as_json)
    elif as_json or not sys.stdout.isatty():
        for event in client.events():
            text = f"{event['kind']} {event['subject']}: {event['text']}"
            click.echo(json.dumps(event) if as_json else text)
            sys.stdout.flush()
        # It never ends the stream by itself: it was stopped, or was killed.
        raise Transient(f"the coordinator at {client.base} went away")
    else:
        from rich.live import Live

        from circinus_coordinator.demo.view import QueryTable

        with Live(QueryTable(client.get("/v1/queries")["queries"]), screen=False) as live:
            while True:
                time.sleep(interval)
                live.update(QueryTable(client.get("/v1/queries")["queries"]))


def _once(rows: list[dict[str, object]], as_json: bool) -> None:
    from circinus_coordinator.demo.view import query_lines

    click.echo(json.dumps(rows, indent=1) if as_json else "\n".join(query_lines(rows)))
