"""What the table of routes keeps."""

from __future__ import annotations

from circinus.messages import Route, RouteStep
from circinus_agent.runtime.table import RouteTable


def route(query: str) -> Route:
    step = RouteStep(name="s", device="a", instance="s", needs=[])
    return Route(
        query=query,
        plan="p",
        steps=[step],
        share=1.0,
        rate_rps=1.0,
        active=True,
        lead="a",
        sources={},
    )


def test_queries_that_are_gone_are_forgotten() -> None:
    table = RouteTable("a")
    for number in range(5):
        table.set([route(f"q{number}")], now=float(number))
    assert list(table._balances) == ["q4"]
    assert table.pick("q3", refuse=True) is None
    assert table.pick("q4", refuse=True) is not None
