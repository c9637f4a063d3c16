"""The command group: commands are imported when they are called, and errors end as one line.

Exit codes: 0 ok, 1 no result or infeasible, 2 bad input, 130 interrupted. A bug is none of
these and keeps its traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from circinus import __version__
from circinus.errors import CircinusError, InvalidInput

__all__ = ["COMMANDS", "main", "root", "run"]

OK, NO_RESULT, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

# Name -> module and one line of help. The help stands here so that `circinus --help` imports
# no command: it answers in a tenth of a second and not in one.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Run a whole fleet on this machine and watch it keep its promises."),
    "coordinator": ("coordinator", "Run the coordinator."),
    "agent": ("agent", "Run the agent of this machine."),
    "devices": ("listing", "Devices of the fleet."),
    "queries": ("listing", "Queries and what became of them."),
    "plans": ("listing", "Where and how each query runs."),
    "profiles": ("profiles", "What has been measured."),
    "submit": ("submit", "Submit pipelines and queries."),
    "withdraw": ("submit", "Withdraw a query."),
    "explain": ("explain", "Say what binds a query, and what would admit it."),
    "watch": ("watch", "Follow promised and measured as they change."),
    "plan": ("plan", "Plan a scenario file."),
    "simulate": ("simulate", "Play a decision through, request by request."),
    "scenario": ("scenario", "Check a scenario file, or export the live one."),
    "bench": ("bench", "Run the benchmarks of a checkout."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"circinus_coordinator.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="circinus")
def root() -> None:
    """Plan and serve compound AI pipelines over devices, edge and cloud."""


def main() -> NoReturn:
    """Entry point of the ``circinus`` command."""
    # The planner multiplies many small matrices. OpenBLAS would spread each over all cores and
    # spin in between: up to five times the CPU for nothing (10,000 queries generated: 2.6 s, not
    # 13.8). It asks once, when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line.

    Returns:
        The exit code.
    """
    try:
        result = root.main(args=list(arguments), prog_name="circinus", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except InvalidInput as error:
        return _complain(error, BAD_INPUT)
    except CircinusError as error:
        return _complain(error, NO_RESULT)
    except BrokenPipeError:
        # `circinus plans ls | head`: nobody reads on. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:  # a full disk, no rights: nothing a traceback would explain
        where = f"{error.filename}: " if error.filename else ""
        return _complain(CircinusError(f"{where}{error.strerror or error}"), NO_RESULT)
    return result if isinstance(result, int) else OK


def _complain(error: Exception, code: int) -> int:
    click.echo(f"circinus: {' '.join(str(error).split())}", err=True)
    return code
