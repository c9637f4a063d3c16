"""The coordinator with a real broker, a real store and scripted agents."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from circinus.errors import InvalidInput, NoData
from circinus.messages import (
    CancelProbe,
    Desired,
    InstanceTelemetry,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
    RouteTelemetry,
)
from circinus.profile import Provenance
from circinus.scenario import decode_scenario, encode_scenario
from circinus_coordinator import planning
from circinus_coordinator.daemon import Coordinator, DeviceView, ProfileFilter, QueryState

sys.path.insert(0, str(Path(__file__).parent))
from coordinator_bench import ScriptedAgent, bench, submission, until

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.asyncio]


def state(coordinator: Coordinator, query: str) -> QueryState:
    return next(view.state for view in coordinator.queries() if view.id == query)


async def serving(coordinator: Coordinator, query: str = "gate") -> None:
    await until(lambda: state(coordinator, query) is QueryState.SERVING, f"{query} serves")


async def settled(coordinator: Coordinator) -> None:
    def there() -> list[DeviceView]:
        return [d for d in coordinator.devices() if d.desired_version]

    await until(
        lambda: (
            measured(coordinator)
            and looked(coordinator)
            and coordinator.plans()
            and all(p.phase == "serving" for p in coordinator.plans())
            and all(d.reported and d.reported.version == d.desired_version for d in there())
        ),
        "nothing more is measured, planned or rolled out",
    )


def measured(coordinator: Coordinator) -> bool:
    now = coordinator.progress()
    return now.done == now.total and all(row.running is None for row in now.devices)


def looked(coordinator: Coordinator) -> bool:
    """All changes so far were looked at, and planned if they had to be."""
    core, loop = coordinator._core, coordinator._loop
    assert core is not None
    assert loop is not None
    return core._dirty_since is None and loop._planning is None


async def online(coordinator: Coordinator, number: int = 2) -> None:
    await until(
        lambda: sum(d.online and d.plannable is None for d in coordinator.devices()) == number,
        f"{number} devices are there",
    )


def actives(document: Desired) -> dict[str, bool]:
    return {route.query: route.active for route in document.body.routes}


async def test_from_submission_over_probes_and_plan_to_serving(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, box = await made.fleet_of_two()
        await online(coordinator)
        assert await coordinator.submit(submission()) == ["gate", "yard"]
        await serving(coordinator)
        kinds = {type(c) for c in (*pi.probes, *box.probes)}
        assert kinds - {CancelProbe} == {ProbeOperators, ProbeLink, ProbeAccuracy}
        assert actives(pi.desired[-1]) == {"gate": True}


async def test_routes_are_prepared_before_they_are_switched_on(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, _ = await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        assert [actives(d)["gate"] for d in pi.desired] == [False, True]


async def test_a_query_no_plan_can_serve_is_rejected_with_its_binding_constraint(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await until(lambda: state(coordinator, "yard") is QueryState.REJECTED, "it is rejected")
        view = next(v for v in coordinator.queries() if v.id == "yard")
        assert view.binding == "latency"
        assert (await coordinator.explain("yard")).binding == "latency"


async def test_explaining_a_query_that_waits_says_what_for(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        await coordinator.submit(submission())
        with pytest.raises(
            NoData, match="'gate' has not been planned yet: waiting: device pi-1 is"
        ):
            await coordinator.explain("gate")


async def test_explaining_a_query_says_what_goes_wrong_with_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, _ = await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        pi.telemetry(troubles={"gate": "results are lost: disk full"})
        await until(lambda: state(coordinator, "gate") is QueryState.IMPAIRED, "it is told")
        reason = (await coordinator.explain("gate")).reason
        assert reason.startswith("pi-1: results are lost: disk full. As planned: served in full")


async def test_measured_links_correct_the_assumed_ones(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        scenario = coordinator.scenario()
        assert scenario is not None
        link = scenario.network.between("pi-1", "box-1")
        assert link is not None
        assert (link.rtt_ms, link.bandwidth_mbps, link.price_usd_gb) == (11.0, 90.0, 0.05)


async def test_planning_the_export_gives_the_same_decision(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        scenario, decision = coordinator.scenario(), coordinator.decision()
        assert scenario is not None
        assert decision is not None
        exported = encode_scenario(scenario)
        assert exported == coordinator.scenario_document()
        again = planning.plan(decode_scenario(exported, name="s.json"))
        assert (again.assignments, again.rejected) == (decision.assignments, decision.rejected)


async def test_a_preparation_that_fails_is_taken_back_everywhere(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, box = await made.fleet_of_two()
        box.fail = lambda d: "no such model" if d.body.routes else None
        pi.fail = lambda d: "no such model" if d.body.routes else None
        await online(coordinator)
        await coordinator.submit(submission())
        await until(lambda: state(coordinator, "gate") is QueryState.FAILED, "it fails")
        view = next(v for v in coordinator.queries() if v.id == "gate")
        assert "no such model" in (view.reason or "")
        await until(
            lambda: bool(pi.desired) and pi.desired[-1].body.routes == [],
            "the old document is back",
        )


async def test_a_restart_resumes_without_probes_plans_or_documents(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        async with made.coordinator() as coordinator:
            pi, box = await made.fleet_of_two()
            await online(coordinator)
            await coordinator.submit(submission())
            await serving(coordinator)
            await settled(coordinator)
            before = coordinator.scenario_document()
            events = [event.kind for event in await coordinator.events()]
        probes, versions = len(pi.probes) + len(box.probes), pi.desired[-1].version
        seen = len(pi.desired)
        async with made.coordinator(grace_s=10.0) as coordinator:
            await online(coordinator)
            assert state(coordinator, "gate") is QueryState.SERVING
            await until(lambda: len(pi.desired) > seen, "the document is said again")
            await until(lambda: looked(coordinator), "what there is was held against the last plan")
            assert len(pi.probes) + len(box.probes) == probes
            assert {d.version for d in pi.desired[seen:]} == {versions}
            assert coordinator.scenario_document() == before
            kinds = [event.kind for event in await coordinator.events()]
        assert kinds.count("decision") == events.count("decision")


async def test_profiles_tell_of_the_same_samples_as_the_export_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as made:
        async with made.coordinator() as coordinator:
            await made.fleet_of_two()
            await online(coordinator)
            await coordinator.submit(submission())
            await serving(coordinator)
            await settled(coordinator)
            before, scenario = await coordinator.profiles(), coordinator.scenario()
        async with made.coordinator() as coordinator:
            after = await coordinator.profiles(ProfileFilter(pipeline="signs"))
    assert scenario is not None
    shown = {
        (row.operator, row.device_class, str(row.config)): (row.samples, row.mean_ms)
        for row in before.operators
    }
    for profile in scenario.profiles:
        key = (profile.operator, profile.device_class, str(dict(profile.config)))
        assert shown[key] == (profile.samples, profile.latency_ms.mean)
        assert profile.provenance is Provenance.MEASURED
    # The same but for their age; what was assumed comes with the first plan.
    for first, second in zip(before.operators, after.operators, strict=True):
        assert first.age_s is not None
        assert second.age_s is not None
        assert 0 <= first.age_s <= second.age_s
        assert first == dataclasses.replace(second, age_s=first.age_s)
        assert first.devices in (["pi-1"], ["box-1"])


async def test_a_restart_in_the_middle_of_a_rollout_goes_on_with_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        async with made.coordinator() as coordinator:
            pi, box = await made.fleet_of_two()
            pi.silent = box.silent = True
            await online(coordinator)
            await coordinator.submit(submission())
            await until(lambda: pi.desired, "a document arrives")
        pi.silent = box.silent = False
        async with made.coordinator() as coordinator:
            await serving(coordinator)
            assert actives(pi.desired[-1]) == {"gate": True}


async def test_malformed_messages_are_counted_and_ignored(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi = await made.agent("pi-1")
        await online(coordinator, 1)
        for payload in (b"{", b"\xff", b'{"type":"reported"}', b"null"):
            pi.link.publish_soon(pi.topics.telemetry, payload)
        await until(lambda: coordinator.malformed() == {("pi-1", "telemetry"): 4}, "4 are counted")
        pi.telemetry()
        await until(lambda: coordinator.devices()[0].cpu_percent == 0.0, "it still listens")


async def test_nobody_speaks_for_another_device(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, box = await made.fleet_of_two()
        await online(coordinator)
        box.topics, topics = pi.topics, box.topics
        box.telemetry()  # says box-1 under pi-1's topic
        await until(lambda: coordinator.malformed() == {("pi-1", "telemetry"): 1}, "it is refused")
        box.topics = topics


async def test_a_lost_device_is_planned_around_after_the_grace_period(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        _, box = await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        await settled(coordinator)
        await box.stop()

        def devices() -> set[str]:
            scenario = coordinator.scenario()
            assert scenario is not None
            return set(scenario.device)

        await until(lambda: devices() == {"pi-1"}, "it is planned without")
        await made.agent("box-1", "box", "cloud")
        await until(lambda: devices() == {"pi-1", "box-1"}, "it is planned with again")


async def test_withdrawing_stops_serving(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, _ = await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        await coordinator.withdraw("gate")
        await coordinator.withdraw("yard")
        await until(lambda: pi.desired[-1].body.routes == [], "its routes are gone")
        assert coordinator.queries() == []
        with pytest.raises(NoData):
            await coordinator.withdraw("gate")


async def test_what_was_submitted_is_there_after_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        async with made.coordinator() as coordinator:
            await coordinator.submit(submission())
        async with made.coordinator() as coordinator:
            assert [v.id for v in coordinator.queries()] == ["gate", "yard"]
            assert state(coordinator, "gate") is QueryState.WAITING


async def test_a_submission_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        wrong = submission(
            "circinus: 1\npipelines: {p: {operators: {o: {tiers: [moon]}}, input_bytes: 1}}\n"
            "queries: [{id: q, pipeline: p, source: d, rate_rps: 1}]\n"
        )
        with pytest.raises(InvalidInput, match="moon"):
            await coordinator.submit(wrong)
        assert coordinator.queries() == []


async def test_measured_stands_beside_promised(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, box = await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        await settled(coordinator)
        route = pi.desired[-1].body.routes[0]
        for agent in (pi, box):
            agent.telemetry()
            agent.telemetry(
                routes=[
                    RouteTelemetry(
                        query="gate", plan=route.plan, submitted=10, completed=10,
                        within_latency=9, latency={250: 10}, scored=10, score_sum=9.0,
                    )
                ] if agent is pi else [],
                instances=[
                    InstanceTelemetry(key=step.instance, requests=10, compute_s=0.3)
                    for step in route.steps
                    if step.device == agent.device
                ],
            )  # fmt: skip
        found = await until(
            lambda: [m for m in coordinator.measurements() if m.measured.completed], "it arrives"
        )
        assert found[0].promised is not None
        # Both sides cost these agents the same, and both reach the floor.
        assert found[0].promised.accuracy in (pytest.approx(5 / 6), pytest.approx(0.9))
        assert found[0].measured.attainment == 0.9


async def test_a_broker_that_forgot_everything_is_told_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator(grace_s=30.0) as coordinator:
        pi, _ = await made.fleet_of_two()
        await online(coordinator)
        await coordinator.submit(submission())
        await serving(coordinator)
        await settled(coordinator)
        version, seen = pi.desired[-1].version, len(pi.desired)
        await made.broker.kill()
        await made.broker.start()
        await until(lambda: len(pi.desired) > seen, "the document is there again")
        assert pi.desired[-1].version == version


async def test_artifacts_are_kept_by_hash_and_offered_to_devices(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:

        async def chunks():  # type: ignore[no-untyped-def]
            yield b"ab"
            yield b"c"

        stored = await coordinator.put_artifact(chunks())
        path = coordinator.artifact(stored.sha256)
        assert path is not None
        assert path.read_bytes() == b"abc"
        pi, _ = await made.fleet_of_two()
        await online(coordinator)
        text = SIGNS_FROM_ARTIFACT.replace("HASH", stored.sha256)
        await coordinator.submit(submission(text))
        await until(lambda: [c for c in pi.probes if isinstance(c, ProbeOperators)], "a probe")
        probe = next(c for c in pi.probes if isinstance(c, ProbeOperators))
        assert [a.url for a in probe.artifacts] == [
            f"http://127.0.0.1:1/v1/artifacts/{stored.sha256}"
        ]


SIGNS_FROM_ARTIFACT = """
circinus: 1
pipelines:
  signs: {operators: {decode: {run: "m:Decode"}}, input_bytes: 10}
