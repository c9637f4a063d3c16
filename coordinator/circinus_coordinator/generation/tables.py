"""Accuracy tables: which config vectors of a pipeline were measured, and what came out.

The product of all configs has up to 10^8 members; like a profiler, the generator measures some
hundreds. Rows hold for all values of neutral knobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.profile import AccuracyProfile, Provenance
from circinus_coordinator.generation.dice import Dice, figure
from circinus_coordinator.generation.profiles import OperatorFigures
from circinus_coordinator.generation.templates import PipelineTemplate

__all__ = ["MAX_ROWS", "AccuracyTable", "accuracy_table"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_ROWS = 480
# Every config is tried once beside each of so many good vectors.
_BASES = 3
# Scatter of a measured accuracy: 1,000 labelled samples at 0.9 have a standard error of 0.009;
# the same samples serve all vectors, so they differ by less (assumed).
NOISE = 0.004
SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyTable:
    """Measured vectors of one pipeline.

    Attributes:
        vectors: `(rows, operators)` config numbers, neutral knobs at their first value.
        mean: `(rows,)` accuracy.
    """

    pipeline: str
    operators: tuple[OperatorFigures, ...]
    vectors: IntArray
    mean: FloatArray

    def rows(self) -> Iterator[AccuracyProfile]:
        """As the scenario has them."""
        names = [op.template.name for op in self.operators]
        for vector, mean in zip(self.vectors.tolist(), self.mean.tolist(), strict=True):
            yield AccuracyProfile(
                pipeline=self.pipeline,
                config={
                    name: op.configs[i]
                    for name, op, i in zip(names, self.operators, vector, strict=True)
                },
                mean=mean,
                samples=SAMPLES,
                provenance=Provenance.ASSUMED,
            )


def accuracy_table(
    template: PipelineTemplate, operators: Sequence[OperatorFigures], seed: int
) -> AccuracyTable:
    """The table of a pipeline: good vectors, each config beside them, and a random rest."""
    dice = Dice(seed, "accuracy", template.name)
    plain = [np.flatnonzero(~op.neutral) for op in operators]
    vectors: dict[tuple[int, ...], None] = {}
    for base in _bases(operators, plain):
        vectors[base] = None
    apart = max(1, len(vectors) // _BASES)
    for base in list(vectors)[::apart][:_BASES]:
        for k, options in enumerate(plain):
            for option in options.tolist():
                vectors[base[:k] + (option,) + base[k + 1 :]] = None  # noqa: RUF005 (mypy, 3.10)
    draws = [options[dice.indices(MAX_ROWS, len(options))] for options in plain]
    for row in zip(*(draw.tolist() for draw in draws), strict=True):
        if len(vectors) >= MAX_ROWS:
            break
        vectors[row] = None
    table = np.array(list(vectors)[:MAX_ROWS], dtype=np.int64)
    kept: FloatArray = np.ones(len(table))
    for k, op in enumerate(operators):
        kept = kept * (1 - op.loss[table[:, k]])
    noise = sum((dice.uniforms(len(table)) - 0.5 for _ in range(3)), np.zeros(len(table)))
    mean = np.clip(template.best * kept + 2 * NOISE * noise, 0.02, 0.995)
    return AccuracyTable(
        pipeline=template.name,
        operators=tuple(operators),
        vectors=table,
        mean=np.array([figure(float(value)) for value in mean]),
    )


def _bases(
    operators: Sequence[OperatorFigures], plain: Sequence[IntArray]
) -> list[tuple[int, ...]]:
    """Vectors along the way from best to cheapest, each losing about as much in every operator.

    For each operator the configs that are best for what they cost are lined up; a base takes the
    one at the same place of every line.
    """
    lines = [_front(op, options) for op, options in zip(operators, plain, strict=True)]
    steps = 4 * max(len(line) for line in lines)
    found = [
        tuple(line[round(i / steps * (len(line) - 1))] for line in lines) for i in range(steps + 1)
    ]
    return list(dict.fromkeys(found))


def _front(op: OperatorFigures, options: IntArray) -> list[int]:
    """Configs that no other beats in accuracy and in use of a machine, best accuracy first.

    Use is that of the class with the most rows: all classes rank configs much alike.
    """
    runs = max(op.mean_ms.values(), key=lambda mean: int(np.isfinite(mean).sum()))
    use = np.where(np.isfinite(runs), runs, 1e9) * (1 + 1e4 * op.price_usd)
    front: list[int] = []
    cheapest = np.inf
    for i in sorted(options.tolist(), key=lambda i: (op.loss[i], use[i], i)):
        if use[i] < cheapest:
            cheapest = float(use[i])
            front.append(i)
    return front
