"""``circinus scenario``: check a file, export the live one."""

from __future__ import annotations

from pathlib import Path

import click

from circinus_coordinator.cli.connection import with_api
from circinus_coordinator.cli.output import as_json, print_json, say

__all__ = ["scenario"]


@click.group()
def scenario() -> None:
    """Check a scenario file, or export the live one."""


@scenario.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def validate(file: Path, as_json: bool) -> None:
    """Check the scenario FILE; exits with 2 and one line where it is wrong."""
    from circinus.declared import check_declared
    from circinus.errors import InvalidInput
    from circinus.scenario import load_scenario

    found = load_scenario(file)
    try:
        check_declared(found.pipelines, [file.parent])
    except InvalidInput as error:
        raise error.within(file=str(file)) from None
    counts = {
        "tiers": len(found.tiers),
        "device_classes": len(found.device_classes),
        "devices": len(found.devices),
        "links": len(found.links),
        "pipelines": len(found.pipelines),
        "profiles": len(found.profiles),
        "accuracy": len(found.accuracy),
        "queries": len(found.queries),
    }
    if as_json:
        print_json({"file": str(file), "valid": True, **counts})
    else:
        listed = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
        click.echo(f"{file}: valid: {listed or 'empty'}")


@scenario.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="F", help="Write it there.")
@as_json
@with_api
def export(out: Path | None, api: str, as_json: bool) -> None:
    """Print what the running coordinator's last decision was made from (JSON).

    What is printed is always JSON; --json changes nothing here.
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
