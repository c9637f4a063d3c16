"""Queries as a table for a terminal, or as plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from circinus_coordinator.demo.report import (
    config_text,
    goal_text,
    path_text,
    percentile_text,
    placement_text,
)
from circinus_coordinator.demo.table import Column, Entry, Line, lay_out, number

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

__all__ = ["QueryTable", "query_lines"]

Row = Mapping[str, Any]

ALL = 0.9995  # a share that reads as 100 %


class QueryTable:
    """Queries as a table that fits whatever terminal it is printed on.

    Each query takes a line; below it stand its objectives and configs, and why it is not served.
    Where that is more than the screen is high, the objectives go first and the reasons next.

    Args:
        title: A line above it.
        whole: Print all of it, however high: for what is printed once and can be scrolled.
    """

    def __init__(
        self, rows: Sequence[Row], title: str | None = None, *, whole: bool = False
    ) -> None:
        self._rows, self._title, self._whole = rows, title, whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        # The last line of a terminal stays free, or a live table would scroll it.
        height = None if self._whole else console.height - 1
        yield self.text(options.max_width, height)

    def text(self, width: int, height: int | None = None) -> Text:
        """The table, at most `width` characters wide and `height` lines high."""
        from rich.text import Text

        title = [self._title] if self._title else []
        lines = self._lines(width, None if height is None else height - len(title))
        # Not wrapped: text of rich would break what is wider than the terminal.
        text = Text("\n".join([*title, *(line.text for line in lines)]), no_wrap=True)
        self._highlight(text, lines)
        return text

    def _lines(self, width: int, height: int | None) -> list[Line]:
        lines: list[Line] = []
        for choose in (_notes, _reasons, _no_notes):
            entries = [Entry(cells=_cells(row), notes=choose(row)) for row in self._rows]
            lines = lay_out(_columns(self._rows), entries, width).lines
            if height is None or len(lines) <= height:
                return lines
        assert height is not None  # or the first would have done
        lines = lines[: max(height - 1, 0)]
        left = len(self._rows) - len({line.entry for line in lines if line.entry is not None})
        return [*lines, Line(text=f"... and {left} more")]

    def _highlight(self, text: Text, lines: Sequence[Line]) -> None:
        start = len(self._title) + 1 if self._title else 0
        seen: set[int] = set()
        for line in lines:
            if line.entry is not None:
                row = self._rows[line.entry]
                if line.note:
                    red = row["state"] in ("rejected", "failed")
                    text.stylize("red" if red else "dim", start, start + len(line.text))
                elif line.entry not in seen:
                    text.stylize("bold", start, start + len(row["id"]))
                    seen.add(line.entry)
            start += len(line.text) + 1


def query_lines(rows: Sequence[Row]) -> list[str]:
    """The same as lines, for a log or a pipe."""
    lines = []
    for row in rows:
        if not _served(row):
            why = row.get("reason") or ""
            lines.append(f"{row['id']}: {row['state']}{f': {why}' if why else ''}")
            continue
        lines.append(
            f"{row['id']}: {goal_text(_slo(row))} | {_plans(row, ' + ')} | "
            f"{percentile_text(_slo(row))} {_pair(row, 'latency_ms', number)} ms | "
            f"accuracy {_pair(row, 'accuracy', '{:.2f}'.format)} | "
            f"{_pair(row, 'cost_usd_per_1000', number)} $/1000 | "
            f"{_good(row)} good/s | met {_met(row)}"
        )
    return lines


def _columns(rows: Sequence[Row]) -> list[Column]:
    return [
        Column(name="query"),
        Column(name="where", wraps=True),
        Column(name=f"{_percentile(rows) or 'latency'} ms", right=True),
        Column(name="accuracy", right=True),
        Column(name="$/1000", right=True, drop=1),
        Column(name="good/s", right=True, drop=2),
        Column(name="met", right=True),
    ]


def _percentile(rows: Sequence[Row]) -> str | None:
    """``p95`` where that is every query's."""
    found = {percentile_text(_slo(row)) for row in rows}
    return found.pop() if len(found) == 1 else None


def _cells(row: Row) -> tuple[str, ...]:
    if not _served(row):
        return (row["id"], row["state"], *[""] * 5)
    measured, promised = row.get("measured") or {}, row.get("promised") or {}
    cost = measured.get("cost_usd_per_1000")
    if cost is None:
        cost = promised.get("cost_usd_per_1000")
    where = [
        path_text(a["plan"]) if a["share"] > ALL else f"{a['share']:.0%} {path_text(a['plan'])}"
        for a in row["assignments"]
    ]
    return (
        row["id"],
        ", ".join(where),
        _pair(row, "latency_ms", number),
        _pair(row, "accuracy", "{:.2f}".format),
        number(cost, 2),
        _good(row),
        _met(row),
    )


def _notes(row: Row) -> list[str]:
    """What it wants, how it runs, and what is in the way."""
    notes = [f"wants {goal_text(_slo(row))}"]
    if _served(row):
        notes += [f"runs {_plan(a, names=False)}" for a in row["assignments"]]
    return notes + _reasons(row)


def _reasons(row: Row) -> list[str]:
    if not row.get("reason"):
        return []
    if not _served(row):
        return [row["reason"]]
    return [f"{row['share']:.0%} admitted: {row['reason']}"] if row["share"] < ALL else []


def _no_notes(_row: Row) -> list[str]:
    return []


def _slo(row: Row) -> Mapping[str, Any]:
    return row["query"].get("slo") or {}


def _served(row: Row) -> bool:
    return bool(row.get("assignments"))


def _plan(assignment: Row, *, names: bool = True) -> str:
    """A plan with its share, where that is not all of the traffic."""
    place = placement_text(assignment["plan"])
    if config := config_text(assignment["plan"], names=names):
        place += f" ({config})" if names else f": {config}"
    share = assignment["share"]
    return place if share > ALL else f"{share:.0%} {place}"


def _plans(row: Row, joint: str) -> str:
    return joint.join(_plan(assignment) for assignment in row["assignments"])


def _pair(row: Row, key: str, form: Callable[[float], str]) -> str:
    """Promised and measured."""
    values = [(row.get(side) or {}).get(key) for side in ("promised", "measured")]
    return " → ".join("-" if value is None else form(value) for value in values)


def _good(row: Row) -> str:
    return f"{(row.get('measured') or {}).get('goodput_rps', 0.0):.2f}"


def _met(row: Row) -> str:
    attainment = (row.get("measured") or {}).get("attainment")
    return "-" if attainment is None else f"{attainment:.1%}"
