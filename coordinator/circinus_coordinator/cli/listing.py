"""``circinus devices|queries|plans``: ``ls`` and ``show``."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from circinus.errors import NoData
from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import (
    Column,
    as_json,
    number,
    print_json,
    print_table,
)

__all__ = ["devices", "plans", "queries"]

Row = Mapping[str, Any]

# How agent and coordinator tell messages and documents apart.
FOR_PROGRAMS = {"boot_id", "session", "schema", "hash", "store", "plan_id"}
SHOWN = 100


def _fetch(api: str, path: str) -> Any:
    from circinus_coordinator.api.client import Client

    return Client(api).get(path)


def _named(name: str, rows: Iterable[Row], key: str, what: str) -> Row:
    for row in rows:
        if row[key] == name:
            return row
    raise NoData(f"there is no {what} {name!r}")


def _show(document: Any, as_json: bool) -> None:
    """A document: JSON in full, or what people want to know of it as indented lines."""
    if as_json:
        print_json(document)
        return
    import yaml

    shown = yaml.safe_dump(_readable(document), sort_keys=False, allow_unicode=True, width=SHOWN)
    click.echo(shown.rstrip())


def _readable(document: Any) -> Any:
    """Without what says nothing to people, and numbers with four significant digits."""
    if isinstance(document, Mapping):
        items = {k: _readable(v) for k, v in document.items() if k not in FOR_PROGRAMS}
        return {k: v for k, v in items.items() if v is not None and v not in ({}, [])}
    if isinstance(document, (list, tuple)):
        return [_readable(item) for item in document]
    if isinstance(document, float):
        rounded = float(f"{document:.4g}")
        return int(rounded) if rounded.is_integer() else rounded
    return document


def _group(
    name: str,
    summary: str,
    rows: Callable[[str], Sequence[Row]],
    columns: Sequence[Column],
    cells: Callable[[Row], Sequence[str]],
) -> click.Group:
    """A group with ``ls``; ``show`` is added by the caller."""
    group = click.Group(name, help=summary)

    @group.command("ls", help=f"List {name}.")
    @with_api
    @as_json
    def ls(api: str, as_json: bool) -> None:
        found = rows(api)
        if as_json:
            print_json(found)
        else:
            print_table(columns, (cells(row) for row in found))

    return group


def _device(row: Row) -> Sequence[str]:
    has = row["capabilities"] or {}
    return (
        row["id"],
        row["device_class"] or "-",
        row["tier"] or "-",
        "online" if row["online"] else "offline",
        number(has.get("cores")),
        number(has.get("memory_mb"), 5),
        "emulated" if row["emulated"] else "real",
        row["rollout"] or "-",
        f"not planned for: {row['plannable']}" if row["plannable"] else row.get("warning") or "",
    )


devices = _group(
    "devices",
    "Devices of the fleet.",
    lambda api: _fetch(api, "/v1/devices")["devices"],
    (
        Column(name="id"),
        Column(name="class"),
        Column(name="tier"),
        Column(name="state"),
        Column(name="cores", right=True, drop=2),
        Column(name="memory MB", right=True, drop=1),
        Column(name="machine", drop=3),
        Column(name="rollout"),
        Column(name="reason", below=True),
    ),
    _device,
)


@devices.command("show")
@click.argument("id_", metavar="ID")
@with_api
@as_json
def _show_device(id_: str, api: str, as_json: bool) -> None:
    """Show all that is known of the device ID."""
    _show(_named(id_, _fetch(api, "/v1/devices")["devices"], "id", "device"), as_json)


def _query(row: Row) -> Sequence[str]:
    from circinus_coordinator.demo.report import goal_text, percentile_text

    measured, promised = row["measured"] or {}, row["promised"] or {}
    slo = row["query"].get("slo") or {}
    met = measured.get("attainment")
    return (
        row["id"],
        row["state"],
        f"{row['share']:.0%}",
        goal_text(slo),
        percentile_text(slo),
        number(promised.get("latency_ms")),
        number(measured.get("latency_ms")),
        number(measured.get("goodput_rps")),
        "-" if met is None else f"{met:.1%}",
        row["reason"] or "",
    )


queries = _group(
    "queries",
    "Queries and what became of them.",
    lambda api: _fetch(api, "/v1/queries")["queries"],
    (
        Column(name="id"),
        Column(name="state"),
        Column(name="share", right=True),
        Column(name="objectives", below=True),
        Column(name="at"),
        Column(name="promised ms", right=True),
        Column(name="measured ms", right=True),
        Column(name="good/s", right=True, drop=1),
        Column(name="met", right=True),
        Column(name="reason", below=True),
    ),
    _query,
)


@queries.command("show")
@click.argument("id_", metavar="ID")
@with_api
@as_json
def _show_query(id_: str, api: str, as_json: bool) -> None:
    """Show the query ID: plans, promised and measured."""
    _show(_fetch(api, f"/v1/queries/{urllib.parse.quote(id_, safe='')}"), as_json)


def _plan(row: Row) -> Sequence[str]:
    from circinus_coordinator.demo.report import config_text, placement_text

    given = row["assignment"]
    promised = given["promised"]
    config = config_text(given["plan"])
    return (
        row["query"],
        f"{given['share']:.0%}",
        placement_text(given["plan"]),
        number(promised["latency_ms"]),
        number(promised["accuracy"]),
        number(promised["cost_usd_per_1000"]),
        row["phase"],
        config,
    )


plans = _group(
    "plans",
    "Where and how each query runs.",
    lambda api: _fetch(api, "/v1/plans")["plans"],
    (
        Column(name="query"),
        Column(name="share", right=True),
        Column(name="placement", wraps=True),
        Column(name="promised ms", right=True),
        Column(name="accuracy", right=True),
        Column(name="$/1000", right=True),
        Column(name="phase"),
        Column(name="config", below=True),
    ),
    _plan,
)


@plans.command("show")
@click.argument("query")
@with_api
@as_json
def _show_plan(query: str, api: str, as_json: bool) -> None:
    """Show the plans of a QUERY in full."""
    found = [row for row in _fetch(api, "/v1/plans")["plans"] if row["query"] == query]
    if not found:
        raise NoData(f"no plan of a query {query!r} is in force")
    _show(found, as_json)