queries:
  - {id: gate, pipeline: signs, source: pi-1, rate_rps: 2,
     input: {kind: folder, path: "sha256:HASH"}}
"""


async def test_changes_are_told_to_subscribers_in_order(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        changes = coordinator.subscribe()
        await coordinator.submit(submission())
        first, second = await anext(changes), await anext(changes)
        assert (first.subject, second.subject) == ("gate", "yard")
        assert first.seq < second.seq


async def test_a_session_that_ended_gets_its_probes_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator() as coordinator:
        pi, box = await made.fleet_of_two()
        pi.answer_probes = box.answer_probes = False
        await online(coordinator)
        await coordinator.submit(submission())
        await until(lambda: pi.probes or box.probes, "probes are sent")
        for agent in (pi, box):
            await agent.crash()
        again = [await made.agent("pi-1"), await made.agent("box-1", "box", "cloud")]
        made.agents.remove(pi)
        made.agents.remove(box)
        assert isinstance(again[0], ScriptedAgent)
        await serving(coordinator)


async def test_two_coordinators_cannot_share_a_store(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, made.coordinator():
        with pytest.raises(InvalidInput, match="another coordinator"):
            await made.coordinator().start()


async def test_plans_are_computed_in_a_process_that_ends_with_the_coordinator(
    tmp_path: Path,
) -> None:
    import psutil

    async with bench(tmp_path) as made:
        me = psutil.Process()
        before = {child.pid for child in me.children()}
        async with Coordinator(made.settings()) as coordinator:
            await made.fleet_of_two()
            await online(coordinator)
            await coordinator.submit(submission())
            await serving(coordinator)
            names = [c.cmdline() for c in me.children() if c.pid not in before]
            assert any("spawn_main" in " ".join(line) for line in names)
        workers = [
            c for c in me.children()
            if c.pid not in before and "spawn_main" in " ".join(c.cmdline())
        ]  # fmt: skip
        assert workers == []
