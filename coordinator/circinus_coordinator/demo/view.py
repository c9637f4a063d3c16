"""Queries as a table for a terminal, or as plain lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from circinus_coordinator.demo.report import config_text, goal_text, placement_text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["query_lines", "query_table"]

Row = Mapping[str, Any]


def query_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """One row for each query: where, how, and promised → measured, one above the other."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in ("query", "objectives", "placement and config"):
        table.add_column(name, overflow="fold")
    for name in ("p95 ms", "accuracy", "$/1000", "good/s", "met"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row["id"], style="bold"),
            goal_text(row["query"].get("slo") or {}).replace(", ", "\n"),
            _where(row),
            _pair(row, "latency_ms", "{:.0f}", "\n→ "),
            _pair(row, "accuracy", "{:.2f}", "\n→ "),
            _pair(row, "cost_usd_per_1000", "{:.6f}", "\n→ "),
            f"{(row.get('measured') or {}).get('goodput_rps', 0.0):.2f}" if _served(row) else "-",
            _met(row),
        )
    return table


def query_lines(rows: Sequence[Row]) -> list[str]:
    """The same as lines, for a log or a pipe."""
    lines = []
    for row in rows:
        if not _served(row):
            why = row.get("reason") or ""
            lines.append(f"{row['id']}: {row['state']}{f': {why}' if why else ''}")
            continue
        lines.append(
            f"{row['id']}: {goal_text(row['query'].get('slo') or {})} | {_plans(row, ' + ')} | "
            f"p95 {_pair(row, 'latency_ms', '{:.0f}')} ms | "
            f"accuracy {_pair(row, 'accuracy', '{:.2f}')} | "
            f"{_pair(row, 'cost_usd_per_1000', '{:.6f}')} $/1000 | "
            f"{(row.get('measured') or {}).get('goodput_rps', 0.0):.2f} good/s | met {_met(row)}"
        )
    return lines


def _served(row: Row) -> bool:
    return bool(row.get("assignments"))


def _plans(row: Row, joint: str, *, names: bool = True) -> str:
    """Each plan with its share, where that is not all of the traffic."""
    parts = []
    for assignment in row["assignments"]:
        share = assignment["share"]
        place = placement_text(assignment["plan"])
        if config := config_text(assignment["plan"], names=names):
            place += f" ({config})" if names else f"\n{config}"
        parts.append(place if share > 0.9995 else f"{share:.0%} {place}")
    return joint.join(parts)


def _where(row: Row) -> Any:
    from rich.text import Text

    if _served(row):
        text = _plans(row, "\n", names=False)
        if row["share"] < 0.9995 and row.get("reason"):
            text += f"\n{row['share']:.0%} admitted: {row['reason']}"
        return Text(text)
    style = "red" if row["state"] in ("rejected", "failed") else "dim"
    why = f": {row['reason']}" if row.get("reason") else ""
    return Text(f"{row['state']}{why}", style=style)


def _pair(row: Row, key: str, form: str, joint: str = " → ") -> str:
    """Promised and measured."""
    if not _served(row):
        return "-"
    values = [(row.get(side) or {}).get(key) for side in ("promised", "measured")]
    return joint.join("-" if v is None else form.format(v) for v in values)


def _met(row: Row) -> str:
    attainment = (row.get("measured") or {}).get("attainment")
    return "-" if attainment is None else f"{attainment:.1%}"
