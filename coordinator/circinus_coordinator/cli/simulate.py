"""``circinus simulate``: what a decision would deliver, request by request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circinus_coordinator.cli.output import as_json, number, print_json, print_table, say

if TYPE_CHECKING:
    from circinus_coordinator.simulation import QueryReport, Report

__all__ = ["simulate"]

NO_RESULT = 1
PERCENTILES = (50, 90, 95, 99)


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.argument("decision", type=click.Path(path_type=Path))
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True, max=1e9),
    metavar="S",
    help="Simulated time; the first tenth is warm-up and not counted.",
)
@click.option("--seed", default=0, show_default=True, help="Same seed, same report.")
@as_json
def simulate(scenario: Path, decision: Path, seconds: float, seed: int, as_json: bool) -> int:
    """Play the DECISION file through on the SCENARIO file, as the agents would serve it.

    Exits with 1 where there were requests and none was served.
    """
    from circinus.decision import load_decision
    from circinus.errors import InvalidInput
    from circinus.scenario import load_scenario
    from circinus_coordinator import simulation

    document, chosen = load_scenario(scenario), load_decision(decision)
    try:
        report = simulation.simulate(document, chosen, seconds=seconds, seed=seed)
    except InvalidInput as error:
        raise error.within(file=str(decision)) from None
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    arrivals = sum(query.arrivals for query in report.queries.values())
    served = sum(query.served for query in report.queries.values())
    return NO_RESULT if arrivals and not served else 0


def _print(report: Report) -> None:
    rows = [_row(name, query) for name, query in report.queries.items()]
    if rows:
        print_table(
            ["query", "promised ms", "simulated ms", "limit ms", "in time", "good/s", "requests",
             "refused", "shed", "failed"],
            rows,
        )  # fmt: skip
    busiest = sorted(
        ((use, f"{name} {kind}") for name, d in report.devices.items() for kind, use in d.items()),
        reverse=True,
    )
    text = f"; busiest: {busiest[0][1]} {busiest[0][0]:.0%}" if busiest else ""
    say(
        f"goodput {number(report.goodput_rps, 4)}/s; {report.slo_attainment:.1%} of admitted "
        f"requests met all their objectives{text}"
    )


def _row(name: str, query: QueryReport) -> list[str]:
    at = f" (p{query.percentile:g})"
    return [
        name,
        number(query.promised_ms) + at if query.promised_ms is not None else "-",
        number(query.simulated_ms),
        number(query.limit_ms),
        f"{query.attainment:.1%}" if query.attainment is not None else "-",
        number(query.goodput_rps),
        *(str(n) for n in (query.arrivals, query.refused, query.shed, query.failed)),
    ]


def _document(report: Report) -> dict[str, Any]:
    return {
        "circinus": 1,
        "seconds": report.seconds,
        "warmup_s": report.warmup_s,
        "seed": report.seed,
        "goodput_rps": report.goodput_rps,
        "slo_attainment": report.slo_attainment,
        "queries": {name: _outcomes(query) for name, query in report.queries.items()},
        "assignments": [{"query": a.query, **_outcomes(a)} for a in report.assignments],
        "devices": {name: dict(use) for name, use in report.devices.items()},
        "links": [{"from": a, "to": b, "utilisation": use} for (a, b), use in report.links.items()],
        "instances": [
            {
                "device": i.device,
                "operator": i.operator,
                "config": i.config,
                "batch": i.batch,
                "replicas": i.replicas,
                "utilisation": i.utilisation,
                "requests": i.requests,
                "batches": i.batches,
                "mean_wait_ms": i.mean_wait_ms,
            }
            for i in report.instances
        ],
    }


def _outcomes(query: QueryReport) -> Mapping[str, Any]:
    return {
        "arrivals": query.arrivals,
        "served": query.served,
        "refused": query.refused,
        "shed": query.shed,
        "failed": query.failed,
        "in_flight": query.in_flight,
        "on_time": query.on_time,
        "good": query.good,
        "goodput_rps": query.goodput_rps,
        "attainment": query.attainment,
        "percentile": query.percentile,
        "promised_ms": query.promised_ms,
        "simulated_ms": query.simulated_ms,
        "limit_ms": query.limit_ms,
        "latency_ms": {
            "mean": query.latency.mean,
            **{f"p{p}": query.latency.percentile(p) for p in PERCENTILES},
        },
    }
