"""The reconciler: from what a device should run to what it runs, as a pure state machine.

Rules, in this order of weight:

1. What is served keeps being served until its successor is ready: new instances start beside
   the old ones, routes change only when all of them are, and old instances stop only once the
   requests of their routes are through.
2. Nothing is applied before it is on disk, so that a power cut never forgets a plan that was
   reported.
3. A newer document takes the place of one that is still being applied; a document that cannot
   be applied is given up with its cause and blocks no successor.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from circinus.messages import Desired, InstanceSpec, Peer
from circinus_agent.reconciler import events as e
from circinus_agent.reconciler.documents import out_of_order, problem_of
from circinus_agent.reconciler.model import (
    FAILED,
    READY,
    STARTING,
    STOPPING,
    Draining,
    Fetch,
    Model,
    Slot,
    local_keys,
    same_document,
)
from circinus_agent.reconciler.reporting import report

__all__ = ["Reconciler"]

# A request without deadline must not hold an old instance forever.
DRAIN_TIMEOUT_S = 60.0
# Only a shell that never answers gets here: the runtime has a shorter limit of its own, and a
# model is loaded and quantised within minutes even on a small device.
START_TIMEOUT_S = 1800.0
# An instance that served before is worth trying again, ever more rarely.
RETRY_FIRST_S, RETRY_LAST_S = 5.0, 300.0
# The coordinator may be restarting while its artifacts are fetched: 1 + 2 + 4 + 8 seconds.
ARTIFACT_ATTEMPTS = 5


class Reconciler:
    """Turns events into instructions; does nothing itself and reads no clock.

    Args:
        model: A state to go on from (a rotated event log begins with one).
    """

    def __init__(self, model: Model | None = None) -> None:
        self.model = model or Model()

    def handle(self, event: e.AnyEvent) -> list[e.Instruction]:
        """Take note of `event`; returns what is to be done, in order."""
        out: list[e.Instruction] = []
        self._note(event, out)
        if self.model.device:
            self._expire(event.now, out)
            self._advance(event.now, out)
            reported = report(self.model)
            if reported != self.model.reported:
                self.model.reported = reported
                out.append(e.Report(reported=reported))
        return out

    # ---- events ---------------------------------------------------------------------------

    def _note(self, event: e.AnyEvent, out: list[e.Instruction]) -> None:
        model = self.model
        if isinstance(event, e.Booted):
            self._boot(event)
        elif isinstance(event, e.DesiredReceived):
            self._receive(event.desired, out)
        elif isinstance(event, e.Persisted):
            incoming = model.incoming
            if incoming and (incoming.version, incoming.hash) == (event.version, event.hash):
                self._accept(incoming)
        elif isinstance(event, e.PersistFailed):
            incoming = model.incoming
            if incoming and (incoming.version, incoming.hash) == (event.version, event.hash):
                model.incoming = None
                model.refused = f"version {event.version} cannot be stored: {event.cause}"
        elif isinstance(event, e.ArtifactFetched | e.ArtifactFailed):
            self._artifact(event)
        elif isinstance(event, e.InstanceChanged):
            if event.key in model.slots:
                model.slots[event.key].report = event.report
        elif isinstance(event, e.RoutesDrained):
            model.draining = [d for d in model.draining if d.epoch != event.epoch]
        elif isinstance(event, e.InstanceReady | e.InstanceFailed | e.InstanceStopped):
            self._instance(event)

    def _boot(self, event: e.Booted) -> None:
        """Take up what was stored; nobody needs to be asked for it."""
        model = self.model
        model.device, model.boot_id = event.device, event.boot_id
        stored: list[Desired | None] = []
        for document in (event.stored.desired, event.stored.good):
            problem = document and problem_of(document, self.model.device)
            if problem:
                model.refused = f"stored document: {problem}"
            stored.append(None if problem else document)
        model.target, model.base = stored
        if model.target is None:
            model.target = model.base

    def _receive(self, desired: Desired, out: list[e.Instruction]) -> None:
        model = self.model
        newest = model.incoming or model.target
        problem = problem_of(desired, model.device)
        if not problem and newest and newest.store == desired.store:
            if same_document(newest, desired):
                return  # retained topics come again at every connection
            problem = out_of_order(desired, newest)
        if problem:
            model.refused = problem
            return
        model.incoming = desired
        out.append(e.Persist(stored=e.Stored(desired=desired, good=model.base), awaits=desired))

    def _accept(self, desired: Desired) -> None:
        """`desired` is on disk: it is what counts from now on."""
        model = self.model
        model.incoming, model.target = None, desired
        model.trouble, model.refused = None, None
        for slot in model.slots.values():
            slot.failures = 0  # a new document is worth a new try, at once
        model.fetches = {k: f for k, f in model.fetches.items() if f.state != FAILED}

    def _artifact(self, event: e.ArtifactFetched | e.ArtifactFailed) -> None:
        model = self.model
        fetch = model.fetches.get(event.sha256)
        if fetch is None or fetch.state != "fetching":
            return
        fetch.at = event.now
        if isinstance(event, e.ArtifactFetched):
            fetch.state, fetch.cause = "here", None
            return
        fetch.state, fetch.cause = FAILED, event.cause
        pending = model.pending
        needed = pending and any(a.sha256 == event.sha256 for a in pending.artifacts)
        if needed and (event.final or fetch.attempts >= ARTIFACT_ATTEMPTS):
            model.trouble = f"artifact {event.sha256[:12]}: {event.cause}"

    def _instance(self, event: e.InstanceReady | e.InstanceFailed | e.InstanceStopped) -> None:
        model = self.model
        slot = model.slots.get(event.key)
        if slot is None:
            return
        if isinstance(event, e.InstanceStopped):
            if slot.state == STOPPING:
                del model.slots[event.key]
            return
        if slot.state == STOPPING:
            return  # an answer to an earlier start
        slot.at = event.now
        if isinstance(event, e.InstanceReady):
            slot.state, slot.cause, slot.failures, slot.served = READY, None, 0, True
            return
        self._failed(slot, event.cause)

    def _failed(self, slot: Slot, cause: str) -> None:
        model = self.model
        slot.state, slot.cause = FAILED, cause
        slot.failures += 1
        pending = model.pending
        if pending and any(spec.key == slot.spec.key for spec in pending.instances):
            model.trouble = f"{slot.spec.key}: {cause}"

    # ---- what follows ---------------------------------------------------------------------

    def _expire(self, now: float, out: list[e.Instruction]) -> None:
        """Give up waiting for what should have happened long ago."""
        model = self.model
        model.draining = [d for d in model.draining if now - d.since < DRAIN_TIMEOUT_S]
        for key, slot in model.slots.items():
            if slot.state == STARTING and now - slot.at >= START_TIMEOUT_S:
                self._failed(slot, f"not ready within {START_TIMEOUT_S:.0f} s")
                slot.state, slot.at = STOPPING, now
                out.append(e.StopInstance(key=key))

    def _advance(self, now: float, out: list[e.Instruction]) -> None:
        self._fetch(now, out)
        if self._target_ready():
            model = self.model
            model.base = model.target
            # A newer document may be on disk already; it must not be forgotten.
            newest = model.incoming or model.target
            out.append(e.Persist(stored=e.Stored(desired=newest, good=model.base)))
        routing = self._route(now)
        out.extend(routing)
        self._instances(now, out)

    def _fetch(self, now: float, out: list[e.Instruction]) -> None:
        model = self.model
        wanted = {a.sha256: a for a in model.served.artifacts}
        if model.pending:
            wanted.update({a.sha256: a for a in model.pending.artifacts})
        for sha256 in [s for s in model.fetches if s not in wanted]:
            del model.fetches[sha256]
        for sha256, artifact in wanted.items():
            fetch = model.fetches.get(sha256)
            if fetch is not None and (
                fetch.state != FAILED or now < fetch.at + _backoff(fetch.attempts, first=1.0)
            ):
                continue
            attempts = fetch.attempts + 1 if fetch else 1
            model.fetches[sha256] = Fetch(state="fetching", at=now, attempts=attempts)
            out.append(e.FetchArtifact(artifact=artifact))

    def _target_ready(self) -> bool:
        model = self.model
        pending = model.pending
        if pending is None or not self._artifacts_here():
            return False
        for spec in pending.instances:
            slot = model.slots.get(spec.key)
            if slot is None or slot.state != READY or slot.spec != self._spec(spec):
                return False
        return True

    def _artifacts_here(self) -> bool:
        model = self.model
        return model.pending is not None and all(
            a.sha256 in model.fetches and model.fetches[a.sha256].state == "here"
            for a in model.pending.artifacts
        )

    def _route(self, now: float) -> list[e.Instruction]:
        """Serve the routes of `base`; those just booted wait for their own instances."""
        model = self.model
        routes = [
            route
            for route in model.served.routes
            if all(
                key in model.slots and model.slots[key].served
                for key in local_keys(model.device, [route])
            )
        ]
        out: list[e.Instruction] = []
        if routes != model.routes:
            model.epoch += 1
            kept = {(r.query, r.plan) for r in routes}
            removed = [r for r in model.routes if (r.query, r.plan) not in kept]
            if removed:
                keys = sorted(local_keys(model.device, removed))
                model.draining.append(
                    Draining(epoch=model.epoch, since=now, keys=keys, peers=model.peers)
                )
            model.routes = routes
            out.append(e.SetRoutes(routes=tuple(routes), epoch=model.epoch))
        peers = self._peers()
        if peers != model.peers:
            model.peers = peers
            out.insert(0, e.SetPeers(peers=tuple(peers)))  # routes need their peers
        return out

    def _peers(self) -> list[Peer]:
        """Peers of what is served, of what comes, and of what still drains; newest word wins."""
        model = self.model
        groups: list[Sequence[Peer]] = [d.peers for d in model.draining]
        groups.append(model.served.peers)
        if model.pending:
            groups.append(model.pending.peers)
        merged = {peer.device: peer for group in groups for peer in group}
        return [merged[device] for device in sorted(merged)]

    def _instances(self, now: float, out: list[e.Instruction]) -> None:
        model = self.model
        wanted = {spec.key: self._spec(spec) for spec in model.served.instances}
        if model.pending and self._artifacts_here():
            wanted.update({spec.key: self._spec(spec) for spec in model.pending.instances})
        held = {key for drain in model.draining for key in drain.keys}
        for key in [k for k in model.slots if k not in wanted and k not in held]:
            slot = model.slots[key]
            if slot.state == FAILED:
                del model.slots[key]
            elif slot.state != STOPPING:
                slot.state, slot.at = STOPPING, now
                out.append(e.StopInstance(key=key))
        for key, spec in wanted.items():
            if self._due(model.slots.get(key), spec, now):
                previous = model.slots.get(key)
                model.slots[key] = Slot(
                    spec=spec,
                    at=now,
                    served=previous is not None and previous.served,
                    failures=previous.failures if previous else 0,
                )
                out.append(e.StartInstance(spec=spec))

    def _due(self, slot: Slot | None, spec: InstanceSpec, now: float) -> bool:
        """Whether a start (or a change of a running instance) is to be ordered now."""
        if slot is None:
            return True
        if slot.state == STOPPING:
            return False
        if slot.state == FAILED and slot.spec == spec and slot.failures:
            return now >= slot.at + _backoff(slot.failures, first=RETRY_FIRST_S)
        return slot.state == FAILED or slot.spec != spec

    def _spec(self, spec: InstanceSpec) -> InstanceSpec:
        """`spec` with as many replicas as the documents in force need together."""
        pending = self.model.pending
        if pending is None:
            return spec
        both = [s for s in (*self.model.served.instances, *pending.instances) if s.key == spec.key]
        newest = both[-1]
        return msgspec.structs.replace(newest, replicas=max(s.replicas for s in both))


def _backoff(failures: int, *, first: float) -> float:
    return float(min(RETRY_LAST_S, first * 2 ** min(failures - 1, 16)))
