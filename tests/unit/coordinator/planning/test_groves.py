"""What sources choose from, how they take turns, and all the plans they may want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition import fronts
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.fronts import front
from circinus_coordinator.planning.decomposition.groves import Groves
from circinus_coordinator.planning.decomposition.rounding import round_off
from circinus_coordinator.planning.decomposition.sharpening import sharpen
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.decomposition.taking import Taking
from circinus_coordinator.planning.label_search import TooManyError

Build = Callable[..., Scenario]
Row = Callable[..., dict[str, Any]]
_TWO = [
    {"id": "pi", "class": "small", "tier": "device"},
    {"id": "po", "class": "small", "tier": "device"},
    {"id": "box", "class": "middle", "tier": "edge"},
]


def _query(name: str, source: Any, rate: float, **more: Any) -> dict[str, Any]:
    pipeline = "p" if isinstance(source, str) else "two"
    found = {"id": name, "pipeline": pipeline, "source": source, "rate_rps": rate}
    return {**found, "splittable": False, **more}


def _row(found: Market, resource: str, device: str) -> int:
    (node,) = [k for k, names in enumerate(found.sites.members) if list(names) == [device]]
    return found.sites.resources.keys.index((resource, node, node))


def _two(build: Build, profile: Row, devices: list[dict[str, str]] = _TWO) -> Market:
    """Two sources that cannot compute, whose queries take 2 of the 3.2 cores of a box each."""
    rows = [profile("a", "middle", 1000)]
    queries = [_query("less", "pi", 2), _query("more", "po", 2, weight=2)]
    return market(Catalogue(build(profiles=rows, devices=devices, queries=queries)))


def test_of_two_that_start_in_a_full_pool_the_worthier_stays(build: Build, profile: Row) -> None:
    found = _two(build, profile)
    groves = Groves(found, relax(found))
    prices = np.zeros(len(found.capacity))
    prices[_row(found, "cores", "box")] = 0.5
    start = {node: np.arange(len(groves.worth))[groves.part(node)] for node in groves.nodes}
    assert sum(len(options) for options in start.values()) == 2
    chosen = Taking(groves, prices, found.capacity, start).agree(2, 0)
    assert groves.query[chosen].tolist() == [1]


def test_turns_end_with_nothing_where_there_is_room_for_nothing(build: Build, profile: Row) -> None:
    found = _two(build, profile)
    groves = Groves(found, relax(found))
    capacity = np.zeros(len(found.capacity))
    assert not len(Taking(groves, capacity, capacity, {}).agree(2, 0))


def test_sources_with_a_query_in_common_choose_together(build: Build, profile: Row) -> None:
    both = {"operators": {"x": {}, "y": {}, "z": {"needs": ["x", "y"]}}}
    both["input_bytes"] = {"x": 1000, "y": 1000}
    rows = [profile(name, "small", 10) for name in ("x", "y", "z")]
    queries = [_query("q", {"x": "pi", "y": "po"}, 1), _query("own", "pi", 1)]
    scenario = build(
        profiles=[*rows, profile("a", "small", 10)],
        devices=_TWO,
        queries=queries,
        pipelines={"two": both, "p": {"operators": {"a": {}}, "input_bytes": 1000}},
        links=[{"between": ["device", "device"], "rtt_ms": 1, "bandwidth_mbps": 80}],
    )
    found = market(Catalogue(scenario))
    groves = Groves(found, relax(found))
    (node,) = groves.nodes
    rows_of_both = {_row(found, "cores", name) for name in ("pi", "po")}
    assert rows_of_both <= set(groves.own(node))
    assert not groves.shared[list(rows_of_both)].any()
    assert len(groves.mine(node)) == 2


def test_a_plan_that_one_machine_is_too_small_for_does_not_fit(build: Build, profile: Row) -> None:
    # 4 of the 6.4 cores of a pool of two boxes with 3.2 each.
    boxes = [*_TWO, {"id": "box-2", "class": "middle", "tier": "edge"}]
    rows = [profile("a", "middle", 1000)]
    queries = [_query("large", "pi", 4), _query("small", "pi", 3)]
    found = market(Catalogue(build(profiles=rows, devices=boxes, queries=queries)))
    groves = Groves(found, relax(found))
    assert groves.fits[groves.query == 0].tolist() == [False]
    assert groves.fits[groves.query == 1].tolist() == [True]


def test_the_bound_knows_that_a_source_cannot_fill_itself_with_whole_queries(
    build: Build, profile: Row
) -> None:
    # 1.6 cores, and each of two queries takes 1: the relaxation serves 16 requests, one query 10.
    rows = [profile("a", "small", 100)]
    queries = [_query("one", "pi", 10), _query("other", "pi", 10)]
    found = market(Catalogue(build(profiles=rows, queries=queries)))
    solution = relax(found)
    assert solution.bound_rps == pytest.approx(16, rel=1e-3)
    agreed = sharpen(found, solution)
    assert agreed is not None
    assert solution.bound_rps == pytest.approx(10, rel=1e-3)
    assert len(agreed.pieces) == 1
    placed = round_off(found, solution, seed=0, agreed=agreed)
    assert sum(p.rate for p in placed) == pytest.approx(10)


def _choices(build: Build, profile: Row, price: float, cutoff: float) -> list[list[int]]:
    """Slots of the plans in front: the source takes 0.1 or 0.2 core-seconds, the box pays."""
    pipeline = {"operators": {"a": {"knobs": {"k": [1, 2]}}}}
    rows = [
        profile("a", kind, 100 * k, config={"k": k}) for kind in ("small", "middle") for k in (1, 2)
    ]
    found = market(Catalogue(build(profiles=rows, pipeline=pipeline)))
    (kind,) = found.classes
    prices = np.zeros(len(found.capacity))
    prices[_row(found, "cores", "box")] = price
    none = np.zeros(1, dtype=np.int64)
    (plans,) = front(kind, prices, 0, none, np.array([cutoff]))
    (step,) = kind.programme.steps
    return sorted([int(step.slot[plan.options[0]]) for plan in plans])


def test_a_source_may_want_what_costs_more_and_leaves_its_cores_alone(
    build: Build, profile: Row
) -> None:
    assert len(set(_choices(build, profile, price=1.0, cutoff=1.0))) == 2


def test_nobody_wants_what_another_plan_beats_in_value_and_in_what_it_uses(
    build: Build, profile: Row
) -> None:
    # Of two configs on each machine the one that computes longer.
    assert len(_choices(build, profile, price=1.0, cutoff=1.0)) == 2


def test_nobody_wants_what_costs_more_than_it_is_worth(build: Build, profile: Row) -> None:
    assert len(_choices(build, profile, price=11.0, cutoff=1.0)) == 1


def test_a_search_for_too_many_plans_is_given_up(
    build: Build, profile: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "_PATIENCE", 0)
    with pytest.raises(TooManyError):
        _choices(build, profile, price=1.0, cutoff=1.0)
