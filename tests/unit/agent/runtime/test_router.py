"""Several routers on one clock, joined by a transport that delivers at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from fakes import FakeInstance, FakeLoop

from circinus import codec
from circinus.messages import InstanceSpec, Route, RouteStep
from circinus_agent.dataplane.frames import Frame, Kind
from circinus_agent.runtime.outcome import Failure, Outcome, ResultEvent
from circinus_agent.runtime.plan import Plan
from circinus_agent.runtime.router import Router
from circinus_agent.runtime.stage import Stage
from circinus_agent.runtime.table import RouteTable
from circinus_agent.runtime.tokens import Lines

KEY = ("q", "p")


@dataclass
class Device:
    name: str
    fleet: Fleet
    feeds: dict[str, bytes] = field(default_factory=dict)
    events: list[ResultEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instances: dict[str, FakeInstance] = {}
        self.stages: dict[str, Stage] = {}
        self.table = RouteTable(self.name)
        self.router = Router(
            self.name,
            self.table,
            self.stages,
            self,
            self.fleet.loop,
            feed=lambda plan, source: self.feeds.get(source),
            on_result=lambda event, plan: self.events.append(event),
        )

    def run(self, key: str) -> FakeInstance:
        instance = self.instances[key] = FakeInstance(replicas=16)
        spec = InstanceSpec(key=key, run=key)
        self.stages[key] = Stage(spec, instance, Lines(16), self.fleet.loop)
        return instance

    def send(self, device: str, frame: Frame) -> bool:
        if {self.name, device} in self.fleet.cut:
            return False
        self.fleet.sent.append((self.name, device, frame))
        self.fleet.devices[device].router.on_frame(self.name, frame)
        return True

    def rtt_ms(self, device: str) -> float | None:
        return 20.0

    def transit_ms(self, device: str, size_bytes: int) -> float:
        return 10.0


@dataclass
class Fleet:
    loop: FakeLoop = field(default_factory=FakeLoop)
    devices: dict[str, Device] = field(default_factory=dict)
    sent: list[tuple[str, str, Frame]] = field(default_factory=list)
    cut: list[set[str]] = field(default_factory=list)
    ends: list[Outcome] = field(default_factory=list)

    def deploy(self, steps: dict[str, tuple[str, list[str]]], **route: object) -> Route:
        """Steps by name: (device, needs); an instance of the same name for each."""
        made = [
            RouteStep(name=n, device=d, instance=n, needs=needs) for n, (d, needs) in steps.items()
        ]
        fields = {"share": 1.0, "rate_rps": 1.0, "active": True, "lead": "a", "sources": {}}
        whole = Route(query="q", plan="p", steps=made, **{**fields, **route})  # type: ignore[arg-type]
        for name in Plan(whole).devices:
            self.devices.setdefault(name, Device(name, self))
        for name, (device, _) in steps.items():
            self.devices[device].run(name)
        for device in self.devices.values():
            device.table.set([whole], self.loop.now)
        return whole

    def start(self, inputs: dict[str, bytes], **more: object) -> None:
        lead = self.devices["a"]
        plan = lead.table.pick("q", refuse=True)
        assert plan is not None
        lead.router.start(plan, inputs, self.ends.append, **more)  # type: ignore[arg-type]

    def finish(self, step: str) -> None:
        for device in self.devices.values():
            if step in device.instances:
                device.instances[step].finish()

    def at_rest(self) -> bool:
        return not any(d.router.busy(KEY) for d in self.devices.values())


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


CHAIN = {"s0": ("a", []), "s1": ("b", ["s0"])}
DIAMOND = {
    "s": ("a", []),
    "l": ("b", ["s"]),
    "r": ("b", ["s"]),
    "j": ("b", ["l", "r"]),
}


def test_a_chain_over_two_devices(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    fleet.start({"s0": b"x"}, want=True)
    fleet.finish("s0")
    fleet.loop.advance(0.5)
    fleet.finish("s1")
    (end,) = fleet.ends
    assert (end.ok, end.payload) == (True, b"x")
    assert [s.step for s in end.trace.spans] == ["s0", "s1"]
    assert [(h.link, h.size_bytes) for h in end.trace.hops] == [("a>b", 1)]
    assert fleet.at_rest()


def test_the_return_trip_is_not_latency(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.loop.advance(0.5)
    fleet.finish("s1")
    assert fleet.ends[0].latency_ms == pytest.approx(490.0)


def test_delivery_at_the_source_counts_the_whole_way(fleet: Fleet) -> None:
    fleet.deploy(CHAIN, deliver_source=True)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.loop.advance(0.5)
    fleet.finish("s1")
    assert fleet.ends[0].latency_ms == pytest.approx(500.0)
    assert [e.payload for e in fleet.devices["a"].events] == [b"x"]
    assert not fleet.devices["b"].events


def test_a_result_nobody_wants_stays_where_it_is_delivered(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.finish("s1")
    assert fleet.ends[0].payload is None
    assert [e.payload for e in fleet.devices["b"].events] == [b"x"]


def test_a_fork_sends_one_copy_to_a_device_and_a_join_waits_for_all(fleet: Fleet) -> None:
    fleet.deploy(DIAMOND)
    fleet.start({"s": b"x"}, want=True)
    fleet.finish("s")
    assert [f.steps for _, _, f in fleet.sent] == [("l", "r")]
    fleet.finish("l")
    assert not fleet.devices["b"].instances["j"].batches
    fleet.finish("r")
    ((batch, _),) = fleet.devices["b"].instances["j"].batches
    assert batch == [{"l": b"x", "r": b"x"}]
    fleet.finish("j")
    assert [s.step for s in fleet.ends[0].trace.spans] == ["s", "l", "r", "j"]
    assert fleet.at_rest()


def test_an_output_that_a_join_does_not_take_is_dropped(fleet: Fleet) -> None:
    fleet.deploy(DIAMOND)
    b = fleet.devices["b"]
    for producer in ("l", "s"):
        frame = Frame(
            kind=Kind.WORK,
            query="q",
            plan="p",
            request=1,
            producer=producer,
            steps=("j",),
            budget_ms=1e3,
            remaining_ms=1e3,
        )
        b.router.on_frame("a", frame)
    assert b.router.dropped == {"frame of an unknown producer": 1}


def test_several_last_steps_make_one_result(fleet: Fleet) -> None:
    fleet.deploy({"s": ("a", []), "l": ("a", ["s"]), "r": ("b", ["s"])})
    fleet.start({"s": codec.dumps(1)}, want=True)
    fleet.finish("s")
    fleet.finish("r")
    assert not fleet.ends
    fleet.finish("l")
    assert fleet.ends[0].payload is not None
    assert codec.loads(fleet.ends[0].payload) == {"l": 1, "r": 1}


def test_another_source_is_pulled_from_its_device(fleet: Fleet) -> None:
    fleet.deploy(
        {"l": ("a", []), "r": ("b", []), "j": ("b", ["l", "r"])}, sources={"l": "a", "r": "b"}
    )
    fleet.devices["b"].feeds["r"] = b"theirs"
    fleet.start({"l": b"ours"}, want=True)
    for step in ("l", "r", "j"):
        fleet.finish(step)
    assert fleet.ends[0].payload == b"ours+theirs"


def test_a_source_may_be_processed_further_out(fleet: Fleet) -> None:
    fleet.deploy({"s": ("b", [])}, sources={"s": "a"})
    fleet.start({"s": b"x"}, want=True)
    fleet.finish("s")
    assert fleet.ends[0].payload == b"x"


def test_a_source_without_input_fails_the_request(fleet: Fleet) -> None:
    fleet.deploy({"l": ("a", []), "r": ("b", []), "j": ("b", ["l", "r"])}, sources={"r": "b"})
    fleet.start({"l": b"x"})
    assert fleet.ends[0].cause == "no input: for r at b"


def test_a_failure_elsewhere_reaches_the_lead_with_its_step(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.devices["b"].instances["s1"].die(Failure("killed", "SIGKILL"))
    assert fleet.ends[0].cause == "killed: s1: SIGKILL"
    counted = fleet.devices["a"].table.telemetry()[0]
    assert (counted.submitted, counted.failed) == (1, {"killed": 1})


def test_no_request_is_answered_twice(fleet: Fleet) -> None:
    fleet.deploy({"s": ("a", []), "l": ("a", ["s"]), "r": ("a", ["s"])})
    fleet.start({"s": b"x"})
    fleet.finish("s")
    fleet.devices["a"].instances["l"].die(Failure("killed"))
    fleet.finish("r")
    assert len(fleet.ends) == 1


def test_an_unreachable_device_fails_the_request_at_once(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    fleet.cut.append({"a", "b"})
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    assert fleet.ends[0].cause == "link: no connection to b"


def test_a_lost_connection_fails_what_is_under_way(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.devices["a"].router.on_disconnected("b")
    assert fleet.ends[0].cause == "link: lost the connection to b"


def test_a_lost_result_expires_after_deadline_and_grace(fleet: Fleet) -> None:
    fleet.deploy(CHAIN, deadline_ms=300.0)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.loop.advance(5.0)
    fleet.devices["a"].router.expire()
    assert not fleet.ends
    fleet.loop.advance(0.5)
    fleet.devices["a"].router.expire()
    assert fleet.ends[0].cause == "expired: no result came back"


def test_half_a_join_expires(fleet: Fleet) -> None:
    fleet.deploy(DIAMOND, deadline_ms=300.0)
    fleet.start({"s": b"x"})
    fleet.finish("s")
    fleet.finish("l")
    fleet.devices["b"].instances["r"].die(Failure("killed"))
    assert fleet.devices["b"].router.busy(KEY)
    fleet.loop.advance(6.0)
    fleet.devices["b"].router.expire()
    assert not fleet.devices["b"].router.busy(KEY)


def test_a_late_result_is_counted_and_ignored(fleet: Fleet) -> None:
    fleet.deploy(CHAIN, deadline_ms=300.0)
    fleet.start({"s0": b"x"})
    fleet.finish("s0")
    fleet.loop.advance(6.0)
    fleet.devices["a"].router.expire()
    fleet.finish("s1")
    assert len(fleet.ends) == 1
    assert fleet.devices["a"].router.dropped["late result"] == 1


def test_what_is_left_of_the_deadline_travels_along(fleet: Fleet) -> None:
    fleet.deploy(CHAIN, deadline_ms=300.0)
    fleet.start({"s0": b"x"})
    fleet.loop.advance(0.1)
    fleet.finish("s0")
    (_, _, frame) = fleet.sent[0]
    assert frame.remaining_ms == pytest.approx(200.0)
    fleet.finish("s1")
    assert fleet.devices["b"].events[0].elapsed_ms == pytest.approx(110.0)  # with the transit


@pytest.mark.parametrize(
    ("sender", "change"),
    [
        ("b", {"plan": "unknown"}),
        ("stranger", {}),
        ("b", {"steps": ("s1",)}),  # runs on b
        ("b", {"steps": ("nowhere",)}),
        ("b", {"kind": Kind.PULL, "steps": ("s1",)}),
    ],
)
def test_frames_that_do_not_fit_the_route_are_dropped(
    fleet: Fleet, sender: str, change: dict[str, object]
) -> None:
    fleet.deploy(CHAIN)
    usual = {"kind": Kind.WORK, "query": "q", "plan": "p", "steps": ("s0",)}
    fleet.devices["a"].router.on_frame(sender, Frame(**{**usual, **change}))  # type: ignore[arg-type]
    assert fleet.devices["a"].router.dropped.total() == 1
    assert fleet.at_rest()


def drained(device: Device) -> Callable[[], bool]:
    def ask() -> bool:
        plans = device.table.removed("p")
        now = device.fleet.loop.now
        return all(device.table.quiet(p, now) and not device.router.busy(p.key) for p in plans)

    return ask


def test_requests_of_a_removed_route_finish(fleet: Fleet) -> None:
    fleet.deploy(CHAIN, deadline_ms=300.0)
    fleet.start({"s0": b"x"})
    lead, other = fleet.devices["a"], fleet.devices["b"]
    for device in (lead, other):
        device.table.set([], fleet.loop.now)
    assert not drained(lead)()
    assert not drained(other)()
    fleet.finish("s0")
    fleet.finish("s1")
    assert fleet.ends[0].ok
    assert drained(lead)()
    fleet.loop.advance(0.31)
    assert drained(other)()


def test_a_route_that_was_inactive_for_long_drains_at_once(fleet: Fleet) -> None:
    route = fleet.deploy(CHAIN, deadline_ms=300.0)
    other = fleet.devices["b"]
    inactive = Route(**{f: getattr(route, f) for f in route.__struct_fields__} | {"active": False})
    other.table.set([inactive], fleet.loop.now)
    fleet.loop.advance(1.0)
    other.table.set([], fleet.loop.now)
    assert drained(other)()


def test_an_inactive_route_gets_no_new_requests(fleet: Fleet) -> None:
    fleet.deploy(CHAIN, active=False)
    assert fleet.devices["a"].table.pick("q", refuse=True) is None


def test_only_the_lead_starts_requests(fleet: Fleet) -> None:
    fleet.deploy(CHAIN)
    assert fleet.devices["b"].table.pick("q", refuse=True) is None
    assert fleet.devices["b"].table.lead_of("q") == "a"


def test_counters_outlive_their_route(fleet: Fleet) -> None:
    fleet.deploy({"s": ("a", [])}, deadline_ms=5.0)
    fleet.start({"s": b"x"})
    fleet.loop.advance(0.02)
    fleet.finish("s")
    table = fleet.devices["a"].table
    table.set([], fleet.loop.now)
    (counted,) = table.telemetry()
    assert (counted.completed, counted.within_latency) == (1, 0)


def test_counters_of_a_route_that_is_gone_for_long_are_dropped(fleet: Fleet) -> None:
    fleet.deploy({"s": ("a", [])})
    fleet.start({"s": b"x"})
    fleet.finish("s")
    table = fleet.devices["a"].table
    table.forget(0.0)
    table.set([], 0.0)
    for now, told in ((0.0, 1), (599.0, 1), (600.0, 0)):
        table.forget(now)
        assert len(table.telemetry()) == told


def test_nothing_is_kept_of_a_plan_that_has_no_work_here(fleet: Fleet) -> None:
    fleet.deploy({"s": ("a", [])})
    fleet.start({"s": b"x"})
    router = fleet.devices["a"].router
    assert router.busy(KEY)
    fleet.finish("s")
    assert not router._working
