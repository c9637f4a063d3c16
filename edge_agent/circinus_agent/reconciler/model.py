"""What the reconciler knows: plain data, so that it can be written into the event log."""

from __future__ import annotations

import msgspec

from circinus.messages import (
    Desired,
    DesiredBody,
    InstanceReport,
    InstanceSpec,
    Peer,
    Reported,
    Route,
)

__all__ = ["Draining", "Fetch", "Model", "Slot", "local_keys", "same_document"]

# States of a slot, as InstanceReport names them.
STARTING, READY, FAILED, STOPPING = "starting", "ready", "failed", "stopping"


class Slot(msgspec.Struct, kw_only=True):
    """One instance: what it was told to be, and how far it is.

    `served` is true once it has been ready: its routes then stay set while the runtime restarts
    it, so that requests fail with a cause and are not silently without a plan. `failures` in a
    row space the retries; `at` is when the state was entered. `report` is the runtime's last word
    on an instance that is ready: it restarts replicas by itself.
    """

    spec: InstanceSpec
    state: str = STARTING
    at: float = 0.0
    served: bool = False
    failures: int = 0
    cause: str | None = None
    report: InstanceReport | None = None


class Fetch(msgspec.Struct, kw_only=True):
    """One artifact: ``fetching``, ``here`` or ``failed``."""

    state: str
    at: float = 0.0
    attempts: int = 0
    cause: str | None = None


class Draining(msgspec.Struct, kw_only=True):
    """Routes taken away whose last requests are still on their way."""

    epoch: int
    since: float
    keys: list[str]
    peers: list[Peer]


class Model(msgspec.Struct, kw_only=True):
    """The whole state.

    `base` is the newest document that converged here: its routes are served. `target` is the
    newest accepted one; `trouble` says why it was given up. `incoming` waits to be on disk.
    """

    device: str = ""
    boot_id: str = ""
    base: Desired | None = None
    target: Desired | None = None
    trouble: str | None = None
    incoming: Desired | None = None
    refused: str | None = None
    slots: dict[str, Slot] = {}
    fetches: dict[str, Fetch] = {}
    routes: list[Route] = []
    peers: list[Peer] = []
    draining: list[Draining] = []
    epoch: int = 0
    reported: Reported | None = None

    @property
    def pending(self) -> DesiredBody | None:
        """The document being applied; None where there is nothing left to apply."""
        if self.target is None or self.trouble is not None:
            return None
        if same_document(self.target, self.base):
            return None
        return self.target.body

    @property
    def served(self) -> DesiredBody:
        """The document being served."""
        return self.base.body if self.base is not None else DesiredBody()


def same_document(a: Desired, b: Desired | None) -> bool:
    """Whether both are one version of one store."""
    return b is not None and (a.store, a.version, a.hash) == (b.store, b.version, b.hash)


def local_keys(device: str, routes: list[Route]) -> set[str]:
    """Keys of the instances `device` needs for `routes`."""
    return {step.instance for route in routes for step in route.steps if step.device == device}
