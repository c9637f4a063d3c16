"""``circinus agent``: hands over to ``circinus-agent``, of which the coordinator knows nothing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from circinus.errors import InvalidInput

__all__ = ["agent"]


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> None:
    """Run the agent of this machine: the same as the command circinus-agent."""
    beside = Path(sys.executable).with_name("circinus-agent")
    program = str(beside) if beside.exists() else shutil.which("circinus-agent")
    if program is None:
        raise InvalidInput(
            "circinus-agent is not installed", remedy="install the agent in this environment"
        )
    os.environ["CIRCINUS_PROG"] = "circinus agent"  # what its help calls it
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted
