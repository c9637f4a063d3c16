"""Devices that are not like their class: what follows for probes, rows and restarts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from circinus.fleet import Device, DeviceClass
from circinus.histogram import Histogram
from circinus.messages import DesiredBody, InstanceSpec, ProbeOperators, Route, instance_key
from circinus.pipeline import Config
from circinus.profile import Provenance
from circinus.scenario import Scenario, decode_scenario, encode_scenario
from circinus_coordinator.daemon import assemble
from circinus_coordinator.daemon.deviations import Deviations
from circinus_coordinator.fleet import Served
from circinus_coordinator.profiling import Change, DriftSettings, Needs, OperatorKey, Send
from circinus_coordinator.profiling.age import age_s

sys.path.insert(0, str(Path(__file__).parent.parent / "profiling"))
from probing import PIPELINE, Bench, query, wanted

SETTINGS = DriftSettings(least_ms=0.0, again_s=60.0, calibration_samples=2)
BODY = DesiredBody(
    instances=[InstanceSpec(key=instance_key("m:A", {}, 1), run="m:A")],
    routes=[
        Route(
            query="q", plan="x", share=1, active=True, lead="pi1", sources={"a": "pi1"}, steps=[],
            rate_rps=1,
        )
    ],
)  # fmt: skip
IDLE = DesiredBody()


class World:
    """Two devices of one class and a larger one; `a` and `b` took 10 ms when measured on pi1."""

    def __init__(self) -> None:
        self.bench = Bench("pi1 dc")
        self.bench.profiler._epoch_s = 1e9
        self.fleet = wanted(devices="pi1 dc")
        self.bench.want(self.fleet)
        self.answer(10.0)
        self.bodies = {"pi1": BODY, "pi2": IDLE, "dc": IDLE}
        self.deviations = self.make()

    def make(self, kept: bytes | None = None) -> Deviations:
        return Deviations(SETTINGS, self.bench.profiler, kept, samples=4, now=self.now, epoch_s=1e9)

    @property
    def now(self) -> float:
        return self.bench.now

    def answer(self, ms: float) -> list[Send]:
        """All probes that were asked for; answers which of them were of operators."""
        asked, self.bench.sent = self.bench.sent, []
        probes = [order for order in asked if isinstance(order.command, ProbeOperators)]
        for order in probes:
            assert isinstance(order.command, ProbeOperators)
            for i in range(len(order.command.targets)):
                times = [ms] * order.command.max_samples
                self.bench.samples(order, i, latency_ms=times, compute_s=[ms / 1e3], done=True)
            self.bench.result(order)
        return probes

    def want(self) -> Needs:
        """As the core does when something has changed."""
        present = {name: name[:2] for name in self.bench.devices}
        needs = self.deviations.wanted(self.fleet, present, self.bodies)
        self.bench.want(needs)
        return needs

    def serve(self, ms: float, *, device: str = "pi1", seconds: float = 60.0) -> Change | None:
        """The first change within `seconds`."""
        until = self.now + seconds
        while self.now < until:
            self.bench.now += 2.0
            full = Histogram()
            for _ in range(20):
                full.add(ms)
            served = [Served(instance=BODY.instances[0].key, full=full, seconds=2.0)]
            change = self.deviations.served(device, "pi", served, BODY, self.now)
            if change is not None:
                self.want()
                return change
        return None

    def told(self, ms: float) -> list[Change]:
        """Answer probes, and tell of what came of it."""
        before = len(self.bench.kept)
        self.answer(ms)
        changes = []
        for order in self.bench.kept[before:]:
            change = self.deviations.kept(order.key, self.now)
            if change is not None:
                changes.append(change)
        self.want()
        return changes

    def scenario(self) -> Scenario:
        classes = {n: DeviceClass(name=n, cores=4.0, memory_mb=1000.0) for n in ("pi", "dc")}
        tiers = {"pi1": "device", "pi2": "device", "dc": "cloud"}
        return assemble.build_scenario(
            fleet=Scenario(device_classes=classes),
            devices=[Device(id=d, device_class=d[:2], tier=t) for d, t in sorted(tiers.items())],
            pipelines={"p": PIPELINE},
            queries=[query()],
            needed=self.fleet.by_query,
            measured=self.bench.profiler.results(),
            apart=self.deviations.apart,
        )

    def rows(self) -> dict[tuple[str, str], tuple[float, Provenance]]:
        """By operator and class."""
        return {
            (row.operator, row.device_class): (row.latency_ms.mean, row.provenance)
            for row in self.scenario().profiles
        }


@pytest.fixture
def world() -> World:
    return World()


def test_as_long_as_all_is_well_nothing_more_is_asked_for(world: World) -> None:
    assert world.serve(10.0, seconds=600) is None
    assert world.want().extra == {}
    assert set(world.scenario().device_classes) == {"pi", "dc"}


def test_what_is_served_as_expected_keeps_the_samples_young(world: World) -> None:
    assert world.serve(10.0, seconds=600) is None
    ((key, summary),) = world.deviations.confirmed("pi1", "pi", BODY, world.now)
    assert (key.operator, key.device_class) == ("a", "pi")
    assert age_s(summary.takes, 1e9 + world.now) == 0
    assert {take.agreed for take in summary.takes} == {300 * 8}  # four a second count
    assert len(summary.latency_ms) == 8  # as measured: it makes nothing more certain
    assert world.deviations.confirmed("pi1", "pi", BODY, world.now) == []
    assert world.serve(30.0) is not None
    assert world.deviations.confirmed("pi1", "pi", BODY, world.now) == []


def test_a_drifted_device_is_a_class_of_its_own_with_scaled_rows_at_once(world: World) -> None:
    change = world.serve(30.0)
    assert change is not None
    assert change.factor is not None
    times = change.factor.value
    assert times == pytest.approx(3.0, rel=0.02)
    scenario = world.scenario()
    assert scenario.device["pi1"].device_class == "pi@pi1"
    assert scenario.device["pi2"].device_class == "pi"
    assert scenario.device_classes["pi@pi1"].cores == scenario.device_classes["pi"].cores
    rows = world.rows()
    assert rows["a", "pi"] == (10.0, Provenance.MEASURED)
    for operator in "ab":
        assert rows[operator, "pi@pi1"] == (times * 10.0, Provenance.INTERPOLATED)


def test_what_it_ran_is_measured_there_and_nothing_else(world: World) -> None:
    world.serve(30.0)
    (probe,) = world.bench.sent
    assert probe.device == "pi1"
    assert isinstance(probe.command, ProbeOperators)
    assert [target.operator for target in probe.command.targets] == ["a"]
    assert world.told(31.0) == []  # as had been noticed
    rows = world.rows()
    assert rows["a", "pi@pi1"] == (31.0, Provenance.MEASURED)
    assert rows["b", "pi@pi1"][1] is Provenance.INTERPOLATED


def test_a_query_never_waits_for_it(world: World) -> None:
    missing = world.bench.profiler.missing("q")
    world.serve(30.0)
    assert world.bench.profiler.missing("q") == missing


def test_a_probe_that_finds_it_well_takes_it_back(world: World) -> None:
    world.serve(30.0)
    (change,) = world.told(10.0)
    assert change.factor is None
    assert world.scenario().device["pi1"].device_class == "pi"
    assert world.rows().keys() & {("a", "pi@pi1")} == set()


def test_what_it_serves_takes_it_back(world: World) -> None:
    world.serve(30.0)
    world.told(30.0)
    change = world.serve(10.0)
    assert change is not None
    assert change.factor is None
    assert world.deviations.apart == {}


def test_one_that_serves_nothing_is_probed_now_and_then_and_its_rows_hold_meanwhile(
    world: World,
) -> None:
    world.serve(30.0)
    world.told(30.0)
    began = world.now
    waits = []
    for _ in range(3):
        while not (keys := world.deviations.due(world.now)):
            world.bench.now += 1.0
        waits.append(world.now - began)
        began = world.now
        world.bench.take(world.bench.profiler.stale(keys, world.now))
        assert world.rows()["a", "pi@pi1"][1] is Provenance.MEASURED
        assert world.told(30.0) == []
    assert waits == pytest.approx([60, 120, 240], abs=1)
    while not (keys := world.deviations.due(world.now)):
        world.bench.now += 1.0
    world.bench.take(world.bench.profiler.stale(keys, world.now))
    (change,) = world.told(10.0)
    assert change.factor is None


def test_samples_of_an_earlier_drift_are_not_those_of_the_next(world: World) -> None:
    world.serve(30.0)
    world.told(30.0)
    world.serve(10.0)
    world.bench.sent.clear()
    assert world.serve(50.0, seconds=120) is not None
    assert world.rows()["a", "pi@pi1"] == (pytest.approx(50, rel=0.02), Provenance.INTERPOLATED)


def ask_for_b_too(world: World) -> None:
    """A config of the class that nobody has measured yet, and only the drifted device can."""
    keys = [k for k in world.fleet.keys if isinstance(k, OperatorKey) and k.device_class == "pi"]
    for key in keys:
        if key.operator == "b":
            world.bench.profiler._ledger.forget(key)
    world.bench.profiler._agenda.restart(keys)
    world.bench.now += 1.0
    world.want()


def test_what_it_measures_for_its_class_meanwhile_needs_no_factor(world: World) -> None:
    world.serve(30.0)
    world.told(30.0)
    ask_for_b_too(world)
    world.told(33.0)
    assert world.rows()["b", "pi@pi1"] == (33.0, Provenance.MEASURED)


def test_what_it_measured_for_its_class_meanwhile_is_measured_again_once_it_is_well(
    world: World,
) -> None:
    world.serve(30.0)
    world.told(30.0)
    ask_for_b_too(world)
    world.told(33.0)
    assert world.deviations.due(world.now) == []
    assert world.serve(10.0) is not None
    spoilt = world.deviations.due(world.now)
    assert {key.operator for key in spoilt} == {"b"}
    world.bench.take(world.bench.profiler.stale(spoilt, world.now))
    world.told(11.0)
    assert world.rows()["b", "pi"] == (11.0, Provenance.MEASURED)
    assert world.rows()["a", "pi"] == (10.0, Provenance.MEASURED)
    assert world.deviations.due(world.now) == []


def test_a_restart_knows_who_is_apart_and_which_samples_are_of_that_time(world: World) -> None:
    world.serve(30.0)
    world.told(30.0)
    before = encode_scenario(world.scenario())
    record = world.deviations.record()
    world.deviations = world.make(record.value)
    assert encode_scenario(world.scenario()) == before
    # Had the samples been taken before it parted, they would not hold.
    world.bench.profiler._epoch_s -= 1e6
    world.bench.profiler.forget("pi@pi1")
    world.want()
    world.answer(20.0)
    assert world.rows()["a", "pi@pi1"] == (20.0, Provenance.MEASURED)
    world.deviations = world.make(record.value)
    assert world.rows()["a", "pi@pi1"][1] is Provenance.INTERPOLATED


def test_an_export_has_the_scaled_rows_to_the_last_bit(world: World) -> None:
    world.serve(30.0)
    scenario = world.scenario()
    exported = decode_scenario(encode_scenario(scenario))
    assert exported.profiles == scenario.profiles
    assert exported.devices == scenario.devices


def join(world: World, **changes: Any) -> Needs:
    from probing import device

    world.bench.devices = {**world.bench.devices, "pi2": device("pi2", **changes)}
    world.bench.online()
    world.bench.sent.clear()
    return world.want()


def test_one_more_device_of_a_class_is_compared_with_it_by_few_samples(world: World) -> None:
    needs = join(world)
    assert {key.device_class for key in needs.extra} == {"pi@pi2"}
    assert {key.operator for key in needs.extra} == {"a", "b"}
    assert set(needs.extra.values()) == {2}
    (probe,) = world.bench.sent
    assert probe.device == "pi2"
    assert isinstance(probe.command, ProbeOperators)
    assert probe.command.max_samples == 2
    assert world.told(11.0) == []
    assert world.deviations.apart == {}
    assert world.bench.sent == []  # once is enough
    world.deviations = world.make(world.deviations.record().value)
    assert world.want().extra == {}  # for other runs as well


def test_one_that_is_unlike_its_class_is_measured_by_itself(world: World) -> None:
    join(world)
    (change,) = world.told(25.0)
    assert change.device == "pi2"
    assert change.factor is not None
    assert change.factor.value == pytest.approx(2.5, rel=0.01)
    (probe,) = world.bench.sent
    assert isinstance(probe.command, ProbeOperators)
    assert probe.command.max_samples == 4  # enough for a row
    assert world.told(25.0) == []
    assert world.rows()["a", "pi@pi2"] == (25.0, Provenance.MEASURED)
    assert world.rows()["a", "pi"] == (10.0, Provenance.MEASURED)


def test_no_device_is_compared_before_anything_is_served(world: World) -> None:
    world.bodies = dict.fromkeys(world.bodies, IDLE)
    assert join(world).extra == {}


def test_one_that_serves_is_compared_by_what_it_serves(world: World) -> None:
    world.bodies["pi2"] = BODY
    assert join(world).extra == {}
    change = world.serve(30.0, device="pi2")
    assert change is not None
    assert (change.device, set(world.deviations.apart)) == ("pi2", {"pi2"})


def test_instances_nobody_measured_are_left_out(world: World) -> None:
    body = DesiredBody(instances=[InstanceSpec(key="z", run="m:Z")])
    full = Histogram()
    full.add(1e6)
    served = [Served(instance="z", full=full, seconds=2.0)]
    for _ in range(100):
        assert world.deviations.served("pi1", "pi", served, body, 0.0) is None


def test_a_device_of_another_class_now_begins_anew(world: World) -> None:
    world.serve(30.0)
    world.deviations.served("pi1", "other", [], BODY, world.now)
    assert world.deviations.apart == {}


def test_batches_and_configs_are_told_apart() -> None:
    a = InstanceSpec(key="k", run="m:B", config={"side": 2, "chunk": 8}, batch=1)
    b = InstanceSpec(key="l", run="m:B", config={"side": 1, "chunk": 8}, batch=2)
    world = World()
    body = DesiredBody(instances=[a, b])
    found = world.deviations._running(world.fleet, "pi", body)
    assert set(found) == {"k"}
    assert found["k"] == [
        key
        for key in world.fleet.keys
        if isinstance(key, OperatorKey)
        and (key.device_class, key.config) == ("pi", Config({"side": 2, "chunk": 8}))
    ]
