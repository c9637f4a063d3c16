"""``circinus plan``: a scenario in, a decision out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circinus_coordinator.cli.output import as_json, number, say

if TYPE_CHECKING:
    from circinus.decision import Decision
    from circinus.scenario import Scenario

__all__ = ["plan"]

NO_RESULT = 1
_PRICES = 3  # of the dearest resources that people are shown
_WHOLE = 1e-6


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--planner", metavar="NAME", help="Which planner; the default is the best.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same decision.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Improve for so many seconds; rehearsing comes on top. Without it the effort is fixed, "
    "and the answer the same on every machine.",
)
@click.option(
    "--previous",
    type=click.Path(path_type=Path),
    metavar="F",
    help="The decision in force: moved away from as little as possible.",
)
@click.option(
    "--rehearse/--no-rehearse",
    default=True,
    show_default=True,
    help="Where requests wait: try plans out in the simulator, mend those that are late, and "
    "promise what was seen. Without it, what the model says.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="F", help="Write the decision there."
)
@as_json
def plan(
    scenario: Path,
    planner: str | None,
    seed: int,
    time_limit: float | None,
    previous: Path | None,
    rehearse: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Plan the SCENARIO file; prints the decision (JSON), or writes it to --out.

    A decision is always JSON; --json changes nothing here.

    Exits with 1 where there are queries and none could be admitted.
    """
    from circinus.decision import encode_decision, load_decision, save_decision
    from circinus.scenario import load_scenario
    from circinus_coordinator import planning
    from circinus_coordinator.rehearsal import Rehearsal

    del as_json
    document = load_scenario(scenario)
    before = load_decision(previous) if previous else None
    decision = planning.plan(
        document,
        effort=planning.MaxSeconds(time_limit) if time_limit else None,
        seed=seed,
        previous=before,
        planner=planner or planning.NAME,
        clock=time.perf_counter,
        rehearse=Rehearsal(seed=seed) if rehearse else None,
    )
    if out:
        save_decision(decision, out)
    else:
        click.echo(encode_decision(decision).decode(), nl=False)
    _summarise(document, decision)
    return NO_RESULT if document.queries and not decision.assignments else 0


def _summarise(scenario: Scenario, decision: Decision) -> None:
    """What a person wants to know, apart from the result."""
    served: dict[str, float] = {}
    for assignment in decision.assignments:
        served[assignment.query] = served.get(assignment.query, 0.0) + assignment.share
    partly = sum(share < 1 - _WHOLE for share in served.values())
    bound = ""
    if decision.certified and decision.bound_rps is not None:
        gap = f" (gap {decision.gap:.1%})" if decision.gap is not None else ""
        bound = f", no plan gives more than {number(decision.bound_rps, 4)}{gap}"
    say(
        f"{len(served)} of {len(scenario.queries)} queries admitted"
        f"{f', {partly} of them in part' if partly else ''}; goodput "
        f"{number(decision.goodput_rps, 4)} requests/s{bound}; "
        f"{number(decision.deployment.total)} $/h; planned in "
        f"{sum(decision.seconds.values()):.2f} s"
    )
    if "rehearse" in decision.seconds and decision.assignments:
        seen = sum(a.estimate.rehearsed is not None for a in decision.assignments)
        say(f"  {seen} of {len(decision.assignments)} latencies rehearsed, the others modelled")
    for tenant in decision.tenants:
        say(f"  {tenant}")
    for price in decision.prices[:_PRICES]:
        say(f"  {price}")
    for rejection in decision.rejected:
        hint = f" ({rejection.relaxation})" if rejection.relaxation else ""
        say(f"  {rejection.query}: {rejection.reason}{hint}")
