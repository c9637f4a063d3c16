"""The rows of the store, as values. A record replaces the one of the same identity.

Documents (pipelines, queries, scenarios, decisions, desired bodies) are kept in their own file
or wire format, so that the store's schema does not change with theirs.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "AccuracyRecord",
    "ArtifactRecord",
    "DecisionRecord",
    "DecisionState",
    "DesiredRecord",
    "DeviceRecord",
    "EventRecord",
    "Forget",
    "LinkRecord",
    "MetaRecord",
    "PipelineRecord",
    "ProfileRecord",
    "QueryRecord",
    "Record",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaRecord:
    """A named document, e.g. the state of the rollout."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """A device's last incarnation and capabilities (a `Capabilities` message)."""

    id: str
    boot_id: str
    session: int
    online: bool
    capabilities: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecord:
    """A pipeline, as a submission document with nothing else in it."""

    name: str
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """A query, as a submission document with it and its pipeline."""

    id: str
    pipeline: str
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRecord:
    """Measurements of one operator; its identity is everything down to `batch`.

    Attributes:
        signature: Stands for what its inputs depend on: data set and operators upstream.
        latency_ms: Raw samples of whole batches, for quantiles.
        compute_s: Core seconds per request, element by element.
        output_bytes: Per request.
        price_usd: Per request.
        taken: Where the samples come from, in their order (`profiling.Take` as a mapping); the
            oldest may have none.
        done: No more samples were wanted.
        cause: Why there are no more samples, where measuring failed.
        boot_id: Incarnation of the device that failed; another one may try again.
    """

    pipeline: str
    operator: str
    implementation: str
    version: str
    signature: str
    config: Mapping[str, Any]
    device_class: str
    batch: int
    latency_ms: tuple[float, ...] = ()
    compute_s: tuple[float, ...] = ()
    output_bytes: tuple[float, ...] = ()
    price_usd: tuple[float, ...] = ()
    memory_mb: float = 0.0
    taken: tuple[Mapping[str, Any], ...] = ()
    done: bool = True
    emulated: bool = False
    cause: str | None = None
    boot_id: str = ""

    @property
    def key(self) -> str:
        """Identity as text."""
        return _key(
            self.pipeline, self.operator, self.implementation, self.version, self.signature,
            dict(self.config), self.device_class, self.batch,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRecord:
    """Scores of one config vector; identified by pipeline, signature and config.

    Attributes:
        scores: In the data set's order; empty in rows older than they, which have the mean alone.
        population: Inputs the data set has; None where nobody told.
        taken: As in `ProfileRecord`, with `done`, `cause` and `boot_id`.
    """

    pipeline: str
    signature: str
    config: Mapping[str, Mapping[str, Any]]
    mean: float | None
    samples: int
    scores: tuple[float, ...] = ()
    population: int | None = None
    taken: tuple[Mapping[str, Any], ...] = ()
    done: bool = True
    emulated: bool = False
    cause: str | None = None
    boot_id: str = ""

    @property
    def key(self) -> str:
        """Identity as text."""
        config = {name: dict(values) for name, values in self.config.items()}
        return _key(self.pipeline, self.signature, config)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord:
    """A measured link between two devices; `a` < `b`.

    Attributes:
        rtt_ms: Median, as `bandwidth_mbps`.
        rtts_ms: The single samples, as `bandwidths_mbps`; empty in rows older than they.
        taken: As in `ProfileRecord`, with `done`, `cause` and `boot_id`.
    """

    a: str
    b: str
    rtt_ms: float | None
    bandwidth_mbps: float | None
    samples: int
    rtts_ms: tuple[float, ...] = ()
    bandwidths_mbps: tuple[float, ...] = ()
    taken: tuple[Mapping[str, Any], ...] = ()
    done: bool = True
    emulated: bool = False
    cause: str | None = None
    boot_id: str = ""

    @property
    def key(self) -> str:
        """Identity as text."""
        return _key(self.a, self.b)


class DecisionState(str, enum.Enum):
    """What became of a decision."""

    PENDING = "pending"
    ACTIVE = "active"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision with exactly the scenario it was made for."""

    id: str
    scenario: bytes
    decision: bytes
    state: DecisionState
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredRecord:
    """The last desired document promised to a device (a `Desired` message)."""

    device: str
    version: int
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """A stored file; its bytes lie under its sha256 in the store's folder."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """An entry of the append-only log."""

    seq: int
    time_s: float
    kind: str
    subject: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Takes out the record of type `kind` with this identity."""

    kind: type
    key: str


Record = (
    MetaRecord
    | DeviceRecord
    | PipelineRecord
    | QueryRecord
    | ProfileRecord
    | AccuracyRecord
    | LinkRecord
    | DecisionRecord
    | DesiredRecord
    | ArtifactRecord
    | EventRecord
    | Forget
)


def _key(*parts: Any) -> str:
    # json tells 1, 1.0 and true apart; a config that compares equal may so get a second row,
    # never a wrong one.
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))
