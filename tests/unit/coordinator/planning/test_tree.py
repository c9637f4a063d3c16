"""Branch and bound over whole queries, and the cuts that help it."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from circinus_coordinator.planning.decomposition.covers import covers
from circinus_coordinator.planning.decomposition.tree import Grove, search

FloatArray = npt.NDArray[np.float64]


def _random(seed: int) -> Grove:
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(5), random.integers(1, 4, 5))
    use = random.uniform(0, 0.8, (len(owner), 2)) * random.integers(0, 2, (len(owner), 2))
    return Grove(owner=owner, gain=random.uniform(-1, 10, len(owner)), use=use)


def _whole(grove: Grove) -> list[FloatArray]:
    """All choices that fit: an option of each owner, or none."""
    mine = [[None, *np.flatnonzero(grove.owner == k)] for k in np.unique(grove.owner)]
    found = []
    for picked in itertools.product(*mine):
        taken = np.zeros(len(grove.owner))
        taken[[c for c in picked if c is not None]] = 1.0
        if (taken @ grove.use <= 1).all():
            found.append(taken)
    return found


@pytest.mark.parametrize("cuts", [(0, 0), (15, 1)])
@pytest.mark.parametrize("nodes", [1, 4, 1000])
def test_the_best_choice_lies_between_what_is_found_and_the_bound(
    nodes: int, cuts: tuple[int, int]
) -> None:
    for seed in range(30):
        grove = _random(seed)
        best = max(float(taken @ grove.gain) for taken in _whole(grove))
        found = search(grove, nodes=nodes, gap=0.0, cuts=cuts)
        assert found.worth <= best + 1e-9 <= found.bound + 2e-9


def test_what_is_taken_fits_and_is_worth_what_is_said() -> None:
    for seed in range(30):
        grove = _random(seed)
        found = search(grove, nodes=3, gap=0.0)
        assert any(np.array_equal(found.taken, taken) for taken in _whole(grove))
        assert found.worth == pytest.approx(float(found.taken @ grove.gain))


def test_enough_branches_leave_nothing_between_them() -> None:
    for seed in range(30):
        found = search(_random(seed), nodes=1000, gap=0.0)
        assert found.bound == pytest.approx(found.worth, abs=1e-8)


def test_a_start_that_is_best_is_kept_without_any_branch() -> None:
    grove = _random(3)
    best = max(_whole(grove), key=lambda taken: float(taken @ grove.gain))
    found = search(grove, nodes=0, gap=0.0, start=best)
    assert np.array_equal(found.taken, best)


def test_a_start_that_does_not_fit_counts_for_nothing() -> None:
    grove = Grove(owner=np.arange(2), gain=np.ones(2), use=np.full((2, 1), 0.6))
    found = search(grove, nodes=10, gap=0.0, start=np.ones(2))
    assert (found.worth, found.bound) == (1.0, pytest.approx(1.0))


def test_cuts_prove_at_the_root_that_only_one_of_two_fits() -> None:
    grove = Grove(owner=np.arange(2), gain=np.ones(2), use=np.full((2, 1), 0.6))
    assert search(grove, nodes=1, gap=0.0, cuts=(0, 0)).bound > 1.6
    assert search(grove, nodes=1, gap=0.0, cuts=(1, 0)).bound == pytest.approx(1.0)


def test_no_choice_that_fits_violates_a_cut() -> None:
    made = 0
    for seed in range(200):
        grove, random = _random(seed), np.random.default_rng(seed)
        part = random.dirichlet(np.ones(4), 5)[:, :3].reshape(-1)[: len(grove.owner)]
        cuts = covers(grove.use, grove.owner, part)
        made += cuts.shape[1]
        for taken in _whole(grove):
            assert (taken @ cuts <= 1 + 1e-12).all()
    assert made > 20


def test_an_option_as_large_as_two_of_a_cover_counts_twice() -> None:
    # Three of 0.4 are too many, so two may be taken; one of 0.85 leaves room for none.
    use = np.array([[0.4], [0.4], [0.4], [0.85]])
    cuts = covers(use, np.arange(4), np.array([0.8, 0.8, 0.8, 0.1]))
    assert cuts[:, 0] == pytest.approx([0.5, 0.5, 0.5, 1.0])
