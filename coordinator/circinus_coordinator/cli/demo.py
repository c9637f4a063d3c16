"""``circinus demo``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["demo"]


@click.command()
@click.option(
    "--duration",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="S",
    help="Seconds of serving, once all queries are decided on; 0: until Ctrl-C.",
)
@click.option(
    "--json",
    "json_",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Write what came of it there.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Your own pictures, with labels.json (file name -> list of signs) or without.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="What outlives the demo; by default in your state folder.",
)
@click.option("--fresh", is_flag=True, help="Forget what earlier starts measured.")
@click.option(
    "--broker",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "mosquitto", "embedded"]),
)
def demo(
    duration: float,
    json_: Path | None,
    images: Path | None,
    data: Path | None,
    fresh: bool,
    broker: str,
) -> int:
    """Run a coordinator and three agents on this machine, and queries with different objectives.

    The first start measures for a minute or so; later ones reuse that and serve within seconds.
    """
    from circinus.errors import InvalidInput
    from circinus_coordinator.demo.run import Options, run_demo

    if json_ is not None and not json_.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {json_.absolute().parent}", key="--json")
    options = Options(
        duration_s=duration or None,
        json=json_,
        images=images,
        data=data,
        fresh=fresh,
        broker=broker,
    )
    return run_demo(options)
