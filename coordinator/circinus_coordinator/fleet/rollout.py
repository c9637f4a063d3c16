"""Bringing a decision to the devices: prepare, switch, drain, clean up; or all the way back.

Each query whose routes change goes through the stages on its own merits, and a device's document
is composed of the stages of all queries that touch it:

* ``PREPARE``: new routes are there but inactive, with their instances; the old ones serve.
* ``SWITCH``: new routes serve, old ones are inactive.
* ``DRAIN``: all that are online have switched; requests on their way still find the old routes.
* settled: only the new routes and their instances remain.

Queries prepared by devices that are all online move on together, so that a document changes as
seldom as possible. A query that needs a device which is offline waits (its retained document
does too) and holds up nobody else. A step that fails or takes too long before it settled takes
the queries that need it back to what they had; the others go on. A newer decision, or the same
once more, starts from whatever serves now, settled or not.

The machine knows no clock, no network and no store: it takes events with the present time in
seconds and returns instructions, to be carried out in order.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from circinus.messages import Desired, DesiredBody, Reported, body_hash
from circinus_coordinator.fleet.routes import Dial, PlannedRoute, compose, devices_of

__all__ = ["Failed", "Instruction", "Moved", "Publish", "Rollout", "Settled", "Snapshot", "Stage"]

Target = Mapping[str, tuple[PlannedRoute, ...]]


class Stage(str, enum.Enum):
    """How far a query that changes has come."""

    PREPARE = "prepare"
    SWITCH = "switch"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Promise this document to its device, on disk first and then on the wire."""

    desired: Desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Queries reached a stage; None for settled."""

    queries: tuple[str, ...]
    stage: Stage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The decision serves, as a whole."""

    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The decision was taken back, as far as these queries go."""

    decision: str
    cause: str
    queries: tuple[str, ...]


Instruction = Publish | Moved | Settled | Failed


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """What must survive a restart, beside the documents themselves.

    Attributes:
        decision: The one being rolled out or serving.
        good: What each query had before, and goes back to.
        goal: What each query is to have.
        stages: Of the queries that have not settled.
        failed: Why the decision was taken back for a query.
        documents: The last one promised to each device.
    """

    decision: str | None = None
    good: dict[str, tuple[PlannedRoute, ...]] = field(default_factory=dict)
    goal: dict[str, tuple[PlannedRoute, ...]] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    documents: dict[str, Desired] = field(default_factory=dict)


class Rollout:
    """The state machine.

    Args:
        store: Identity of the store, for the documents.
        timeout_s: A stage that lasts longer has failed; time spent waiting for a device that
            is offline does not count.
        drain_s: Length of ``DRAIN``.
        snapshot: State of an earlier run.
    """

    def __init__(
        self,
        *,
        store: str,
        timeout_s: float,
        drain_s: float,
        snapshot: Snapshot | None = None,
        now: float = 0.0,
    ) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._drain_s = drain_s
        self._state = snapshot or Snapshot()
        self._since = dict.fromkeys(self._state.stages, now)
        self._reported: dict[str, Reported] = {}
        self._online: Mapping[str, str] = {}
        self._dial: Dial = _nobody

    # ---- what there is ----------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """To be kept with the documents; belongs to the machine."""
        return self._state

    @property
    def decision(self) -> str | None:
        """The decision being rolled out or serving."""
        return self._state.decision

    def stage(self, query: str) -> Stage | None:
        """How far a query has come; None if it does not change."""
        return self._state.stages.get(query)

    def failed(self, query: str) -> str | None:
        """Why the decision was taken back for a query; None if it was not."""
        return self._state.failed.get(query)

    @property
    def switching(self) -> bool:
        """Requests may be on their way on routes that are about to be removed."""
        return any(stage is not Stage.PREPARE for stage in self._state.stages.values())

    def serving(self) -> dict[str, tuple[PlannedRoute, ...]]:
        """The routes that take requests now, as far as the documents say."""
        state = self._state
        return {
            query: routes
            for query in sorted({*state.good, *state.goal})
            if (routes := (state.good if self._prepares(query) else state.goal).get(query))
        }

    def waiting_for(self, query: str) -> list[str]:
        """Devices that hold a query up, by id."""
        if query not in self._state.stages:
            return []
        return sorted(d for d in self._concerned(query) if not self._converged(d))

    def reported(self, device: str) -> Reported | None:
        """What a device last said."""
        return self._reported.get(device)

    def promised(self, device: str) -> DesiredBody:
        """What a device was last told to have and run."""
        document = self._state.documents.get(device)
        return document.body if document else DesiredBody()

    def version(self, device: str) -> int:
        """Version of a device's document; 0 before the first."""
        document = self._state.documents.get(device)
        return document.version if document else 0

    # ---- events -----------------------------------------------------------------------------

    def decide(self, decision: str, target: Target, now: float) -> list[Instruction]:
        """Bring `target` about, in place of whatever was wanted before."""
        state = self._state
        for query, stage in state.stages.items():
            if stage is not Stage.PREPARE:
                _assign(state.good, query, state.goal.get(query))
        state.decision = decision
        state.goal = dict(target)
        state.failed = {}
        state.stages = {
            query: Stage.PREPARE
            for query in sorted({*state.good, *state.goal})
            if state.good.get(query) != state.goal.get(query)
        }
        self._since = dict.fromkeys(state.stages, now)
        moved: list[Instruction] = []
        if state.stages:
            moved.append(Moved(queries=tuple(state.stages), stage=Stage.PREPARE))
        return [*moved, *self._advance(now, settled=not state.stages)]

    def on_reported(self, message: Reported, now: float) -> list[Instruction]:
        """A device tells how far it is."""
        self._reported[message.device] = message
        document = self._state.documents.get(message.device)
        if document is None or not self._present(message):
            return []
        if message.refused and message.version >= document.version:
            if message.hash == document.hash:
                return []
            # It has seen a later document than this store knows of (a store brought back from
            # a backup): say the same again under a version it takes.
            return [self._issue(message.device, document.body, version=message.version + 1)]
        cause = self._complaint(message, document)
        struck = self._struck(message) if cause else []
        if struck:
            return self._fail(struck, f"{message.device}: {cause}", now)
        return self._advance(now)

    def on_devices(self, online: Mapping[str, str], dial: Dial, now: float) -> list[Instruction]:
        """Devices came, went, or can be reached elsewhere.

        Args:
            online: Boot id of each device that is online.
            dial: Who dials whom, by the endpoints known now.
        """
        for query in self._state.stages:
            if self._held(query):  # the time it waited is no fault of a device
                self._since[query] = now
        self._online = dict(online)
        self._dial = dial
        return self._advance(now)

    def on_tick(self, now: float) -> list[Instruction]:
        """Time passed."""
        late: dict[str, list[str]] = {}
        for query, stage in self._state.stages.items():
            if self._held(query):
                self._since[query] = now
            elif stage is not Stage.DRAIN and now - self._since[query] >= self._timeout_s:
                names = ", ".join(self.waiting_for(query))
                if names:  # else it waits for one of the others, which will be late itself
                    late.setdefault(names, []).append(query)
        done: list[Instruction] = []
        for names, queries in late.items():
            done += self._fail(queries, f"{names}: not ready within {self._timeout_s:g} s", now)
        return done or self._advance(now)

    # ---- moving on --------------------------------------------------------------------------

    def _advance(self, now: float, *, settled: bool = False) -> list[Instruction]:
        """Publish what changed and move queries on, until nothing moves."""
        had_stages = bool(self._state.stages)
        done: list[Instruction] = list(self._publish())
        while moved := self._move(now):
            done += moved
            done += self._publish()
        decision = self._state.decision
        over = not self._state.stages and not self._state.failed
        if decision and over and (had_stages or settled):
            done.append(Settled(decision=decision))
        return done

    def _move(self, now: float) -> list[Instruction]:
        state = self._state
        ready = self._together(Stage.PREPARE)
        if ready:
            return [self._enter(ready, Stage.SWITCH, now)]
        switched = self._together(Stage.SWITCH)
        if switched:
            return [self._enter(switched, Stage.DRAIN, now)]
        drained = [
            query
            for query, stage in state.stages.items()
            if stage is Stage.DRAIN
            and (query not in state.good or now - self._since[query] >= self._drain_s)
        ]
        if not drained:
            return []
        for query in drained:
            del state.stages[query], self._since[query]
            _assign(state.good, query, state.goal.get(query))
        return [Moved(queries=tuple(drained), stage=None)]

    def _together(self, stage: Stage) -> list[str]:
        """The queries in a stage whose devices are there, if all those devices have converged."""
        group = [
            query
            for query, present in self._state.stages.items()
            if present is stage and not self._held(query)
        ]
        devices = {device for query in group for device in self._concerned(query)}
        return group if all(self._converged(device) for device in devices) else []

    def _enter(self, queries: list[str], stage: Stage, now: float) -> Moved:
        for query in queries:
            self._state.stages[query] = stage
            self._since[query] = now
        return Moved(queries=tuple(queries), stage=stage)

    def _fail(self, queries: Iterable[str], cause: str, now: float) -> list[Instruction]:
        state = self._state
        struck = tuple(query for query in queries if query in state.stages)
        if not struck:  # they moved on meanwhile
            return []
        for query in struck:
            _assign(state.goal, query, state.good.get(query))
            del state.stages[query], self._since[query]
            state.failed[query] = cause
        failed = Failed(decision=state.decision or "", cause=cause, queries=struck)
        return [failed, *self._advance(now)]

    def _struck(self, message: Reported) -> list[str]:
        """The changing queries that what went wrong on a device concerns.

        Those that bring an instance which the device says has failed; where it names none (a
        refused document, a file that cannot be had), all that it has a part in.
        """
        device = message.device
        broken = {key for key, found in message.instances.items() if found.state == "failed"}
        touching = [query for query in self._state.stages if device in self._concerned(query)]
        guilty = [
            query
            for query in touching
            if broken
            & {s.key for p in self._state.goal.get(query, ()) for s in p.instances.get(device, ())}
        ]
        return guilty if broken else touching

    # ---- what a stage looks at --------------------------------------------------------------

    def _prepares(self, query: str) -> bool:
        return self._state.stages.get(query) is Stage.PREPARE

    def _concerned(self, query: str) -> set[str]:
        """Devices whose word a query's stage waits for.

        To prepare, all that will serve it. To switch, those of them that are online and those
        that let it go: a device that is lost must not keep the old routes alive.
        """
        new = devices_of(self._state.goal.get(query, ()))
        if self._prepares(query):
            return new
        old = devices_of(self._state.good.get(query, ()))
        return {device for device in new | old if device in self._online}

    def _held(self, query: str) -> bool:
        return any(device not in self._online for device in self._concerned(query))

    def _converged(self, device: str) -> bool:
        document = self._state.documents.get(device)
        if document is None:
            return True
        message = self._reported.get(device)
        return (
            message is not None
            and self._present(message)
            and message.phase == "converged"
            and message.version == document.version
            and message.hash == document.hash
        )

    def _present(self, message: Reported) -> bool:
        """Said by the incarnation that is there now: an earlier one's instances are gone."""
        return self._online.get(message.device, message.boot_id) == message.boot_id

    @staticmethod
    def _complaint(message: Reported, document: Desired) -> str | None:
        if message.refused:
            return f"refused its document: {message.refused}"
        mine = message.version == document.version and message.hash == document.hash
        if mine and message.phase == "failed":
            return message.error or "failed"
        return None

    # ---- documents --------------------------------------------------------------------------

    def _wanted(self) -> Iterable[tuple[PlannedRoute, bool]]:
        state = self._state
        for query in sorted({*state.good, *state.goal}):
            good, goal = state.good.get(query, ()), state.goal.get(query, ())
            if query not in state.stages:
                yield from ((route, True) for route in goal)
                continue
            first, second = (good, goal) if self._prepares(query) else (goal, good)
            plans = {planned.route.plan for planned in first}
            yield from ((p, False) for p in second if p.route.plan not in plans)
            yield from ((planned, True) for planned in first)

    def _publish(self) -> list[Publish]:
        bodies = compose(self._wanted(), self._dial)
        issued = []
        for device in sorted({*bodies, *self._state.documents}):
            body = bodies.get(device, DesiredBody())
            known = self._state.documents.get(device)
            if known is None or known.body != body:
                issued.append(self._issue(device, body))
        return issued

    def _issue(self, device: str, body: DesiredBody, *, version: int | None = None) -> Publish:
        desired = Desired(
            device=device,
            store=self._store,
            version=version or self.version(device) + 1,
            hash=body_hash(body),
            body=body,
        )
        self._state.documents[device] = desired
        return Publish(desired=desired)


def _assign(
    table: dict[str, tuple[PlannedRoute, ...]],
    query: str,
    routes: tuple[PlannedRoute, ...] | None,
) -> None:
    if routes:
        table[query] = routes
    else:
        table.pop(query, None)


def _nobody(a: str, b: str) -> None:
    """Before the devices are known, nobody dials."""
