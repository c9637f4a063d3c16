"""A pipeline's operators as arrays over device classes and configs, and its config vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import DeviceClass
from circinus.pipeline import Config
from circinus.profile import OperatorProfile
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.latency import service_variance

__all__ = ["CHEAP", "FAST", "Pick", "Table", "Vectors"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CHEAP, FAST = 0, 1
# Config vectors looked at where no accuracy table limits them. A larger product is searched by a
# beam over the operators, half of it the cheapest and half the fastest prefixes.
_MOST_VECTORS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One operator's rows; arrays `(classes, configs)`, `mean` inf where there is no row.

    Attributes:
        rows: Profile rows by (class, config).
        mean: Service time of a batch, ms.
        variance: For the percentile, ms².
        usd: Per request, computation and per-call price.
        size: Output bytes.
        load: Machine time per request as part of the machine, largest over its resources.
        compute: `(classes, configs, resources)` seconds per request.
    """

    rows: dict[tuple[int, int], OperatorProfile]
    mean: FloatArray
    variance: FloatArray
    usd: FloatArray
    size: FloatArray
    load: FloatArray
    compute: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Config vectors of a pipeline.

    Attributes:
        ids: `(vectors, operators)` config ids.
        accuracy: `(vectors,)`, NaN where it was not measured.
        usd: `(vectors,)` cost of a request if every operator ran where it is cheapest.
    """

    ids: IntArray
    accuracy: FloatArray
    usd: FloatArray

    def take(self, index: IntArray) -> Vectors:
        """Some of them."""
        return Vectors(ids=self.ids[index], accuracy=self.accuracy[index], usd=self.usd[index])


class Table:
    """One pipeline at one percentile: for each operator its cheapest and its fastest rows.

    Where a config was measured with several batch sizes, `CHEAP` has the one that costs least
    per request and `FAST` the one of least latency.
    """

    def __init__(self, catalogue: Catalogue, pipeline: str, percentile: float) -> None:
        self.catalogue, self.percentile = catalogue, percentile
        self.pipeline = catalogue.scenario.pipelines[pipeline]
        self.order = tuple(self.pipeline.operators)
        self.kinds = tuple(catalogue.scenario.device_classes)
        found = [self._rows(name) for name in self.order]
        self.configs: tuple[tuple[Config, ...], ...] = tuple(
            tuple(dict.fromkeys(row.config for _, row in rows)) for rows in found
        )
        self.picks = tuple(
            tuple(self._pick(rows, k, which) for k, rows in enumerate(found))
            for which in (CHEAP, FAST)
        )
        self.same = all(
            a.rows == b.rows for a, b in zip(self.picks[CHEAP], self.picks[FAST], strict=True)
        )
        self._vectors: dict[float | None, Vectors] = {}

    def vectors(self, floor: float | None) -> Vectors:
        """Every vector of at least this accuracy; without a floor also unmeasured ones."""
        if floor not in self._vectors:
            self._vectors[floor] = self._admissible(floor)
        return self._vectors[floor]

    def _rows(self, name: str) -> list[tuple[int, OperatorProfile]]:
        spec, scenario = self.pipeline.operators[name], self.catalogue.scenario
        return [
            (k, row)
            for k, kind in enumerate(self.kinds)
            for row in self.catalogue.profiles.rows(self.pipeline.name, spec, kind)
            if _possible(row, scenario.device_classes[kind])
        ]

    def _pick(self, rows: Sequence[tuple[int, OperatorProfile]], k: int, which: int) -> Pick:
        classes = self.catalogue.scenario.device_classes
        ids = {config: i for i, config in enumerate(self.configs[k])}
        best: dict[tuple[int, int], tuple[tuple[float, ...], OperatorProfile]] = {}
        for kind, row in rows:
            usd = classes[self.kinds[kind]].usage_cost_usd(row.compute_s) + row.price_usd_per_call
            load = _load(row, classes[self.kinds[kind]])
            latency = row.latency_ms.mean
            rank = (usd, load, latency) if which == CHEAP else (latency, usd, load)
            at = (kind, ids[row.config])
            if at not in best or rank < best[at][0]:
                best[at] = (rank, row)
        shape = (len(self.kinds), len(ids))
        pick = Pick(
            rows={at: row for at, (_, row) in best.items()},
            mean=np.full(shape, np.inf),
            variance=np.zeros(shape),
            usd=np.full(shape, np.inf),
            size=np.zeros(shape),
            load=np.zeros(shape),
            compute=np.zeros((*shape, len(self.catalogue.resources))),
        )
        for at, row in pick.rows.items():
            kind_of = classes[self.kinds[at[0]]]
            pick.mean[at] = row.latency_ms.mean
            pick.variance[at] = service_variance(row.latency_ms, self.percentile)
            pick.usd[at] = kind_of.usage_cost_usd(row.compute_s) + row.price_usd_per_call
            pick.size[at] = row.output_bytes
            pick.load[at] = _load(row, kind_of)
            pick.compute[at] = [row.compute_s.get(r, 0.0) for r in self.catalogue.resources]
        return pick

    def _admissible(self, floor: float | None) -> Vectors:
        accuracy = self.catalogue.accuracy(self.pipeline.name)
        ids = [{config: i for i, config in enumerate(found)} for found in self.configs]
        measured = accuracy.vectors(-math.inf if floor is None else floor, self.order, ids)
        rows = dict.fromkeys(measured)
        if floor is None:
            rows.update(dict.fromkeys(map(tuple, self._product().tolist())))
        vectors = np.array(list(rows), dtype=np.int64).reshape(len(rows), len(self.order))
        known = [
            accuracy.of({n: self.configs[k][v[k]] for k, n in enumerate(self.order)}) for v in rows
        ]
        return Vectors(
            ids=vectors,
            accuracy=np.array([np.nan if a is None else a for a in known], dtype=np.float64),
            usd=self._least(vectors, [pick.usd for pick in self.picks[CHEAP]]),
        )

    def _product(self) -> IntArray:
        """All vectors, or those a beam over the operators keeps."""
        found: IntArray = np.zeros((1, 0), dtype=np.int64)
        for configs in self.configs:
            wide = np.repeat(found, len(configs), axis=0)
            last = np.tile(np.arange(len(configs), dtype=np.int64), len(found))
            found = np.concatenate([wide, last[:, None]], axis=1)
            if len(found) > _MOST_VECTORS:
                half = _MOST_VECTORS // 2
                cheap = self._least(found, [pick.usd for pick in self.picks[CHEAP]])
                fast = self._least(found, [pick.mean for pick in self.picks[FAST]])
                keep = {*np.argsort(cheap, kind="stable")[:half].tolist()}
                keep.update(np.argsort(fast, kind="stable")[:half].tolist())
                found = found[sorted(keep)]
        return found

    def _least(self, vectors: IntArray, amounts: Sequence[FloatArray]) -> FloatArray:
        """Sum over the operators of the least amount any class has for the config."""
        total: FloatArray = np.zeros(len(vectors))
        for k in range(vectors.shape[1]):
            if amounts[k].size:
                total = total + amounts[k].min(axis=0)[vectors[:, k]]
        return total


def _load(row: OperatorProfile, kind: DeviceClass) -> float:
    return max(
        (
            s / kind.resources[r]
            for r, s in row.compute_s.items()
            if s > 0 and kind.resources[r] > 0
        ),
        default=0.0,
    )


def _possible(row: OperatorProfile, kind: DeviceClass) -> bool:
    """True where an idle machine of the class could run it at all."""
    return row.memory_mb <= kind.memory_mb and all(
        seconds <= 0 or kind.resources[resource] > 0 for resource, seconds in row.compute_s.items()
    )
