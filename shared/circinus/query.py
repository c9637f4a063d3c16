"""Queries: a pipeline, where its data comes from, how much of it, and what is promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from circinus import _checks as check
from circinus.errors import InvalidInput

__all__ = ["Query", "Sink", "Slo", "Source", "Tenant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service-level objectives of a query; each may be absent.

    Attributes:
        latency_ms: Latency at `percentile`, milliseconds, from source to delivery.
        percentile: At least 1 and below 100.
        accuracy: Lowest mean accuracy, in [0, 1].
        cost_usd_per_1000: Highest cost of 1,000 requests, US dollars.
    """

    latency_ms: float | None = None
    percentile: float = 95.0
    accuracy: float | None = None
    cost_usd_per_1000: float | None = None

    def __post_init__(self) -> None:
        if self.latency_ms is not None:
            check.positive(self.latency_ms, "latency_ms")
        if not 1 <= self.percentile < 100:
            # 0.95 is a fraction by mistake, and as a percentile would promise next to nothing.
            meant = f"{self.percentile * 100:.6g}"
            remedy = f"did you mean {meant}?" if 0.01 <= self.percentile < 1 else "write 95 for p95"
            raise InvalidInput(
                f"must be at least 1 and below 100, not {self.percentile!r}",
                key="percentile",
                remedy=remedy,
            )
        if self.accuracy is not None:
            check.fraction(self.accuracy, "accuracy")
        if self.cost_usd_per_1000 is not None:
            check.not_negative(self.cost_usd_per_1000, "cost_usd_per_1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where requests come from at the source device.

    Attributes:
        kind: ``http`` (POST to the agent, always possible) or ``folder`` (replayed at the
            query's rate, over and over).
        path: The folder on the source device, or an artifact, ``sha256:...``.
        arrivals: ``poisson`` or ``uniform`` gaps.
    """

    kind: str = "http"
    path: str | None = None
    arrivals: str = "poisson"

    def __post_init__(self) -> None:
        if self.kind not in ("http", "folder"):
            raise InvalidInput(
                f"unknown kind {self.kind!r}", key="kind", remedy="one of: http, folder"
            )
        if self.kind == "folder" and not self.path:
            raise InvalidInput("a folder source needs its path", key="path")
        if self.arrivals not in ("poisson", "uniform"):
            raise InvalidInput(
                f"unknown arrivals {self.arrivals!r}",
                key="arrivals",
                remedy="one of: poisson, uniform",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where results go, besides the answer to an HTTP request and the event stream.

    Attributes:
        kind: ``events`` (server-sent events at the agent, always there), ``file`` (JSON lines
            on the delivering device) or ``mqtt`` (small results, under the device's `up/`).
        path: The file, for ``file``.
    """

    kind: str = "events"
    path: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("events", "file", "mqtt"):
            raise InvalidInput(
                f"unknown kind {self.kind!r}", key="kind", remedy="one of: events, file, mqtt"
            )
        if self.kind == "file" and not self.path:
            raise InvalidInput("a file sink needs its path", key="path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What is promised to all queries of a label together.

    Attributes:
        name: The label.
        min_share: Part of the weighted goodput that they would reach with the fleet to themselves,
            and that they are to have at least, in [0, 1].
    """

    name: str
    min_share: float = 0.0

    def __post_init__(self) -> None:
        check.fraction(self.min_share, "min_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A pipeline with its workload and SLOs.

    Attributes:
        id: Identifier.
        pipeline: Name of the pipeline.
        source: Device id at which each source operator's input starts.
        rate_rps: Requests per second of each of the `count` queries.
        weight: Worth of a request that meets all its SLOs.
        splittable: Its traffic may be shared among several plans.
        count: Number of identical queries this one stands for.
        tenant: A label; `Scenario.tenants` may promise something to its queries.
        slo: What is promised.
        input: Where requests come from.
        output: Where results go.
    """

    id: str
    pipeline: str
    source: Mapping[str, str]
    rate_rps: float
    weight: float = 1.0
    splittable: bool = True
    count: int = 1
    tenant: str | None = None
    slo: Slo = field(default_factory=Slo)
    input: Source = field(default_factory=Source)
    output: Sink = field(default_factory=Sink)

    def __post_init__(self) -> None:
        check.identifier(self.id, "id")
        check.not_negative(self.rate_rps, "rate_rps")
        check.not_negative(self.weight, "weight")
        if self.count < 1:
            raise InvalidInput(f"must be at least 1, not {self.count}", key="count")

    @property
    def demand_rps(self) -> float:
        """Weighted requests per second it could contribute to goodput."""
        return self.weight * self.rate_rps * self.count
