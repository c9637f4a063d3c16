"""What a simulation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["InstanceReport", "Latency", "Outcomes", "QueryReport", "Report"]

FloatArray = npt.NDArray[np.float64]


class Latency:
    """Exact latencies of the served requests of one query or plan.

    Args:
        values_ms: ``(n,)`` float64, milliseconds, in any order.
    """

    __slots__ = ("values_ms",)

    def __init__(self, values_ms: FloatArray) -> None:
        self.values_ms: FloatArray = np.sort(values_ms)

    def percentile(self, percentile: float) -> float | None:
        """Latency in ms at `percentile` (0 to 100), nearest rank; None where nothing was served."""
        count = len(self.values_ms)
        if not count:
            return None
        rank = int(np.ceil(percentile / 100 * count)) - 1
        return float(self.values_ms[min(max(rank, 0), count - 1)])

    @property
    def mean(self) -> float | None:
        """Mean in ms; None where nothing was served."""
        return float(self.values_ms.mean()) if len(self.values_ms) else None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Latency):
            return np.array_equal(self.values_ms, other.values_ms)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.values_ms.tobytes())

    def __repr__(self) -> str:
        return f"Latency(n={len(self.values_ms)}, mean={self.mean})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of the requests that came in the measured window.

    Attributes:
        arrivals: Requests that came; the sum of the next five.
        served: A result was delivered, in time or not.
        refused: No plan had a share for them.
        shed: Given up by the runtime, for the deadline's or the queue's sake.
        failed: Lost to a fault, or expired.
        in_flight: Not over when the simulation ended.
        on_time: Served within the latency SLO; all served ones where there is none.
        good: Served within all SLOs.
        latency: Of the served ones.
    """

    arrivals: int
    served: int
    refused: int
    shed: int
    failed: int
    in_flight: int
    on_time: int
    good: int
    latency: Latency = field(repr=False)

    @property
    def admitted(self) -> int:
        """Arrivals that a plan took."""
        return self.arrivals - self.refused

    @property
    def attainment(self) -> float | None:
        """Fraction of the admitted that met the latency SLO; None where nothing was admitted."""
        return self.on_time / self.admitted if self.admitted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReport(Outcomes):
    """One query, or one assignment of it.

    Attributes:
        query: Its id.
        promised_ms: Latency the decision promises at `percentile`; of a query's plans the
            highest; None where it has no plan.
        simulated_ms: Latency of the served requests at `percentile`.
        percentile: The SLO's.
        limit_ms: The latency SLO, if there is one.
        goodput_rps: Weight x good requests per second.
    """

    query: str
    promised_ms: float | None
    simulated_ms: float | None
    percentile: float
    limit_ms: float | None
    goodput_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReport:
    """One (operator, config, batch) on a device, for everybody who uses it.

    Attributes:
        utilisation: Fraction of the window that its replicas were busy.
        requests, batches: Started in the window.
        mean_wait_ms: From the request's coming to the start of its batch.
    """

    device: str
    operator: str
    config: str
    batch: int
    replicas: int
    utilisation: float
    requests: int
    batches: int
    mean_wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole simulation; figures are of the window from `warmup_s` to `seconds`.

    Attributes:
        queries: By id, in the scenario's order.
        assignments: As in the decision; refused requests belong to none.
        devices: Of each device in use, by resource, compute seconds used / offered.
        links: By (from, to), time the line was busy / window.
        instances: Every instance of the decision.
        goodput_rps: Weighted requests per second that met all their SLOs.
        requests: Requests simulated, warm-up included.
    """

    seconds: float
    warmup_s: float
    seed: int
    queries: Mapping[str, QueryReport]
    assignments: tuple[QueryReport, ...]
    devices: Mapping[str, Mapping[str, float]]
    links: Mapping[tuple[str, str], float]
    instances: tuple[InstanceReport, ...]
    goodput_rps: float
    requests: int

    @property
    def slo_attainment(self) -> float:
        """Fraction of all admitted requests that met all their SLOs; 1 where none was admitted."""
        admitted = sum(query.admitted for query in self.queries.values())
        return sum(q.good for q in self.queries.values()) / admitted if admitted else 1.0
