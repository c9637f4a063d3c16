"""``circinus plan``: a scenario in, a decision out."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["plan"]


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--planner", default=None, metavar="NAME", help="Which planner; see --planner help.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same decision.")
@click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds."
)
@click.option(
    "--previous",
    type=click.Path(path_type=Path),
    metavar="F",
    help="The decision in force: moved from as little as possible.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="F", help="Write the decision there."
)
def plan(
    scenario: Path,
    planner: str | None,
    seed: int,
    time_limit: float | None,
    previous: Path | None,
    out: Path | None,
) -> int:
    """Plan the SCENARIO file and print the decision (JSON), or write it to --out.

    Exits with 1 where there are queries and none could be admitted.
    """
    from circinus.decision import encode_decision, load_decision, save_decision
    from circinus.scenario import load_scenario
    from circinus_coordinator import planning

    document = load_scenario(scenario)
    before = load_decision(previous) if previous else None
    decision = planning.plan(document)
    if out:
        save_decision(decision, out)
    else:
        click.echo(encode_decision(decision).decode(), nl=False)
    return 0
