"""Whatever comes in whatever order, the newest document is what runs in the end."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings

from circinus.messages import (
    Artifact,
    Desired,
    DesiredBody,
    InstanceSpec,
    Peer,
    Route,
    RouteStep,
    body_hash,
)
from circinus_agent.reconciler import Reconciler
from circinus_agent.reconciler import events as e

KEYS = ("a", "b", "c")


@st.composite
def bodies(draw: st.DrawFn) -> DesiredBody:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True))
    routes = [
        Route(
            query="q",
            plan=f"p{i}",
            share=0.5,
            active=draw(st.booleans()),
            lead="d",
            sources={"s": "d"},
            steps=[RouteStep(name="s", device="d", instance=key)],
            rate_rps=1.0,
        )
        for i, key in enumerate(keys)
    ]
    return DesiredBody(
        instances=[
            InstanceSpec(key=key, run="m:" + key, replicas=draw(st.integers(1, 2))) for key in keys
        ],
        routes=routes,
        peers=[Peer(device=k) for k in draw(st.lists(st.sampled_from("xyz"), unique=True))],
        artifacts=[
            Artifact(sha256=h * 64, size_bytes=1, url="u")
            for h in draw(st.lists(st.sampled_from("01"), unique=True))
        ],
    )


class World:
    """Carries instructions out whenever hypothesis says so, and sometimes badly."""

    def __init__(self) -> None:
        self.now = 0.0
        self.disk = e.Stored()
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        self.boots += 1
        self.reconciler = Reconciler()
        self.owed: list[e.AnyEvent] = []  # one answer per instruction still under way
        self.running: set[str] = set()
        self.routes: tuple[Route, ...] = ()
        self.peers: tuple[Peer, ...] = ()
        self.tell(e.Booted(now=self.now, device="d", boot_id=str(self.boots), stored=self.disk))

    def tell(self, event: e.AnyEvent) -> None:
        for instruction in self.reconciler.handle(event):
            self.carry_out(instruction)
        self.check()

    def carry_out(self, instruction: e.Instruction) -> None:
        now = self.now
        if isinstance(instruction, e.Persist):
            self.disk = instruction.stored
            if instruction.awaits:
                awaits = instruction.awaits
                self.owed.append(e.Persisted(now=now, version=awaits.version, hash=awaits.hash))
        elif isinstance(instruction, e.FetchArtifact):
            self.owed.append(e.ArtifactFetched(now=now, sha256=instruction.artifact.sha256))
        elif isinstance(instruction, e.StartInstance):
            key = instruction.spec.key
            self.running.add(key)
            self.forget(key)
            self.owed.append(e.InstanceReady(now=now, key=key))
        elif isinstance(instruction, e.StopInstance):
            assert instruction.key in self.running
            self.forget(instruction.key)
            self.owed.append(e.InstanceStopped(now=now, key=instruction.key))
        elif isinstance(instruction, e.SetRoutes):
            self.routes = instruction.routes
            self.owed.append(e.RoutesDrained(now=now, epoch=instruction.epoch))
        elif isinstance(instruction, e.SetPeers):
            self.peers = instruction.peers

    def forget(self, key: str) -> None:
        self.owed = [o for o in self.owed if getattr(o, "key", None) != key]

    def answer(self, position: int, good: bool) -> None:
        if not self.owed:
            return
        event = self.owed.pop(position % len(self.owed))
        if not good:
            if isinstance(event, e.InstanceReady):
                self.running.discard(event.key)
                event = e.InstanceFailed(now=self.now, key=event.key, cause="x")
            elif isinstance(event, e.ArtifactFetched):
                event = e.ArtifactFailed(now=self.now, sha256=event.sha256, cause="x")
            elif isinstance(event, e.Persisted):
                if self.disk.desired and self.disk.desired.version == event.version:
                    model = self.reconciler.model
                    self.disk = e.Stored(desired=model.target, good=model.base)
                event = e.PersistFailed(
                    now=self.now, version=event.version, hash=event.hash, cause="x"
                )
        if isinstance(event, e.InstanceStopped):
            self.running.discard(event.key)
        self.tell(event)

    def settle(self) -> None:
        for _ in range(300):
            while self.owed:
                self.answer(0, good=True)
            self.now += 10.0
            self.tell(e.Tick(now=self.now))
            if not self.owed and self.now > 1000:
                return

    def check(self) -> None:
        model = self.reconciler.model
        needed = {step.instance for r in self.routes for step in r.steps}
        assert needed <= set(model.slots), "a route without its instance"
        assert len({r.plan for r in self.routes}) == len(self.routes)
        if model.target is not None:  # persist before apply
            assert self.disk.desired == (model.incoming or model.target)


steps = st.one_of(
    st.tuples(st.just("push"), bodies(), st.booleans()),
    st.tuples(st.just("answer"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("answer"), st.integers(0, 9), st.just(True)),
    st.tuples(st.just("tick"), st.floats(0.0, 100.0)),
    st.tuples(st.just("again")),
    st.tuples(st.just("reboot")),
    st.tuples(st.just("crash"), st.sampled_from(KEYS)),
    st.tuples(st.just("stray"), st.sampled_from(KEYS)),
)


@settings(max_examples=300, deadline=None)
@given(script=st.lists(steps, max_size=40), last=bodies())
def test_the_newest_document_is_what_runs_in_the_end(
    script: list[tuple[object, ...]], last: DesiredBody
) -> None:
    world, version, newest = World(), 0, None

    def push(body: DesiredBody) -> Desired:
        nonlocal version
        version += 1
        document = Desired(device="d", store="s", version=version, hash=body_hash(body), body=body)
        world.tell(e.DesiredReceived(now=world.now, desired=document))
        return document

    for kind, *arguments in script:
        if kind == "push":
            newest = push(arguments[0])  # type: ignore[arg-type]
        elif kind == "answer":
            world.answer(*arguments)  # type: ignore[arg-type]
        elif kind == "tick":
            world.now += arguments[0]  # type: ignore[operator]
            world.tell(e.Tick(now=world.now))
        elif kind == "again" and newest:
            world.tell(e.DesiredReceived(now=world.now, desired=newest))
        elif kind == "reboot":
            world.boot()
        elif kind == "crash":
            key = str(arguments[0])
            slot = world.reconciler.model.slots.get(key)
            if slot is not None and slot.state == "ready":
                world.running.discard(key)
                world.tell(e.InstanceFailed(now=world.now, key=key, cause="killed"))
        elif kind == "stray":
            world.tell(e.RoutesDrained(now=world.now, epoch=0))
            world.tell(e.ArtifactFetched(now=world.now, sha256=str(arguments[0]) * 64))
            world.tell(e.InstanceStopped(now=world.now, key="nobody"))
    push(last)
    world.settle()

    model = world.reconciler.model
    assert model.reported is not None
    assert (model.reported.phase, model.reported.version) == ("converged", version)
    assert world.running == {spec.key for spec in last.instances}
    assert list(world.routes) == last.routes
    assert {p.device for p in world.peers} == {p.device for p in last.peers}
    assert {k: s.spec for k, s in model.slots.items()} == {s.key: s for s in last.instances}
    assert world.disk == e.Stored(desired=model.target, good=model.target)
