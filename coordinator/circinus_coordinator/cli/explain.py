"""``circinus explain``: what binds a query, what it pays for, and what would admit it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json, number, print_json

__all__ = ["explain"]

ALL = 0.9995  # a share that reads as 100 %
_PER_REQUEST = {"cores": "core-seconds", "link": "Mbit", "uplink": "Mbit"}


@click.command()
@click.argument("query")
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    metavar="F",
    help="A scenario file, instead of what the coordinator runs; --decision too.",
)
@click.option(
    "--decision",
    type=click.Path(path_type=Path),
    metavar="F",
    help="What 'circinus plan' decided for that scenario.",
)
@with_api
@as_json
def explain(
    query: str, scenario: Path | None, decision: Path | None, api: str, as_json: bool
) -> None:
    """Say why QUERY got what it got, and the cheapest change that would give it more."""
    if scenario is None and decision is None:
        from circinus_coordinator.api.client import Client

        found = Client(api).get(f"/v1/explain/{urllib.parse.quote(query, safe='')}")
    elif scenario is None or decision is None:
        raise click.UsageError("--scenario and --decision go together")
    else:
        found = _planned(scenario, decision, query)
    if as_json:
        print_json(found)
        return
    click.echo(_in_words(query, found))


def _planned(scenario: Path, decision: Path, query: str) -> Any:
    """The explanation as the coordinator would give it, from files."""
    import msgspec

    from circinus.decision import load_decision
    from circinus.scenario import load_scenario
    from circinus_coordinator import planning

    found = planning.explain(load_scenario(scenario), load_decision(decision), query)
    return msgspec.to_builtins(found)


def _in_words(query: str, found: Mapping[str, Any]) -> str:
    from circinus.advice import percent

    share = found.get("share") or 0.0
    whole = share > ALL
    lines = [f"{query}: {percent(share)} of its requests are served"]
    if found.get("binding"):
        lines.append(f"  {'tightest' if whole else 'in the way'}: {found['binding']}")
    if found.get("reason"):
        lines.append(f"  why: {found['reason']}")
    lines += _paid(found, whole)
    if found.get("relaxation"):
        lines.append(f"  what would help: {found['relaxation']}")
    return "\n".join(lines)


def _paid(found: Mapping[str, Any], whole: bool) -> list[str]:
    """What a request takes of things that others want too."""
    charges = found.get("charges") or ()
    if not charges or found.get("weight") is None:
        return []
    takes = "takes" if whole else "would take"
    worth, price = number(found["weight"], 3), number(found["price"], 3)
    lines = [f"  price: a request of it is worth {worth}, what it {takes} is worth {price}"]
    for charge in charges:
        resource = charge["resource"]
        unit = _PER_REQUEST.get(resource["resource"], f"{resource['resource']}-seconds")
        lines.append(
            f"    {number(charge['value'], 3)} for {number(charge['amount'], 3)} {unit}; "
            f"{_price(resource)}"
        )
    return lines


def _price(resource: Mapping[str, Any]) -> str:
    from circinus.decision import ResourcePrice

    return str(
        ResourcePrice(
            resource=resource["resource"],
            devices=tuple(resource["devices"]),
            machines=tuple(resource["machines"]),
            weighted_rps_per_unit=resource["weighted_rps_per_unit"],
        )
    )
