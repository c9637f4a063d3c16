"""Tables that fit a terminal: words stay whole, columns give way, notes stand below their row."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["Column", "Entry", "Laid", "Line", "lay_out", "number"]

GAP = 2
INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading, which may wrap at spaces.
        right: Numbers stand to the right.
        wraps: Its cells may wrap at spaces.
        drop: Columns with a number above 0 are left out, 1 first, where the width does not do.
        below: Its cells stand below their rows where the width does not do.
    """

    name: str
    right: bool = False
    wraps: bool = False
    drop: int = 0
    below: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row: a cell for each column, and sentences that stand below it over the whole width."""

    cells: Sequence[str]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a laid-out table, at most as wide as was asked for unless a word is wider.

    Attributes:
        entry: The number of the row it belongs to; None for the heading.
        note: It is part of a note.
        rule: It is the rule below the heading.
    """

    text: str
    entry: int | None = None
    note: bool = False
    rule: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A laid-out table, and the names of the columns that found no place."""

    lines: list[Line] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def lay_out(columns: Sequence[Column], entries: Iterable[Entry], width: int) -> Laid:
    """Fit a table into `width` characters without breaking a word.

    Columns move below their rows or are left out in their order, then headings and cells wrap at
    spaces. What still does not fit sticks out.
    """
    rows = list(entries)
    kept = list(range(len(columns)))
    if _total(_natural(column, i, rows) for i, column in enumerate(columns)) > width:
        kept = [i for i, column in enumerate(columns) if not column.below]
        below = [i for i, column in enumerate(columns) if column.below]
        rows = [
            Entry(cells=r.cells, notes=[*(r.cells[i] for i in below if r.cells[i]), *r.notes])
            for r in rows
        ]
    droppable = sorted((columns[i].drop, i) for i in kept if columns[i].drop)
    left_out = []
    least = [_least(column, i, rows) for i, column in enumerate(columns)]
    for _, i in droppable:
        if _total(least[k] for k in kept) <= width:
            break
        kept.remove(i)
        left_out.append(columns[i].name)
    widths = _widths([_natural(columns[i], i, rows) for i in kept], [least[i] for i in kept], width)
    chosen = [columns[i] for i in kept]
    lines = [Line(text=text) for text in _texts(chosen, [c.name for c in chosen], widths)]
    lines.append(Line(text="─" * min(_total(widths), width), rule=True))
    for number_, row in enumerate(rows):
        cells = [row.cells[i] for i in kept]
        lines += [Line(text=text, entry=number_) for text in _texts(chosen, cells, widths)]
        for note in row.notes:
            wrapped = _wrap(note, width - len(INDENT))
            lines += [Line(text=INDENT + text, entry=number_, note=True) for text in wrapped]
    return Laid(lines=lines, left_out=left_out)


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """`value` with `digits` significant digits, ``-`` where there is none."""
    if value is None:
        return "-"
    text = f"{value:.{digits}g}"
    if "e" in text:
        # What is not nothing must not read as nothing: below a millionth, 1.2e-07.
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.6f}"
        text = f"{value:.2g}" if value and not float(text) else text
    return f"{text}{unit}"


def _least(column: Column, index: int, rows: Sequence[Entry]) -> int:
    """The narrowest a column can be without breaking a word."""
    heading = max(map(len, column.name.split()), default=0)
    cells = [row.cells[index] for row in rows]
    if column.wraps:
        cells = [word for cell in cells for word in cell.split()]
    return max([heading, *map(len, cells)])


def _natural(column: Column, index: int, rows: Sequence[Entry]) -> int:
    return max([len(column.name), *(len(row.cells[index]) for row in rows)])


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + GAP * (len(found) - 1)


def _widths(natural: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Natural widths, the widest made narrower first until the sum fits."""
    widths = list(natural)
    while _total(widths) > width:
        room = [(w, i) for i, w in enumerate(widths) if w > least[i]]
        if not room:
            break
        widths[max(room)[1]] -= 1
    return widths


def _texts(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The lines of one row."""
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped), default=1)
    texts = []
    for k in range(height):
        parts = []
        for column, lines, width in zip(columns, wrapped, widths, strict=True):
            text = lines[k] if k < len(lines) else ""
            parts.append(text.rjust(width) if column.right else text.ljust(width))
        texts.append((" " * GAP).join(parts).rstrip())
    return texts


def _wrap(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)
    return lines or [""]
