"""The coordinator measures what can change a decision, and plans as soon as it can be taken."""

import itertools
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from circinus_coordinator.profiling import AccuracyKey

sys.path.insert(0, str(Path(__file__).parent))
from lab import CLASSES, LINKS, PIPELINE, Lab, accuracy, mean_ms, query

LOOSE = query(latency_ms=9000, accuracy=0.8)


Row = tuple[str, str, str]


def cheapest(latency_ms: float, floor: float, told: set[Row] | None = None) -> float:
    """Price of the best plan by the truth, of these rows; service times spread by some 15 %."""
    found = [math.inf]
    configs = [list(spec.configs()) for spec in PIPELINE.operators.values()]
    names = list(PIPELINE.operators)
    for vector in itertools.product(*configs):
        if scored(dict(zip(names, vector, strict=True))) < floor:
            continue
        for classes in itertools.combinations_with_replacement(("pi", "nu", "dc"), 3):
            times = [mean_ms(n, c, k) for n, c, k in zip(names, vector, classes, strict=True)]
            way = ["pi", *classes]
            moving = sum(_hop(a, b) for a, b in itertools.pairwise(way) if a != b)
            if 1.2 * sum(times) + moving > latency_ms:
                continue
            price = sum(
                ms * CLASSES[k].price_usd_hour / CLASSES[k].cores
                for ms, k in zip(times, classes, strict=True)
            )
            rows = {(n, str(c), k) for n, c, k in zip(names, vector, classes, strict=True)}
            if told is None or rows <= told:
                found.append(price)
    return min(found)


def scored(config: Mapping[str, Mapping[str, Any]]) -> float:
    """On the labelled inputs."""
    return math.ceil(100 * accuracy(config) - 1e-9) / 100


def _hop(a: str, b: str) -> float:
    rtt = {"pinu": 4, "nudc": 16, "pidc": 20}[a + b]
    assert LINKS
    return rtt / 2 + 10_000 * 8e-3 / 100


def test_the_rows_of_a_plan_as_good_as_the_cheapest_are_told_and_few_others() -> None:
    lab = Lab()
    lab.want(LOOSE)
    lab.run()
    assert lab.profiler.ready("q")
    assert cheapest(9000, 0.8, lab.told()) <= 1.05 * cheapest(9000, 0.8)
    assert len(lab.told()) < 24  # of all there are


@pytest.mark.parametrize("slo", [(9000, 0.8), (900, 0.8), (900, 0.9), (400, 0.7)])
def test_seeking_finds_what_measuring_everything_finds_for_a_fraction(
    slo: tuple[float, float],
) -> None:
    costs = {}
    for seek in (True, False):
        lab = Lab(seek=seek)
        lab.want(query(latency_ms=slo[0], accuracy=slo[1]))
        lab.run()
        assert lab.profiler.ready("q")
        assert cheapest(*slo, lab.told()) <= 1.05 * cheapest(*slo)
        costs[seek] = lab.device_s
    assert costs[True] < 0.65 * costs[False]


def test_another_query_of_the_same_kind_is_ready_at_once() -> None:
    lab = Lab()
    lab.want(LOOSE)
    lab.run()
    sent = lab.probes
    lab.want(LOOSE, query("r", latency_ms=9000, accuracy=0.8))
    assert lab.profiler.ready("r")
    lab.run()
    assert lab.probes == sent


def test_a_stricter_query_on_a_known_fleet_is_planned_before_more_is_measured() -> None:
    lab = Lab()
    lab.want(query(latency_ms=9000, accuracy=0.9))
    lab.run()
    sent = lab.probes
    lab.want(query(latency_ms=9000, accuracy=0.9), query("r", latency_ms=8000, accuracy=0.6))
    assert lab.profiler.ready("r")  # what serves the other serves this one, if not cheapest
    assert lab.probes == sent
    lab.run()
    assert cheapest(8000, 0.6, lab.told()) <= 1.05 * cheapest(8000, 0.6)


def test_a_query_nothing_can_serve_is_ready_once_that_is_certain() -> None:
    lab = Lab()
    lab.want(query("slow", latency_ms=1), query("poor", latency_ms=9000, accuracy=0.99))
    lab.run()
    assert lab.profiler.ready("slow")
    assert lab.profiler.ready("poor")
    best = [
        lab.profiler.mean_accuracy(key)
        for key in lab.profiler.results()
        if isinstance(key, AccuracyKey)
    ]
    # How far it is from being served can be told.
    assert max(value for value in best if value is not None) == pytest.approx(0.96)
    assert {name for name, _, device_class in lab.told() if device_class == "pi"}


def test_a_vector_is_never_told_above_a_floor_it_is_not_certain_to_reach() -> None:
    lab = Lab()
    floors = [0.6, 0.75, 0.87, 0.89]
    lab.want(*(query(f"q{k}", latency_ms=9000, accuracy=f) for k, f in enumerate(floors)))
    lab.run()
    told = [key for key in lab.profiler.results() if isinstance(key, AccuracyKey)]
    assert told
    for key in told:
        mean = lab.profiler.mean_accuracy(key)
        assert mean is not None
        truth = scored(dict(key.config))
        assert all(truth >= floor for floor in floors if mean >= floor)


def test_no_row_rests_on_a_few_samples() -> None:
    lab = Lab()
    lab.want(query(latency_ms=900, accuracy=0.85))
    lab.run()
    rows = [row for key, row in lab.profiler.results().items() if row.latency_ms]
    assert min(len(row.latency_ms) for row in rows) >= 20
    assert any(0 < len(r.latency_ms) < 20 for r in lab.profiler._ledger.rows.values())


def test_a_query_without_room_is_looked_further_for_after_each_decision() -> None:
    lab = Lab()
    lab.want(LOOSE)
    lab.run()
    told, sent = lab.told(), lab.probes
    lab.run()
    assert lab.probes == sent  # nothing more while it is served
    more = []
    for _ in range(2):
        lab.profiler.turned_away(["q"])
        version = lab.profiler.version
        lab.run()
        assert lab.profiler.version != version  # worth planning again
        assert lab.profiler.ready("q")
        more.append(lab.told() - told)
        told = lab.told()
    assert all(more)


def test_what_no_plan_can_do_is_not_looked_further_for() -> None:
    lab = Lab()
    lab.want(query(latency_ms=1))
    lab.run()
    sent = lab.probes
    lab.profiler.turned_away(["q"])
    lab.run()
    assert lab.probes == sent
