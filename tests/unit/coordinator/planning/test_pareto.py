"""Dominated rows go, one of each front stays."""

from __future__ import annotations

import numpy as np
import pytest

from circinus_coordinator.planning.pareto import survivors


def front(group: np.ndarray, columns: np.ndarray) -> set[tuple[float, ...]]:
    """The Pareto front of each group, by comparing all pairs."""
    rows = [(int(g), *map(float, c)) for g, c in zip(group, columns.T, strict=True)]
    return {
        r for r in rows
        if not any(o != r and o[0] == r[0] and all(x <= y for x, y in zip(o, r, strict=True))
                   for o in rows)
    }  # fmt: skip


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
@pytest.mark.parametrize("levels", [3, 1000])
def test_the_front_of_each_group_is_kept(dimensions: int, levels: int) -> None:
    rng = np.random.default_rng(dimensions)
    for count in (1, 2, 10, 200):
        group = rng.integers(0, 4, count)
        columns = rng.integers(0, levels, (dimensions, count)).astype(np.float64)
        kept = survivors(group, list(columns))
        found = {(int(group[i]), *map(float, columns[:, i])) for i in kept}
        expected = front(group, columns)
        assert expected <= found
        if dimensions <= 2:
            assert found == expected
            assert len(kept) == len(found)


def test_of_small_groups_exactly_the_front_is_kept() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 5, 100)
    columns = rng.integers(0, 4, (4, 100)).astype(np.float64)
    kept = survivors(group, list(columns))
    found = [(int(group[i]), *map(float, columns[:, i])) for i in kept]
    assert sorted(found) == sorted(front(group, columns))


def test_equal_rows_leave_the_first() -> None:
    group = np.array([0, 0, 1, 1])
    assert survivors(group, [np.zeros(4)]).tolist() == [0, 2]
    assert survivors(group, []).tolist() == [0, 2]


def test_no_rows_leave_no_rows() -> None:
    assert survivors(np.zeros(0, dtype=np.int64), [np.zeros(0)]).tolist() == []
