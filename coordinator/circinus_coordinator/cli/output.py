"""How results are printed: tables for people, JSON for programs, progress only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

__all__ = ["as_json", "number", "on_terminal", "print_json", "print_table", "say"]

F = TypeVar("F", bound=Callable[..., Any])

# Wide enough that nothing is cut where output goes into a file or a pipe.
PIPE_WIDTH = 240


def as_json(function: F) -> F:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def on_terminal() -> bool:
    """True where progress may be shown."""
    return sys.stderr.isatty()


def say(text: str) -> None:
    """One line to standard error: for people, never part of the result."""
    click.echo(text, err=True)


def print_json(document: Any) -> None:
    """The result, for programs."""
    click.echo(json.dumps(document, indent=1))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The result, for people: aligned columns, cut nowhere."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(
        width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False
    )
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """`value` with `digits` significant digits, ``-`` where there is none."""
    if value is None:
        return "-"
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.6f}"
    return f"{text}{unit}"
