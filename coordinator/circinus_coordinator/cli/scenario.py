"""``circinus scenario``: check a file, make one up, export the live one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json, print_json, say

if TYPE_CHECKING:
    from circinus.scenario import Scenario

__all__ = ["scenario"]


@click.group()
def scenario() -> None:
    """Check a scenario file, make one up, or export the live one."""


@scenario.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def validate(file: Path, as_json: bool) -> None:
    """Check a scenario file.

    Exits with 2 and one line where it is wrong. A submission is checked with submit --dry-run.
    """
    from circinus.declared import check_declared
    from circinus.errors import InvalidInput
    from circinus.scenario import load_scenario

    found = load_scenario(file)
    try:
        check_declared(found.pipelines, [file.parent])
    except InvalidInput as error:
        raise error.within(file=str(file)) from None
    if as_json:
        print_json({"file": str(file), "valid": True, **_counts(found)})
    else:
        click.echo(f"{file}: valid: {_listed(found)}")


@scenario.command()
@click.option("--queries", type=int, required=True, metavar="N", help="How many queries.")
@click.option("--devices", type=int, required=True, metavar="M", help="How many machines.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="S",
    help="The same seed gives the same file on every machine.",
)
@click.option("--families", metavar="A,B", help="Families of pipelines; all where left out.")
@click.option(
    "--contention",
    type=float,
    default=0.5,
    show_default=True,
    metavar="C",
    help="About which part of the demand fits, above 0 and at most 1.",
)
@click.option(
    "--tightness",
    type=float,
    default=0.5,
    show_default=True,
    metavar="T",
    help="Of the SLOs: 0 loose, 1 nothing to spare.",
)
@click.option(
    "--tiers",
    type=int,
    default=3,
    show_default=True,
    metavar="K",
    help="2 (device, cloud), 3 (with edge) or 4 (with region).",
)
@click.option(
    "--billing",
    type=click.Choice(["usage", "machine"]),
    default="usage",
    show_default=True,
    help="How machines beyond the device tier are paid for.",
)
@click.option(
    "--splittable",
    type=float,
    default=1.0,
    show_default=True,
    metavar="F",
    help="The part of the queries whose traffic may be split.",
)
@click.option(
    "--queueing/--no-queueing",
    default=True,
    show_default=True,
    help="Whether estimates include waiting.",
)
@click.option(
    "--arrivals",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Spread of rates from a trace: Azure's LLM inference CSV or OctopInf's object counts.",
)
@click.option(
    "--bandwidth",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Mobile uplinks from a series: OctopInf's bandwidth limits.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="F",
    help="Write it there; YAML where the name says so, and JSON for anything large.",
)
@as_json
def generate(
    families: str | None,
    billing: str,
    arrivals: Path | None,
    bandwidth: Path | None,
    out: Path,
    as_json: bool,
    **choices: Any,
) -> None:
    """Make up a scenario: fleet, pipelines, profiles, queries. See docs/generator.md."""
    from circinus.fleet import Billing
    from circinus.scenario import save_scenario
    from circinus_coordinator import generation

    made = generation.generate(
        families=tuple(generation.FAMILIES) if families is None else tuple(families.split(",")),
        billing=Billing(billing),
        arrivals=None if arrivals is None else generation.read_arrivals(arrivals),
        bandwidth_mbps=None if bandwidth is None else generation.read_bandwidth(bandwidth),
        **choices,
    )
    save_scenario(made, out)
    if as_json:
        print_json({"file": str(out), **_counts(made)})
    else:
        say(f"written to {out}: {_listed(made)}")


@scenario.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="F", help="Write it there.")
@as_json
@with_api
def export(out: Path | None, api: str, as_json: bool) -> None:
    """Print the live scenario as JSON.

    It is what the running coordinator's last decision was made from. What is printed is always
    JSON; --json changes nothing here.
    """
    del as_json
    from circinus import _documents as documents
    from circinus.scenario import decode_scenario, save_scenario
    from circinus_coordinator.api.client import Client

    data = Client(api).get_bytes("/v1/scenario")
    if out is None:
        click.echo(data.decode(), nl=False)
    elif out.suffix in (".yaml", ".yml"):
        save_scenario(decode_scenario(data), out)
    else:
        documents.write(out, data)  # as it was sent, byte for byte
    if out:
        say(f"written to {out}")


def _counts(found: Scenario) -> dict[str, int]:
    return {
        "tiers": len(found.tiers),
        "device_classes": len(found.device_classes),
        "devices": len(found.devices),
        "links": len(found.links),
        "pipelines": len(found.pipelines),
        "profiles": len(found.profiles),
        "accuracy": len(found.accuracy),
        "queries": len(found.queries),
    }


def _listed(found: Scenario) -> str:
    counts = {name.replace("_", " "): n for name, n in _counts(found).items()}
    return ", ".join(
        f"{n} {_one(name) if n == 1 else name}" for name, n in counts.items() if n
    ) or ("empty")


def _one(name: str) -> str:
    """``device class`` of ``device classes``, ``query`` of ``queries``."""
    if name == "accuracy":
        return name
    for many, one in (("classes", "class"), ("queries", "query")):
        name = name.replace(many, one)
    return name.removesuffix("s") if not name.endswith("class") else name
