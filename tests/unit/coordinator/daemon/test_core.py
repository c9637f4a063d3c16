"""The core joins the machines: messages in, records and messages out; no loop, no clock."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from circinus.errors import InvalidInput, NoData
from circinus.histogram import Histogram
from circinus.messages import (
    AnyCommand,
    Capabilities,
    CommandResult,
    Desired,
    InstanceReport,
    InstanceTelemetry,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
    ProbeSamples,
    Reported,
    RouteTelemetry,
    Status,
    Telemetry,
    decode,
)
from circinus.scenario import Scenario, decode_scenario, decode_submission
from circinus_coordinator.daemon import QueryState, Settings, show
from circinus_coordinator.daemon.core import Core
from circinus_coordinator.daemon.effects import Effects, Note
from circinus_coordinator.daemon.planner import compute
from circinus_coordinator.daemon.refreshing import AT_ONCE, EVERY_S
from circinus_coordinator.daemon.state import Restored, restore
from circinus_coordinator.profiling import AccuracyKey, ProfilingSettings
from circinus_coordinator.profiling.age import age_s
from circinus_coordinator.store import Store

FLEET = decode_scenario(b"""
circinus: 1
tiers: [device, cloud]
device_classes:
  pi: {cores: 4, memory_mb: 4096, price_usd_hour: 0.01}
  dc: {cores: 8, memory_mb: 16384, price_usd_hour: 0.2}
links: [{between: [device, cloud], rtt_ms: 40, bandwidth_mbps: 20}]
""")
SUBMISSION = decode_submission(b"""
circinus: 1
pipelines:
  p:
    operators:
      a: {run: "m:A", tiers: [device]}
      b: {run: "m:B", needs: [a], knobs: {side: [2, 1], chunk: [8, 4]}, neutral_knobs: [chunk]}
    input_bytes: 1000
    accuracy: {dataset: /data, metric: "m:score"}
queries: [{id: q, pipeline: p, source: pi1, rate_rps: 1, slo: {latency_ms: 500, accuracy: 0.5}}]
""")


EPOCH_S = 1.7e9


class Bench:
    """A core over a real store, with devices that do at once as they are told."""

    def __init__(
        self,
        folder: Path,
        restored: Restored | None = None,
        *,
        fleet: Scenario = FLEET,
        epoch_s: float = EPOCH_S,
        seek: bool = True,
    ) -> None:
        self.now = 100.0
        self.store = Store(folder)
        settings = Settings(
            store=folder, fleet=folder, settle_s=1, debounce_s=0, drain_s=0, grace_s=10,
            retry_cap_s=5, profiling=ProfilingSettings(seek=seek),
        )  # fmt: skip
        self.core = Core(
            settings, fleet=fleet, store_id=self.store.id, prefix="x",
            restored=restored or restore(self.store), now=self.now, epoch_s=epoch_s,
        )  # fmt: skip
        self.sent: list[Any] = []
        self.notes: list[Note] = []
        self.times = 1.0  # pi1 is so much slower than when it was first measured
        self.plans = 0
        self.take(self.core.resume(self.now))

    def take(self, effects: Effects) -> None:
        self.store.write(effects.records)
        self.notes += effects.notes
        for message in effects.messages:
            kind = Desired if message.topic.endswith("desired") else AnyCommand
            decoded = decode(message.payload, kind)
            self.sent.append(decoded)
            self.answer(message.topic.split("/")[3], decoded)

    def answer(self, device: str, message: Any) -> None:
        if isinstance(message, Desired):
            self.say(
                Reported(
                    device=device, boot_id=device, version=message.version, hash=message.hash,
                    phase="converged",
                )
            )  # fmt: skip
        elif isinstance(message, (ProbeOperators, ProbeAccuracy, ProbeLink)):
            times = self.times if device == "pi1" else 1.0
            for i in range(len(getattr(message, "targets", [None]))):
                self.say(
                    ProbeSamples(
                        device=device, request_id=message.request_id, seq=i, target=i, done=True,
                        latency_ms=[10.0 * times, 11.0 * times], compute_s=[0.01],
                        output_bytes=[500.0], scores=[1.0, 0.5], rtt_ms=[12.0],
                        bandwidth_mbps=[50.0],
                    )
                )  # fmt: skip
            self.say(CommandResult(device=device, request_id=message.request_id, ok=True))

    def say(self, message: Any) -> None:
        self.take(self.core.on_message(message, self.now))

    def connect(self, device: str, *, boot: str | None = None, **changes: Any) -> None:
        values: dict[str, Any] = {
            "device": device, "boot_id": boot or device, "device_class": device[:2],
            "tier": "device" if device.startswith("pi") else "cloud", "cores": 4, "memory_mb": 1,
            "architecture": "", "os": "", "python": "", "endpoint": f"ws://{device}",
        }  # fmt: skip
        self.say(Capabilities(**{**values, **changes}))
        self.say(Status(device=device, boot_id=boot or device, session=1, online=True))

    def lose(self, device: str) -> None:
        self.say(Status(device=device, boot_id=device, session=1, online=False))

    def run(self, seconds: float = 2.0) -> None:
        """Let time pass; every device that is there beats."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            for state in list(self.core.registry.devices.values()):
                if state.online:
                    self.say(Telemetry(device=state.id, boot_id=state.boot_id, seq=0, uptime_s=1))
            self.take(self.core.on_tick(self.now, connected=True))
            scenario = self.core.to_plan(self.now)
            if scenario is not None:
                self.plans += 1
                self.take(self.core.on_planned(scenario, compute(scenario, 0), self.now))

    def serve(self, messages: int) -> None:
        """What pi1 runs is served 20 times between two messages."""
        counted: dict[str, Histogram] = {}
        for seq in range(1, messages + 1):
            self.now += 2
            rows = []
            for spec in self.core.rollout.promised("pi1").instances:
                full = counted.setdefault(spec.key, Histogram())
                for _ in range(20):
                    full.add(10.5 * self.times)
                rows.append(InstanceTelemetry(key=spec.key, full=dict(full.counts)))
            self.say(
                Telemetry(
                    device="pi1", boot_id="pi1", seq=seq, uptime_s=1e3, instances=rows,
                    temperature_c=82.4, throttled=True, cpu_percent=97.0,
                )
            )  # fmt: skip

    def query(self) -> Any:
        (view,) = show.queries(self.core, self.now, 60)
        return view

    def kinds(self) -> list[type]:
        return [type(message) for message in self.sent]


