"""Ending labels early, and guessing what the best plan is worth, lose nothing."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus_coordinator.planning import labels
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import Asks, solve, solve_each
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.search import limits_of

sys.path.insert(0, str(Path(__file__).parent))
from planner_scenarios import random_scenario

_some = {"deadline": None, "suppress_health_check": list(HealthCheck)}
_ASKERS = 16


def _programme(seed: int) -> Programme:
    scenario = random_scenario(random.Random(seed), queries=1, queueing=False)
    return Catalogue(scenario).programme(scenario.queries[0])


def _apart(rng: np.random.Generator, shape: tuple[int, ...], own: np.ndarray) -> np.ndarray:
    """`(askers, *shape)` prices, the same for all but where `own`; some are nothing."""
    common = rng.exponential(1.0, shape) * rng.integers(0, 2, shape)
    each = rng.exponential(1.0, (_ASKERS, *shape))
    return np.where(own, each, common)


def _asked(programme: Programme, rng: np.random.Generator) -> tuple[list[Choice], Moving]:
    """Prices on which the askers disagree at some slots only."""
    count = len(programme.devices)
    own = rng.random(count) < 0.4
    choices = [
        Choice(
            allowed=np.ones(len(step.slot), dtype=np.bool_),
            mean=step.mean,
            variance=step.variance,
            usd=step.usd,
            value=_apart(rng, (len(step.slot),), own[step.slot]),
        )
        for step in programme.steps
    ]
    between = own[:, None] | own
    moving = Moving(
        hop=_apart(rng, (count, count), between) * 1e-5,
        entry={k: _apart(rng, (count,), own) * 1e-5 for k in programme.entry},
        exit=_apart(rng, (count,), own) * 1e-5,
    )
    return choices, moving


def _asks(programme: Programme, rng: np.random.Generator) -> Asks:
    """Limits around those of the query, in two or three sizes."""
    limits = limits_of(programme.query.slo)
    return Asks(
        start=np.full(_ASKERS, programme.automaton.starts[0], dtype=np.int64),
        latency_ms=limits.latency_ms * rng.choice([0.5, 1.0, 2.0], _ASKERS),
        usd=limits.usd * rng.choice([0.7, 1.5], _ASKERS),
    )


def _values(found: Sequence[labels.Found | None]) -> list[float]:
    return [np.inf if plan is None else plan.value for plan in found]


@pytest.mark.timeout(300)
@settings(max_examples=300, **_some)
@given(st.integers(0, 2**32), st.booleans())
def test_a_cutoff_ends_all_that_is_dearer_and_nothing_else(seed: int, guessed: bool) -> None:
    programme, rng = _programme(seed), np.random.default_rng(seed)
    choices, moving = _asked(programme, rng)
    asks = _asks(programme, rng)
    least = np.array(_values(solve_each(programme, choices, moving, asks)))
    tolls = None
    if guessed:
        scale = np.where(np.isfinite(least), least, 1.0)
        late, dear = rng.choice([0.0, 0.3, 3.0], (2, _ASKERS)) * scale
        tolls = late / np.minimum(asks.latency_ms, 1e9), dear / np.minimum(asks.usd, 1e9)
    above = dataclasses.replace(asks, cutoff=least * (1 + 1e-6) + 1e-9, tolls=tolls)
    assert _values(solve_each(programme, choices, moving, above)) == pytest.approx(least.tolist())
    below = dataclasses.replace(asks, cutoff=least * (1 - 1e-6), tolls=tolls)
    found = solve_each(programme, choices, moving, below)
    assert not any(plan for plan, value in zip(found, least, strict=True) if np.isfinite(value))


@pytest.mark.timeout(300)
@settings(max_examples=60, **_some)
@given(st.integers(0, 2**32))
def test_machines_waited_for_without_end_are_left_out_of_bounds(seed: int) -> None:
    programme, rng = _programme(seed), np.random.default_rng(seed)
    choices, moving = _asked(programme, rng)
    full = rng.random(len(programme.devices)) < 0.3
    waiting = [
        dataclasses.replace(
            c,
            allowed=~full[step.slot],
            mean=np.where(full[step.slot], np.inf, c.mean),
            variance=np.where(full[step.slot], np.inf, c.variance),
        )
        for c, step in zip(choices, programme.steps, strict=True)
    ]
    asks = _asks(programme, rng)
    least = np.array(_values(solve_each(programme, waiting, moving, asks)))
    above = dataclasses.replace(asks, cutoff=least * (1 + 1e-6) + 1e-9)
    found = _values(solve_each(programme, waiting, moving, above))
    assert found == pytest.approx(least.tolist())


@pytest.mark.timeout(300)
@settings(max_examples=200, **_some)
@given(st.integers(0, 2**32))
def test_guessing_first_finds_what_a_plain_search_finds(seed: int) -> None:
    programme, rng = _programme(seed), np.random.default_rng(seed)
    choices, moving = _asked(programme, rng)
    alone = [dataclasses.replace(c, value=c.value[0]) for c in choices]
    here = moving.at(np.zeros(1, dtype=np.int64))
    single = Moving(
        hop=here.hop[0], entry={k: v[0] for k, v in here.entry.items()}, exit=here.exit[0]
    )
    limits = limits_of(programme.query.slo)
    plain = solve(programme, alone, single, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_PATIENCE", 0)
        found = solve(programme, alone, single, limits)
    assert (found is None) == (plain is None)
    if found is not None and plain is not None:
        assert found.value == pytest.approx(plain.value, rel=1e-12)
