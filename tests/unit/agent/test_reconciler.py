"""The reconciler, without a loop, a clock or a socket."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

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
from circinus_agent.reconciler import EventLog, Reconciler, replay
from circinus_agent.reconciler import events as e
from circinus_agent.reconciler.core import (
    ARTIFACT_ATTEMPTS,
    DRAIN_TIMEOUT_S,
    RETRY_FIRST_S,
    START_TIMEOUT_S,
)

SHA = "a" * 64


def instance(key: str, **more: object) -> InstanceSpec:
    return InstanceSpec(key=key, run=f"mod:{key}", **more)  # type: ignore[arg-type]


def route(plan: str, *keys: str, active: bool = True, device: str = "pi-1") -> Route:
    return Route(
        query="q",
        plan=plan,
        share=1.0,
        active=active,
        lead="pi-1",
        sources={"s0": "pi-1"},
        steps=[RouteStep(name=f"s{i}", device=device, instance=key) for i, key in enumerate(keys)],
        rate_rps=1.0,
    )


def desired(version: int, body: DesiredBody, store: str = "one", device: str = "pi-1") -> Desired:
    return Desired(device=device, store=store, version=version, hash=body_hash(body), body=body)


def simple(version: int, *keys: str, **more: object) -> Desired:
    routes = [route(f"plan-{key}", key) for key in keys]
    body = DesiredBody(
        instances=[instance(key) for key in keys],
        routes=routes,
        **more,  # type: ignore[arg-type]
    )
    return desired(version, body)


class Agent:
    """A reconciler with a shell that does nothing but remember."""

    def __init__(self, stored: e.Stored | None = None) -> None:
        self.reconciler = Reconciler()
        self.now = 0.0
        self.on_disk = stored or e.Stored()
        self.out: list[e.Instruction] = []
        self.tell(e.Booted(now=0.0, device="pi-1", boot_id="b", stored=self.on_disk))

    def tell(self, event: e.AnyEvent) -> list[e.Instruction]:
        self.out = self.reconciler.handle(event)
        return self.out

    def push(self, document: Desired) -> list[e.Instruction]:
        """Receive and store a document; what follows from its being stored."""
        for instruction in self.tell(e.DesiredReceived(now=self.now, desired=document)):
            if isinstance(instruction, e.Persist):
                self.on_disk = instruction.stored
                return self.tell(
                    e.Persisted(now=self.now, version=document.version, hash=document.hash)
                )
        return self.out

    def ready(self, *keys: str) -> list[e.Instruction]:
        out: list[e.Instruction] = []
        for key in keys:
            out += self.tell(e.InstanceReady(now=self.now, key=key))
        return out

    def converge(self, document: Desired) -> None:
        self.push(document)
        self.ready(*(spec.key for spec in document.body.instances))
        assert self.phase == "converged"

    def tick(self, seconds: float) -> list[e.Instruction]:
        self.now += seconds
        return self.tell(e.Tick(now=self.now))

    @property
    def phase(self) -> str:
        assert self.reconciler.model.reported is not None
        return self.reconciler.model.reported.phase

    @property
    def served(self) -> list[str]:
        return [r.plan for r in self.reconciler.model.routes]


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    check_invariants(made.reconciler)


def check_invariants(reconciler: Reconciler) -> None:
    """What holds in every state."""
    model = reconciler.model
    needed = {s.instance for r in model.routes for s in r.steps if s.device == model.device}
    assert needed <= set(model.slots), "a route is set whose instance does not exist"
    assert all(model.slots[k].served for k in needed), "a route was set before its instance served"
    if model.reported and model.reported.phase == "converged":
        assert model.target is not None
        assert model.routes == model.target.body.routes


def kinds(instructions: list[e.Instruction]) -> list[str]:
    return [type(instruction).__name__ for instruction in instructions]


def test_a_new_device_reports_idle(agent: Agent) -> None:
    assert agent.phase == "idle"


def test_a_document_is_stored_before_anything_of_it_is_done(agent: Agent) -> None:
    out = agent.tell(e.DesiredReceived(now=0.0, desired=simple(1, "a")))
    assert kinds(out) == ["Persist"]


def test_instances_start_once_the_document_is_on_disk(agent: Agent) -> None:
    out = agent.push(simple(1, "a", "b"))
    assert kinds(out) == ["StartInstance", "StartInstance", "Report"]
    assert agent.phase == "applying"


def test_no_route_is_set_before_all_instances_are_ready(agent: Agent) -> None:
    agent.push(simple(1, "a", "b"))
    assert "SetRoutes" not in kinds(agent.ready("a"))


def test_when_all_are_ready_the_routes_are_set_and_convergence_is_reported(agent: Agent) -> None:
    agent.push(simple(1, "a", "b"))
    agent.ready("a")
    assert kinds(agent.ready("b")) == ["Persist", "SetRoutes", "Report"]
    assert agent.phase == "converged"


def test_an_empty_document_converges_at_once(agent: Agent) -> None:
    agent.push(desired(1, DesiredBody()))
    assert agent.phase == "converged"


def test_a_route_without_local_steps_needs_no_instance(agent: Agent) -> None:
    agent.push(desired(1, DesiredBody(routes=[route("p", "far", device="edge-1")])))
    assert agent.served == ["p"]


def test_peers_are_set_before_their_routes(agent: Agent) -> None:
    peer = Peer(device="edge-1", url="ws://e")
    agent.push(desired(1, DesiredBody(routes=[route("p", "far", device="edge-1")], peers=[peer])))
    names = kinds(agent.out)
    assert names.index("SetPeers") < names.index("SetRoutes")


def test_peers_are_dialled_while_instances_start(agent: Agent) -> None:
    out = agent.push(simple(1, "a", peers=[Peer(device="edge-1", url="ws://e")]))
    assert "SetPeers" in kinds(out)


def test_the_same_document_again_changes_nothing(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    assert agent.push(simple(1, "a")) == []


def test_an_instance_shared_by_both_documents_is_not_restarted(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    out = agent.push(simple(2, "a", "b"))
    assert [i.spec.key for i in out if isinstance(i, e.StartInstance)] == ["b"]


def test_old_routes_stay_until_the_new_instances_are_ready(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.push(simple(2, "b"))
    assert agent.served == ["plan-a"]
    agent.ready("b")
    assert agent.served == ["plan-b"]


def test_old_instances_stop_only_after_their_routes_drained(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.push(simple(2, "b"))
    out = agent.ready("b")
    assert "StopInstance" not in kinds(out)
    epoch = next(i.epoch for i in out if isinstance(i, e.SetRoutes))
    out = agent.tell(e.RoutesDrained(now=1.0, epoch=epoch))
    assert [i.key for i in out if isinstance(i, e.StopInstance)] == ["a"]


def test_peers_of_draining_routes_stay_connected(agent: Agent) -> None:
    old, new = Peer(device="old", url="ws://o"), Peer(device="new", url="ws://n")
    agent.converge(simple(1, "a", peers=[old]))
    agent.converge(simple(2, "b", peers=[new]))
    assert {p.device for p in agent.reconciler.model.peers} == {"old", "new"}
    agent.tell(e.RoutesDrained(now=1.0, epoch=agent.reconciler.model.epoch))
    assert {p.device for p in agent.reconciler.model.peers} == {"new"}


def test_a_request_that_never_ends_holds_old_instances_only_so_long(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.converge(simple(2, "b"))
    assert "StopInstance" in kinds(agent.tick(DRAIN_TIMEOUT_S))


def test_draining_an_older_change_does_not_release_a_newer_one(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.converge(simple(2, "b"))
    older = agent.reconciler.model.epoch
    agent.converge(simple(3, "c"))
    out = agent.tell(e.RoutesDrained(now=1.0, epoch=older))
    assert [i.key for i in out if isinstance(i, e.StopInstance)] == ["a"]


def test_draining_a_newer_change_does_not_release_an_older_one(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.converge(simple(2, "b"))
    agent.converge(simple(3, "c"))
    out = agent.tell(e.RoutesDrained(now=1.0, epoch=agent.reconciler.model.epoch))
    assert [i.key for i in out if isinstance(i, e.StopInstance)] == ["b"]


def test_switching_a_route_on_restarts_nothing_and_drains_nothing(agent: Agent) -> None:
    body = DesiredBody(instances=[instance("a")], routes=[route("p", "a", active=False)])
    agent.converge(desired(1, body))
    switched = msgspec.structs.replace(body, routes=[route("p", "a")])
    out = agent.push(desired(2, switched))
    assert kinds(out) == ["Persist", "SetRoutes", "Report"]
    assert not agent.reconciler.model.draining


def test_a_newer_document_takes_the_place_of_one_being_applied(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    out = agent.push(simple(2, "b"))
    assert [i.key for i in out if isinstance(i, e.StopInstance)] == ["a"]
    agent.ready("b")
    assert agent.served == ["plan-b"]


def test_an_answer_to_an_instance_no_longer_wanted_is_ignored(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    agent.push(simple(2, "b"))
    assert agent.ready("a") == []


def test_an_instance_wanted_again_while_it_stops_is_started_afterwards(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    agent.push(simple(2, "b"))
    assert "StartInstance" not in kinds(agent.push(simple(3, "a")))
    out = agent.tell(e.InstanceStopped(now=1.0, key="a"))
    assert [i.spec.key for i in out if isinstance(i, e.StartInstance)] == ["a"]


def test_a_newer_document_before_the_older_is_on_disk_wins(agent: Agent) -> None:
    first, second = simple(1, "a"), simple(2, "b")
    agent.tell(e.DesiredReceived(now=0.0, desired=first))
    agent.tell(e.DesiredReceived(now=0.0, desired=second))
    assert agent.tell(e.Persisted(now=0.0, version=1, hash=first.hash)) == []
    out = agent.tell(e.Persisted(now=0.0, version=2, hash=second.hash))
    assert [i.spec.key for i in out if isinstance(i, e.StartInstance)] == ["b"]


# ---- refusals -----------------------------------------------------------------------------


def refused(agent: Agent, document: Desired) -> str:
    out = agent.tell(e.DesiredReceived(now=0.0, desired=document))
    assert kinds(out) == ["Report"]
    assert agent.reconciler.model.reported is not None
    text = agent.reconciler.model.reported.refused
    assert text is not None
    return text


def test_a_tampered_document_is_refused_and_the_running_one_stays(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    evil = msgspec.structs.replace(simple(2, "b"), hash=simple(2, "a").hash)
    assert "hash" in refused(agent, evil)
    assert (agent.phase, agent.served) == ("converged", ["plan-a"])


def test_a_document_for_another_device_is_refused(agent: Agent) -> None:
    assert "edge-1" in refused(agent, desired(1, DesiredBody(), device="edge-1"))


def test_an_older_version_of_the_same_store_is_refused(agent: Agent) -> None:
    agent.converge(simple(5, "a"))
    assert "older" in refused(agent, simple(4, "b"))


def test_the_same_version_with_other_content_is_refused(agent: Agent) -> None:
    agent.converge(simple(5, "a"))
    assert "another content" in refused(agent, simple(5, "b"))


def test_a_route_to_an_instance_that_is_not_there_is_refused(agent: Agent) -> None:
    assert "needs a" in refused(agent, desired(1, DesiredBody(routes=[route("p", "a")])))


def test_a_new_store_starts_counting_anew(agent: Agent) -> None:
    agent.converge(simple(5, "a"))
    agent.push(desired(1, simple(1, "b").body, store="two"))
    agent.ready("b")
    assert agent.served == ["plan-b"]


def test_a_refusal_is_forgotten_with_the_next_good_document(agent: Agent) -> None:
    refused(agent, desired(1, DesiredBody(), device="edge-1"))
    agent.converge(simple(1, "a"))
    assert agent.reconciler.model.reported is not None
    assert agent.reconciler.model.reported.refused is None


def test_a_document_that_cannot_be_stored_is_not_applied(agent: Agent) -> None:
    document = simple(1, "a")
    agent.tell(e.DesiredReceived(now=0.0, desired=document))
    out = agent.tell(e.PersistFailed(now=0.0, version=1, hash=document.hash, cause="disk full"))
    assert kinds(out) == ["Report"]
    assert "disk full" in str(agent.reconciler.model.refused)


def test_a_document_that_could_not_be_stored_is_taken_when_it_comes_again(agent: Agent) -> None:
    document = simple(1, "a")
    agent.tell(e.DesiredReceived(now=0.0, desired=document))
    agent.tell(e.PersistFailed(now=0.0, version=1, hash=document.hash, cause="disk full"))
    agent.converge(document)


# ---- failures -----------------------------------------------------------------------------


def fail(agent: Agent, key: str, cause: str = "no module") -> list[e.Instruction]:
    return agent.tell(e.InstanceFailed(now=agent.now, key=key, cause=cause))


def test_an_instance_that_cannot_start_fails_the_document_with_its_cause(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    fail(agent, "a")
    assert agent.phase == "failed"
    assert agent.reconciler.model.reported is not None
    assert agent.reconciler.model.reported.error == "a: no module"


def test_the_last_good_routes_stay_when_a_document_fails(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.push(simple(2, "b", "c"))
    agent.ready("b")
    out = fail(agent, "c")
    assert agent.served == ["plan-a"]
    assert [i.key for i in out if isinstance(i, e.StopInstance)] == ["b"]


def test_a_failed_document_blocks_no_successor(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    fail(agent, "a")
    agent.converge(simple(2, "b"))


def test_a_successor_tries_a_failed_instance_again_at_once(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    fail(agent, "a")
    out = agent.push(simple(2, "a"))
    assert [i.spec.key for i in out if isinstance(i, e.StartInstance)] == ["a"]


def test_going_back_to_the_last_good_document_converges_without_a_restart(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    agent.push(simple(2, "b"))
    fail(agent, "b")
    assert "StartInstance" not in kinds(agent.push(simple(3, "a")))
    assert agent.phase == "converged"


def test_a_served_instance_that_dies_is_tried_again_with_backoff(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    fail(agent, "a")
    assert agent.phase == "failed"
    assert agent.served == ["plan-a"]
    assert agent.tick(RETRY_FIRST_S * 0.9) == []
    assert "StartInstance" in kinds(agent.tick(RETRY_FIRST_S * 0.2))
    fail(agent, "a")
    assert agent.tick(RETRY_FIRST_S * 1.5) == []
    agent.tick(RETRY_FIRST_S)
    agent.ready("a")
    assert agent.phase == "converged"


def test_a_new_document_does_not_wait_for_the_backoff_of_an_old_failure(agent: Agent) -> None:
    agent.converge(simple(1, "a"))
    fail(agent, "a")
    out = agent.push(simple(2, "a", "b"))
    assert {i.spec.key for i in out if isinstance(i, e.StartInstance)} == {"a", "b"}


def test_a_start_that_never_answers_fails_the_document(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    assert "StopInstance" in kinds(agent.tick(START_TIMEOUT_S))
    assert agent.phase == "failed"


# ---- artifacts ----------------------------------------------------------------------------


def with_artifact(version: int, key: str) -> Desired:
    return simple(version, key, artifacts=[Artifact(sha256=SHA, size_bytes=1, url="http://x")])


def test_instances_wait_for_the_artifacts(agent: Agent) -> None:
    out = agent.push(with_artifact(1, "a"))
    assert kinds(out) == ["FetchArtifact", "Report"]
    assert "StartInstance" in kinds(agent.tell(e.ArtifactFetched(now=0.0, sha256=SHA)))


def test_a_fetch_that_may_succeed_later_is_tried_again(agent: Agent) -> None:
    agent.push(with_artifact(1, "a"))
    agent.tell(e.ArtifactFailed(now=0.0, sha256=SHA, cause="HTTP 503"))
    assert agent.phase == "applying"
    assert "FetchArtifact" in kinds(agent.tick(1.1))


def test_a_fetch_fails_the_document_after_its_attempts(agent: Agent) -> None:
    agent.push(with_artifact(1, "a"))
    for _ in range(ARTIFACT_ATTEMPTS):
        agent.tell(e.ArtifactFailed(now=agent.now, sha256=SHA, cause="HTTP 503"))
        agent.tick(60.0)
    assert agent.phase == "failed"
    assert agent.reconciler.model.reported is not None
    assert "HTTP 503" in str(agent.reconciler.model.reported.error)


def test_an_artifact_with_a_wrong_hash_fails_the_document_at_once(agent: Agent) -> None:
    agent.push(with_artifact(1, "a"))
    agent.tell(e.ArtifactFailed(now=0.0, sha256=SHA, cause="other hash", final=True))
    assert agent.phase == "failed"


def test_what_was_served_starts_without_waiting_for_artifacts_after_a_reboot() -> None:
    document = with_artifact(1, "a")
    agent = Agent(e.Stored(desired=document, good=document))
    assert "StartInstance" in kinds(agent.out)


# ---- replicas -----------------------------------------------------------------------------


def replicas(version: int, count: int) -> Desired:
    return desired(
        version,
        DesiredBody(instances=[instance("a", replicas=count)], routes=[route("p", "a")]),
    )


def started(instructions: list[e.Instruction]) -> list[int]:
    return [i.spec.replicas for i in instructions if isinstance(i, e.StartInstance)]


def test_more_replicas_come_before_the_switch(agent: Agent) -> None:
    agent.converge(replicas(1, 1))
    assert started(agent.push(replicas(2, 3))) == [3]
    assert agent.phase == "applying"


def test_fewer_replicas_come_after_the_switch(agent: Agent) -> None:
    agent.converge(replicas(1, 3))
    out = agent.push(replicas(2, 1))
    assert started(out) == [1]
    assert agent.reconciler.model.base == replicas(2, 1)


# ---- reboot -------------------------------------------------------------------------------


def test_after_a_reboot_the_stored_document_is_applied_without_anyone() -> None:
    document = simple(4, "a")
    agent = Agent(e.Stored(desired=document, good=document))
    assert "StartInstance" in kinds(agent.out)
    agent.ready("a")
    assert (agent.phase, agent.served) == ("converged", ["plan-a"])


def test_after_a_reboot_each_route_is_served_as_soon_as_it_can_be() -> None:
    document = simple(4, "a", "b")
    agent = Agent(e.Stored(desired=document, good=document))
    agent.ready("b")
    assert agent.served == ["plan-b"]


def test_a_reboot_amid_a_rollout_serves_the_old_and_goes_on_with_the_new() -> None:
    agent = Agent(e.Stored(desired=simple(2, "b"), good=simple(1, "a")))
    agent.ready("a")
    assert agent.served == ["plan-a"]
    agent.ready("b")
    assert (agent.phase, agent.served) == ("converged", ["plan-b"])


def test_a_stored_document_that_was_changed_is_not_applied() -> None:
    evil = msgspec.structs.replace(simple(2, "b"), hash="0" * 64)
    agent = Agent(e.Stored(desired=evil, good=evil))
    assert agent.phase == "idle"
    assert "hash" in str(agent.reconciler.model.refused)


def test_a_convergence_is_stored_as_the_new_good_document(agent: Agent) -> None:
    agent.push(simple(1, "a"))
    (persist,) = [i for i in agent.ready("a") if isinstance(i, e.Persist)]
    assert persist.stored == e.Stored(desired=simple(1, "a"), good=simple(1, "a"))
    assert persist.awaits is None


# ---- event log ----------------------------------------------------------------------------


def test_a_replayed_log_leads_to_the_same_instructions(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log, reconciler, said = EventLog(tmp_path), Reconciler(), []
    document = simple(1, "a")
    for event in (
        e.Booted(now=0.0, device="pi-1", boot_id="b"),
        e.DesiredReceived(now=1.0, desired=document),
        e.Persisted(now=1.0, version=1, hash=document.hash),
        e.InstanceReady(now=2.0, key="a"),
        e.InstanceFailed(now=3.0, key="a", cause="x"),
        e.Tick(now=20.0),
    ):
        before = log.snapshot(reconciler.model)
        out = reconciler.handle(event)
        log.append(event, before, len(out))
        said.append(out)
    assert [out for _, out in replay(tmp_path / "events.jsonl")] == said


def test_the_log_is_bounded_and_each_file_replays_on_its_own(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log, reconciler = EventLog(tmp_path, max_bytes=3000), Reconciler()
    reconciler.handle(e.Booted(now=0.0, device="pi-1", boot_id="b"))
    last: list[e.Instruction] = []
    for version in range(1, 30):
        event = e.DesiredReceived(now=float(version), desired=simple(version, "a"))
        before = log.snapshot(reconciler.model)
        last = reconciler.handle(event)
        log.append(event, before, len(last))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert sum(f.stat().st_size for f in files) < 12_000
    assert list(replay(tmp_path / "events.jsonl"))[-1][1] == last


def test_ticks_without_consequence_are_not_logged(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = EventLog(tmp_path)
    log.append(e.Tick(now=1.0), None, 0)
    assert list(tmp_path.iterdir()) == []
