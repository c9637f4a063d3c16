"""How results are printed: tables for people, JSON for programs, progress only on a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from circinus_coordinator.demo.table import Column, Entry, lay_out, number

__all__ = [
    "Column",
    "as_json",
    "number",
    "print_json",
    "print_table",
    "say",
]

F = TypeVar("F", bound=Callable[..., Any])


def as_json(function: F) -> F:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def say(text: str) -> None:
    """One line to standard error: for people, never part of the result."""
    click.echo(text, err=True)


def print_json(document: Any) -> None:
    """The result, for programs."""
    click.echo(json.dumps(document, indent=1))


def print_table(columns: Sequence[Column | str], rows: Iterable[Sequence[str]]) -> None:
    """The result, for people: on a terminal what fits it, else everything, one line a row."""
    heads = [Column(name=column) if isinstance(column, str) else column for column in columns]
    entries = [Entry(cells=row) for row in rows]
    if sys.stdout.isatty():
        found = lay_out(heads, entries, shutil.get_terminal_size().columns)
        click.echo("\n".join(line.text for line in found.lines))
        if found.left_out:
            out = ", ".join(found.left_out)
            say(f"(no room for: {out}; a wider terminal, --json or a pipe shows them)")
        return
    lines = lay_out(heads, entries, width=sys.maxsize).lines
    click.echo("\n".join(line.text for line in lines if not line.rule))
