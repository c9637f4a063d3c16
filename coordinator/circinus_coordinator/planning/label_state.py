"""All labels of one stage of the search, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Labels", "concatenate"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(slots=True)
class Labels:
    """All labels of a stage. `at`, `mean`, `variance`, `size` are keyed by frontier operator.

    `of` says at which of the prices asked with a label is valued.
    """

    of: IntArray
    node: IntArray
    at: dict[int, IntArray]
    mean: dict[int, FloatArray]
    variance: dict[int, FloatArray]
    size: dict[int, FloatArray]
    done_mean: FloatArray
    done_variance: FloatArray
    usd: FloatArray
    value: FloatArray
    parent: IntArray
    option: IntArray

    def take(self, index: IntArray) -> Labels:
        """The labels at `index`."""
        return Labels(
            self.of[index],
            self.node[index],
            {k: column[index] for k, column in self.at.items()},
            {k: column[index] for k, column in self.mean.items()},
            {k: column[index] for k, column in self.variance.items()},
            {k: column[index] for k, column in self.size.items()},
            self.done_mean[index],
            self.done_variance[index],
            self.usd[index],
            self.value[index],
            self.parent[index],
            self.option[index],
        )


def concatenate(parts: Sequence[Labels]) -> Labels:
    """The labels of all parts, which have the same frontier, one after another."""

    def join(name: str) -> dict[int, npt.NDArray[np.generic]]:
        columns = [getattr(part, name) for part in parts]
        return {k: np.concatenate([c[k] for c in columns]) for k in columns[0]}

    keyed = {name: join(name) for name in ("at", "mean", "variance", "size")}
    flat = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("of", "node", "done_mean", "done_variance", "usd", "value", "parent", "option")
    }
    return Labels(**keyed, **flat)  # type: ignore[arg-type]
