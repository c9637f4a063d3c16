"""``circinus profiles``: what was measured, how sure it is, how old, and where from."""

from __future__ import annotations

import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
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
    say,
)

__all__ = ["profiles"]

Row = Mapping[str, Any]
Rows = Sequence[Row]

HOW = ("measured", "emulated", "interpolated", "assumed", "stale", "unfinished", "failed")
LEGEND = (
    "between: where the truth is, wrong with a chance of at most 5 % whenever one looks\n"
    "~ holds for many samples only; ? nothing is known yet\n"
    "60 (8): 60 samples that resemble one another, worth 8"
)
# Of all cores: what is measured beside so much else says little of an idle device.
BUSY_PERCENT = 50.0
# One after the other, with names; what is as old as a minute is not told in seconds.
UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))

_REMARK = Column(name="remark", below=True)
_OPERATORS = (
    Column(name="operator"),
    Column(name="config", wraps=True),
    Column(name="class"),
    Column(name="batch", right=True, drop=4),
    Column(name="mean ms", right=True),
    Column(name="mean between", right=True, drop=3),
    Column(name="p95 ms", right=True),
    Column(name="p95 between", right=True),
    Column(name="core ms", right=True, drop=2),
    Column(name="MB", right=True, drop=1),
    Column(name="samples", right=True),
    Column(name="how"),
    Column(name="age", right=True),
    Column(name="device", wraps=True, drop=5),
    _REMARK,
)
# Of operators: what a list leaves to `show`.
_DETAIL = ("mean between", "core ms", "MB", "device")
_ACCURACY = (
    Column(name="config", wraps=True),
    Column(name="score", right=True),
    Column(name="between", right=True),
    Column(name="inputs", right=True),
    Column(name="how"),
    Column(name="age", right=True),
    Column(name="device", wraps=True, drop=1),
    _REMARK,
)
_LINKS = (
    Column(name="link"),
    Column(name="RTT ms", right=True),
    Column(name="RTT between", right=True),
    Column(name="Mbit/s", right=True),
    Column(name="Mbit/s between", right=True),
    Column(name="samples", right=True),
    Column(name="how"),
    Column(name="age", right=True),
    _REMARK,
)


@click.group(help="What has been measured.")
def profiles() -> None:
    """See the module."""


@profiles.command("ls")
@with_api
@as_json
def _ls(api: str, as_json: bool) -> None:
    """List profiles of operators."""
    found = _fetch(api, {})["operators"]
    if as_json:
        print_json(found)
    else:
        kept = [i for i, column in enumerate(_OPERATORS) if column.name not in _DETAIL]
        rows = [_operator(row, qualified=True) for row in found]
        print_table([_OPERATORS[i] for i in kept], [[row[i] for i in kept] for row in rows])


@profiles.command("show")
@click.argument("pipeline", required=False)
@click.option("--device-class", metavar="CLASS", help="Only operators on this device class.")
@click.option("--operator", metavar="NAME", help="Only this operator.")
@click.option(
    "--how",
    multiple=True,
    type=click.Choice(HOW),
    help="Only rows that came about like this; may be given more than once.",
)
@with_api
@as_json
def _show(
    pipeline: str | None,
    device_class: str | None,
    operator: str | None,
    how: tuple[str, ...],
    api: str,
    as_json: bool,
) -> None:
    """Show how sure each number is, how old, and where from.

    Of the operators and the accuracy of a PIPELINE, or of all, and of links. Given a device class
    or an operator, of operators alone.
    """
    wanted = {"pipeline": pipeline, "device_class": device_class, "operator": operator}
    found = _fetch(api, {name: value for name, value in wanted.items() if value is not None})
    if device_class or operator:
        found = {"operators": found["operators"]}
    shown = {
        kind: [row for row in rows if not how or set(how) & set(_how(row))]
        for kind, rows in found.items()
    }
    named = [value for value in wanted.values() if value is not None]
    if named and not found["operators"] and not found.get("accuracy"):
        raise NoData(f"nothing was measured of {', '.join(map(repr, named))}")
    if as_json:
        print_json(shown)
        return
    if not any(shown.values()):
        say("no row is like that")
        return
    _tables(shown, qualified=pipeline is None)