@pytest.fixture
def bench(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Bench(tmp_path)
    made.connect("pi1")
    made.connect("dc1")
    yield made
    made.store.close()


@pytest.fixture
def serving(bench: Bench) -> Bench:
    bench.take(bench.core.submit(SUBMISSION, bench.now))
    bench.run()
    assert bench.query().state == "serving"
    return bench


def test_nothing_is_probed_before_retained_messages_had_time_to_come(bench: Bench) -> None:
    bench.take(bench.core.submit(SUBMISSION, bench.now))
    assert bench.sent == []
    bench.run()
    assert ProbeOperators in bench.kinds()


def test_a_query_whose_source_is_not_there_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.take(bench.core.submit(SUBMISSION, bench.now))
    bench.run()
    assert (bench.query().state, bench.query().reason) == ("waiting", "device pi1 is not there")
    bench.store.close()


def test_samples_carry_the_coordinators_time_and_the_device(serving: Bench) -> None:
    takes = [take for row in serving.core.profiler.results().values() for take in row.takes]
    assert all(EPOCH_S < take.time_s < EPOCH_S + serving.now for take in takes if take.time_s)
    assert {take.device for take in takes} == {"pi1", "dc1"}


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_clock_that_jumped_between_two_runs_has_nothing_measured_again(
    serving: Bench, tmp_path: Path, jump_s: float
) -> None:
    serving.store.close()
    again = Bench(tmp_path, epoch_s=EPOCH_S + jump_s)
    again.connect("pi1")
    again.connect("dc1")
    again.run()
    ages = [
        age_s(row.takes, again.core.epoch_s + again.now)
        for row in again.core.profiler.results().values()
    ]
    assert all(age is not None and age >= 0 for age in ages)
    again.store.close()
    assert not {ProbeOperators, ProbeAccuracy, ProbeLink}.intersection(again.kinds())


def test_what_is_too_old_is_measured_anew_a_few_at_a_time_while_it_serves(
    tmp_path: Path,
) -> None:
    """As after a long absence, or after the clock was set forward by a year."""
    for epoch_s in (EPOCH_S, EPOCH_S + 365 * 86400):
        again = Bench(tmp_path, epoch_s=epoch_s, seek=False)
        again.connect("pi1")
        again.connect("dc1")
        if epoch_s == EPOCH_S:
            again.take(again.core.submit(SUBMISSION, again.now))
            again.run()
            again.store.close()
    again.run()
    results = again.core.profiler.results
    old = [key for key in results() if not isinstance(key, AccuracyKey)]
    assert len(old) > AT_ONCE
    begun = again.now
    asked = 0
    while asked < len(old):
        again.sent.clear()
        again.run(EVERY_S)
        targets = {
            (m.boot_id, repr(target))
            for m in again.sent
            if isinstance(m, (ProbeOperators, ProbeLink))
            for target in getattr(m, "targets", ["link"])
        }
        assert 0 < len(targets) <= AT_ONCE
        asked += len(targets)
        assert again.query().state == "serving"
    assert ProbeAccuracy not in again.kinds()
    assert all(
        take.time_s is not None and take.time_s >= again.core.epoch_s + begun
        for key in old
        for take in results()[key].takes
    )
    again.store.close()


def test_rows_of_neutral_knobs_are_written_for_all_their_values(serving: Bench) -> None:
    assert serving.core.planned is not None
    scenario = serving.core.planned.scenario
    assert len(scenario.accuracy) == 4
    assert len({row.mean for row in scenario.accuracy}) == 1


def test_the_scenario_does_not_depend_on_the_order_of_events(tmp_path: Path) -> None:
    documents = []
    for i, order in enumerate((("pi1", "dc1"), ("dc1", "pi1"))):
        bench = Bench(tmp_path / str(i))
        for device in order:
            bench.connect(device)
        bench.take(bench.core.submit(SUBMISSION, bench.now))
        bench.run()
        assert bench.core.planned is not None
        documents.append(bench.core.planned.scenario_bytes)
        bench.store.close()
    assert documents[0] == documents[1]


def test_what_is_in_force_stays_while_planning_fails_and_it_is_tried_again(
    serving: Bench,
) -> None:
    core = serving.core
    in_force = core.in_force
    assert in_force is not None
    effects = core.on_unplanned("no memory", serving.now)
    assert [(note.text.rpartition(": ")[2], note.data) for note in effects.notes] == [
        ("no memory", {"warning": True})
    ]
    assert core.in_force is in_force
    assert core.planned is in_force
    core.withdraw("q", serving.now)
    core._replan._at = serving.now + 1
    assert core.to_plan(serving.now + 0.9) is None
    assert core.to_plan(serving.now + 1) is not None


def test_a_decision_that_cannot_be_rolled_out_takes_the_place_of_nothing(serving: Bench) -> None:
    planned = serving.core.planned
    assert planned is not None
    with pytest.raises(InvalidInput):
        serving.core.on_planned(planned.scenario_bytes, b"{}", serving.now)
    assert serving.core.planned is planned


def test_a_restart_finds_the_same_scenario_and_plans_nothing(
    serving: Bench, tmp_path: Path
) -> None:
    assert serving.core.planned is not None
    before = serving.core.planned.scenario_bytes
    serving.store.close()
    again = Bench(tmp_path)
    again.connect("pi1")
    again.connect("dc1")
    again.run(5)
    assert (again.plans, again.sent) == (0, [])
    assert again.core.planned is not None
    assert again.core.planned.scenario_bytes == before
    assert again.query().state == "serving"
    again.store.close()


def test_a_broker_is_told_all_promises_again(serving: Bench) -> None:
    effects = serving.core.on_connected()
    promised = {decode(m.payload, Desired).device for m in effects.messages}
    assert promised == set(serving.core.rollout.snapshot.documents)
    assert all(message.retain for message in effects.messages)


def test_commands_are_never_retained(bench: Bench) -> None:
    bench.run(1)
    effects = bench.core.submit(SUBMISSION, bench.now)
    assert effects.messages
    assert not any(message.retain for message in effects.messages)


def test_a_query_whose_device_left_is_not_shown_as_serving(serving: Bench) -> None:
    serving.lose("pi1")
    view = serving.query()
    assert (view.state, view.reason) == ("impaired", "device pi1 is not there")


def test_what_an_agent_says_of_a_source_is_the_reason_of_its_query(serving: Bench) -> None:
    trouble = {"q": "no inputs for a: /nowhere", "other": "results are lost"}
    beat = Telemetry(device="pi1", boot_id="pi1", seq=1, uptime_s=1, troubles=trouble)
    serving.say(beat)
    view = serving.query()
    assert (view.state, view.reason) == ("impaired", "pi1: no inputs for a: /nowhere")
    serving.say(msgspec.structs.replace(beat, seq=2, troubles={}))
    assert (serving.query().state, serving.query().reason) == ("serving", None)


def test_an_agent_that_is_not_the_present_one_of_its_id_is_not_counted(serving: Bench) -> None:
    (planned,) = serving.core.rollout.serving()["q"]
    for seq, boot in ((1, "pi1"), (2, "copy"), (3, "pi1")):
        done = RouteTelemetry(query="q", plan=planned.route.plan, completed=100 if seq == 2 else 5)
        beat = Telemetry(device="pi1", boot_id=boot, seq=seq, uptime_s=1, routes=[done])
        serving.say(beat)
    (row,) = show.measurements(serving.core, serving.now, 60)
    assert row.measured.completed == 5


def test_an_operator_that_is_down_is_the_reason_of_its_query(serving: Bench) -> None:
    assert serving.core.planned is not None
    (planned,) = serving.core.rollout.serving()["q"]
    step = planned.route.steps[0]
    document = serving.core.rollout.snapshot.documents[step.device]
    down = InstanceReport(state="failed", cause="killed by signal 9")
    serving.say(
        Reported(
            device=step.device, boot_id=step.device, version=document.version,
            hash=document.hash, phase="failed", instances={step.instance: down},
        )
    )  # fmt: skip
    text = f"{step.device}: {step.name} is down: killed by signal 9"
    assert (serving.query().state, serving.query().reason) == ("impaired", text)


def test_a_lost_device_stays_in_the_plans_for_the_grace_period(serving: Bench) -> None:
    plans = serving.plans
    serving.lose("dc1")
    serving.run(9)
    assert serving.plans == plans
    serving.run(2)
    assert serving.plans == plans + 1


def test_a_device_that_is_back_in_time_changes_nothing(serving: Bench) -> None:
    plans = serving.plans
    serving.lose("dc1")
    serving.run(5)
    serving.say(Status(device="dc1", boot_id="dc1", session=2, online=True))
    serving.run(20)
    assert serving.plans == plans


def test_an_agent_that_outlived_another_of_its_id_serves_on(serving: Bench) -> None:
    for session in (2, 3):
        serving.say(Status(device="pi1", boot_id="twin", session=session, online=True))
        serving.say(Status(device="pi1", boot_id="pi1", session=session, online=True))
    serving.say(Status(device="pi1", boot_id="twin", session=3, online=False))
    serving.run(61)
    assert serving.query().state is QueryState.SERVING


def test_two_agents_of_one_id_are_shown_at_the_device_and_in_the_log(bench: Bench) -> None:
    bench.connect("pi1")
    bench.connect("pi1", boot="twin")
    back = Status(device="pi1", boot_id="pi1", session=2, online=True)
    notes = bench.core.on_message(back, bench.now).notes
    warning = "another agent uses the id 'pi1': start one of them with another --device"
    assert [note.text for note in notes if note.data.get("warning")] == [warning]
    views = {view.id: view.warning for view in show.devices(bench.core, bench.now)}
    assert views["pi1"] == warning


def test_a_device_of_an_unknown_class_is_listed_and_not_planned(bench: Bench) -> None:
    bench.connect("xx1", device_class="toaster")
    view = next(v for v in show.devices(bench.core, bench.now) if v.id == "xx1")
    assert view.plannable == "device class 'toaster' is not in the fleet file"


def test_a_query_whose_tier_left_the_fleet_file_holds_up_nobody_else(tmp_path: Path) -> None:
    fleet = dataclasses.replace(FLEET, tiers=("device",), links=())
    pipeline = dataclasses.replace(
        SUBMISSION.pipelines["p"],
        name="lost",
        operators={
            name: dataclasses.replace(spec, tiers=("cloud",) if name == "b" else spec.tiers)
            for name, spec in SUBMISSION.pipelines["p"].operators.items()
        },
    )
    (query,) = SUBMISSION.queries
    restored = Restored(
        pipelines={**SUBMISSION.pipelines, "lost": pipeline},
        queries={"q": query, "lost": dataclasses.replace(query, id="lost", pipeline="lost")},
    )
    made = Bench(tmp_path, restored, fleet=fleet)
    made.connect("pi1")
    made.run()
    views = {view.id: view for view in show.queries(made.core, made.now, 60)}
    made.store.close()
    assert views["q"].state == "serving"
    assert views["lost"].reason == "tier cloud is not in the fleet file"


def test_a_query_submitted_again_replaces_the_one_before(serving: Bench) -> None:
    changed = decode_submission(
        b'{"circinus": 1, "pipelines": {"p": {"operators": {"a": {"run": "m:A"}}, "input_bytes": 9,'
        b'"accuracy": {"dataset": "/data", "metric": "m:score"}}}, "queries":'
        b'[{"id": "q", "pipeline": "p", "source": "pi1", "rate_rps": 7}]}'
    )
    serving.take(serving.core.submit(changed, serving.now))
    serving.run()
    assert serving.query().query["rate_rps"] == 7
    assert serving.query().state == "serving"
    assert list(serving.query().assignments[0].plan) == ["a"]


def test_a_pipeline_cannot_change_under_queries_it_no_longer_fits(serving: Bench) -> None:
    other = decode_submission(
        b'{"circinus": 1, "pipelines": {"p": {"operators": {"z": {}}, "input_bytes": 1}}}'
    )
    with pytest.raises(InvalidInput, match="no device for source operator 'z'"):
        serving.core.submit(other, serving.now)
    assert "a" in serving.core.pipelines["p"].operators


def test_a_withdrawn_query_is_unknown_afterwards(serving: Bench) -> None:
    serving.take(serving.core.withdraw("q", serving.now))
    with pytest.raises(NoData):
        serving.core.withdraw("q", serving.now)


def test_a_pipeline_goes_with_its_last_query_and_its_profiles_stay(serving: Bench) -> None:
    serving.take(serving.core.withdraw("q", serving.now))
    assert serving.store.pipelines() == []
    assert serving.store.profiles()


def test_profiles_that_still_hold_are_used_when_a_query_comes_back(serving: Bench) -> None:
    serving.take(serving.core.withdraw("q", serving.now))
    serving.run()
    probes = serving.kinds().count(ProbeOperators)
    serving.take(serving.core.submit(SUBMISSION, serving.now))
    serving.run()
    assert serving.query().state == "serving"
    assert serving.kinds().count(ProbeOperators) == probes


def test_a_failed_decision_is_tried_again_without_planning_again(bench: Bench) -> None:
    answer = bench.answer

    def refuse(device: str, message: Any) -> None:
        if isinstance(message, Desired) and message.body.routes:
            bench.say(
                Reported(
                    device=device, boot_id=device, version=message.version, hash=message.hash,
                    phase="failed", error="no such model",
                )
            )  # fmt: skip
        else:
            answer(device, message)

    bench.answer = refuse  # type: ignore[method-assign]
    bench.take(bench.core.submit(SUBMISSION, bench.now))
    bench.run(10)
    assert bench.plans == 1
    assert (bench.query().state, "no such model" in bench.query().reason) == ("failed", True)
    bench.answer = answer  # type: ignore[method-assign]
    bench.run(6)
    assert (bench.query().state, bench.plans) == ("serving", 1)


def test_another_address_of_the_api_is_told_to_the_devices_that_fetch(bench: Bench) -> None:
    sha256 = "ab" * 32
    bench.take(bench.core.set_api_url("http://one", bench.now))
    bench.take(bench.core.add_artifact(sha256, 5, bench.now))
    text = (
        b'{"circinus": 1, "pipelines": {"p": {"operators": {"a": {"run": "m:A"}}, "input_bytes": 9}'
        b'}, "queries": [{"id": "q", "pipeline": "p", "source": "pi1", "rate_rps": 7, "input":'
        b'{"kind": "folder", "path": "sha256:HASH"}}]}'
    ).replace(b"HASH", sha256.encode())
    bench.take(bench.core.submit(decode_submission(text), bench.now))
    bench.run()
    bench.take(bench.core.set_api_url("http://two", bench.now))
    bench.run()
    document = bench.core.rollout.snapshot.documents["pi1"]
    assert [file.url for file in document.body.artifacts] == [f"http://two/v1/artifacts/{sha256}"]


def test_drift_is_told_planned_for_measured_and_survives_a_restart(
    serving: Bench, tmp_path: Path
) -> None:
    serving.times = 4.0
    serving.serve(20)
    (note,) = [note for note in serving.notes if note.kind == "drift"]
    assert note.subject == "pi1"
    assert re.fullmatch(
        r"serves m:A 4\.0 times slower than its profile since \d\d:\d\d:\d\d UTC; "
        r"82 °C, throttled, 97 % of its cores busy",
        note.text,
    )
    assert note.data["factor"] == pytest.approx(4.0, rel=0.02)
    (view,) = [d for d in show.devices(serving.core, serving.now) if d.id == "pi1"]
    assert view.warning == "4.0 times slower than its class"
    serving.run(5)
    assert serving.core.planned is not None
    rows = {
        row.device_class: row.latency_ms.mean
        for row in serving.core.planned.scenario.profiles
        if row.operator == "a"
    }
    assert rows == {"pi": 10.5, "pi@pi1": 42.0}  # measured: the probe's numbers
    before = serving.core.planned.scenario_bytes
    serving.store.close()
    again = Bench(tmp_path)
    again.connect("pi1")
    again.connect("dc1")
    again.run(5)
    assert again.core.planned is not None
    assert (again.plans, again.core.planned.scenario_bytes) == (0, before)
    again.store.close()
