"""What happens to the reconciler, and what it wants done.

Events are msgspec Structs, because they are also lines of the event log; the time stands in the
event (seconds of the agent's monotonic clock). Instructions are carried out in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from circinus.messages import (
    Artifact,
    Desired,
    InstanceReport,
    InstanceSpec,
    Peer,
    Reported,
    Route,
)

__all__ = [
    "AnyEvent",
    "ArtifactFailed",
    "ArtifactFetched",
    "Booted",
    "DesiredReceived",
    "Event",
    "FetchArtifact",
    "InstanceChanged",
    "InstanceFailed",
    "InstanceReady",
    "InstanceStopped",
    "Instruction",
    "Persist",
    "PersistFailed",
    "Persisted",
    "Report",
    "RoutesDrained",
    "SetPeers",
    "SetRoutes",
    "StartInstance",
    "StopInstance",
    "Stored",
    "Tick",
]


class Stored(msgspec.Struct, kw_only=True, frozen=True):
    """What outlives a restart.

    `desired` is the newest document accepted, `good` the newest that converged.
    """

    desired: Desired | None = None
    good: Desired | None = None


# ---- events -------------------------------------------------------------------------------


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """Base of events; `now` is in seconds and never runs backwards within one boot."""

    now: float


class Booted(Event, tag="booted", frozen=True):
    """The agent started, with what it had stored (empty on a new device)."""

    device: str
    boot_id: str
    stored: Stored = Stored()


class DesiredReceived(Event, tag="desired", frozen=True):
    """A document came in; nothing about it has been checked but its form."""

    desired: Desired


class Persisted(Event, tag="persisted", frozen=True):
    """`Persist` of the document with this hash and version is on disk."""

    version: int
    hash: str


class PersistFailed(Event, tag="persist-failed", frozen=True):
    """The document could not be written (disk full, read-only)."""

    version: int
    hash: str
    cause: str


class ArtifactFetched(Event, tag="artifact-fetched", frozen=True):
    """The file is in the cache and its hash is right."""

    sha256: str


class ArtifactFailed(Event, tag="artifact-failed", frozen=True):
    """The file could not be had; `final` where another try cannot help (wrong hash)."""

    sha256: str
    cause: str
    final: bool = False


class InstanceReady(Event, tag="instance-ready", frozen=True):
    """All replicas are set up and answer."""

    key: str


class InstanceFailed(Event, tag="instance-failed", frozen=True):
    """The runtime gave the instance up after its attempts; nothing of it runs any more."""

    key: str
    cause: str


class InstanceStopped(Event, tag="instance-stopped", frozen=True):
    """A stop was completed; events of an earlier start of this key no longer come."""

    key: str


class InstanceChanged(Event, tag="instance-changed", frozen=True):
    """The runtime's own view of an instance it keeps alive: replicas, restarts, last cause."""

    key: str
    report: InstanceReport


class RoutesDrained(Event, tag="routes-drained", frozen=True):
    """The routes that `SetRoutes` number `epoch` took away have no request left."""

    epoch: int


class Tick(Event, tag="tick", frozen=True):
    """Time passed."""


AnyEvent = (
    Booted
    | DesiredReceived
    | Persisted
    | PersistFailed
    | ArtifactFetched
    | ArtifactFailed
    | InstanceReady
    | InstanceFailed
    | InstanceStopped
    | InstanceChanged
    | RoutesDrained
    | Tick
)


# ---- instructions -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """Base of instructions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist(Instruction):
    """Write to disk so that it survives a power cut; answer for `awaits` where it is given."""

    stored: Stored
    awaits: Desired | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchArtifact(Instruction):
    """Have the file in the cache; answer ArtifactFetched or ArtifactFailed."""

    artifact: Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInstance(Instruction):
    """Start it, or bring a running one of the same key to this spec; answer ready or failed."""

    spec: InstanceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StopInstance(Instruction):
    """Stop it; answer InstanceStopped."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRoutes(Instruction):
    """These are all the routes now; answer RoutesDrained once those left out are empty."""

    routes: tuple[Route, ...]
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPeers(Instruction):
    """These are all the peers now."""

    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Instruction):
    """Publish, retained."""

    reported: Reported