def _tables(shown: Mapping[str, Rows], *, qualified: bool) -> None:
    kinds = (
        ("operators", _OPERATORS, _operator),
        ("accuracy", _ACCURACY, _score),
        ("links", _LINKS, _link),
    )
    for kind, columns, cells in kinds:
        rows = shown.get(kind) or []
        if rows:
            click.echo(f"{kind}: {_count(rows)}")
            print_table(columns, [cells(row, qualified=qualified) for row in rows])
            click.echo()
    say(LEGEND)


def _count(rows: Rows) -> str:
    """How many there are, and of which kinds."""
    kinds = Counter(kind for row in rows for kind in _how(row))
    return f"{len(rows)} ({', '.join(f'{kinds[kind]} {kind}' for kind in HOW if kinds[kind])})"


def _fetch(api: str, wanted: Mapping[str, str]) -> dict[str, Rows]:
    from circinus_coordinator.api.client import Client

    query = f"?{urllib.parse.urlencode(wanted)}" if wanted else ""
    found: dict[str, Rows] = Client(api).get(f"/v1/profiles{query}")
    return found


# ---- cells --------------------------------------------------------------------------------------


def _operator(row: Row, *, qualified: bool) -> Sequence[str]:
    name = f"{row['pipeline']}/{row['operator']}" if qualified else row["operator"]
    return (
        name,
        _config(row["config"]),
        row["device_class"],
        str(row["batch"]),
        number(row["mean_ms"]),
        _between(row, "mean_ms"),
        number(row["p95_ms"]),
        _between(row, "p95_ms"),
        number(row["compute_s"] * 1e3),
        number(row["memory_mb"], 4),
        _samples(row),
        ", ".join(_how(row)),
        _age(row["age_s"]),
        " ".join(row["devices"]),
        _remark(row),
    )


def _score(row: Row, *, qualified: bool) -> Sequence[str]:
    config = "; ".join(f"{name} {_config(values)}" for name, values in row["config"].items())
    whole = "" if row["population"] is None else f" of {row['population']}"
    return (
        f"{row['pipeline']}: {config}" if qualified else config or "-",
        number(row["mean"]),
        _between(row, "mean"),
        f"{row['samples']}{whole}",
        ", ".join(_how(row)),
        _age(row["age_s"]),
        " ".join(row["devices"]),
        _remark(row),
    )


def _link(row: Row, *, qualified: bool) -> Sequence[str]:  # noqa: ARG001 - as the others
    return (
        " - ".join(row["between"]),
        number(row["rtt_ms"]),
        _between(row, "rtt_ms"),
        number(row["bandwidth_mbps"]),
        _between(row, "bandwidth_mbps"),
        _samples(row),
        ", ".join(_how(row)),
        _age(row["age_s"]),
        _remark(row),
    )


def _config(config: Row) -> str:
    return " ".join(f"{knob}={value}" for knob, value in config.items()) or "-"


def _how(row: Row) -> list[str]:
    """How a number came about, and what is the matter with it."""
    if row["cause"] is not None:
        return ["failed"]
    measured = row["provenance"] == "measured"
    found = ["emulated" if measured and row["emulated"] else row["provenance"]]
    if not row["done"]:
        found.append("unfinished")
    return [*found, "stale"] if row["stale"] else found


def _between(row: Row, name: str) -> str:
    found = row["intervals"].get(name)
    if found is None:
        return "-"
    low, high = found["low"], found["high"]
    if high is None and low <= 0:
        return "?"
    sign = "~" if found["asymptotic"] else ""
    if high is None:
        return f"{sign}≥ {number(low)}"
    ends = number(low), number(high)
    if low == high:
        return "exact"
    return f"{sign}≤ {ends[1]}" if low <= 0 else f"{sign}{ends[0]}-{ends[1]}"


def _remark(row: Row) -> str:
    """What somebody should know who wonders at a number."""
    found = [row["cause"]] if row["cause"] else []
    if row.get("set_aside_ms") is not None:
        found.append(f"one sample of {number(row['set_aside_ms'])} ms is set aside")
    if row["throttled"]:
        found.append("the device was throttled")
    if (row["background_percent"] or 0.0) >= BUSY_PERCENT:
        found.append(f"others used {row['background_percent']:.0f} % of the device")
    return "; ".join(found)


def _samples(row: Row) -> str:
    worth = f" ({row['worth']})" if row["worth"] < row["samples"] and row["intervals"] else ""
    return f"{row['samples']}{worth}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    length, name = next((u for u in UNITS if seconds >= u[0]), UNITS[-1])
    return f"{seconds / length:.0f} {name}"
