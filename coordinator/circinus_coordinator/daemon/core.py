"""The coordinator without its loop: every event in, records, messages and log entries out.

Joins the machines, which do not know one another: registry, profiler, rollout, monitor. Time is
the shell's monotonic clock, in seconds. Nothing here blocks, waits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from circinus.errors import NoData
from circinus.fleet import Device
from circinus.messages import (
    Artifact,
    Capabilities,
    CommandResult,
    Peer,
    ProbeSamples,
    Reported,
    Status,
    Telemetry,
)
from circinus.pipeline import Pipeline
from circinus.query import Query
from circinus.scenario import Scenario, Submission, encode_scenario
from circinus_coordinator.daemon import assemble, records
from circinus_coordinator.daemon.deviations import Deviations
from circinus_coordinator.daemon.effects import Effects
from circinus_coordinator.daemon.refreshing import Refreshing
from circinus_coordinator.daemon.retry import Retry
from circinus_coordinator.daemon.settings import Settings
from circinus_coordinator.daemon.state import IN_FORCE, PLANNED, Planned, Restored
from circinus_coordinator.daemon.translate import (
    command_message,
    decided,
    desired_message,
    deviation,
    named,
)
from circinus_coordinator.fleet import (
    DeviceChange,
    Failed,
    Monitor,
    Moved,
    PlannedRoute,
    Publish,
    Registry,
    Rollout,
    Served,
    Settled,
    compile_routes,
    dialler,
)
from circinus_coordinator.fleet import Instruction as RolloutInstruction
from circinus_coordinator.profiling import (
    Change,
    Keep,
    Key,
    ProbeDevice,
    Profiler,
    needs,
)
from circinus_coordinator.profiling import Instruction as ProbeInstruction
from circinus_coordinator.profiling.age import settled
from circinus_coordinator.store import (
    DecisionRecord,
    DecisionState,
    Forget,
    MetaRecord,
    PipelineRecord,
    QueryRecord,
)

__all__ = ["Core", "Upward"]

_WHOLE = 1 - 1e-6  # of a query's traffic, but for rounding
Upward = Status | Capabilities | Reported | ProbeSamples | CommandResult | Telemetry


class Core:
    """See the module.

    Args:
        fleet: Tiers, classes, links and prices.
        store_id: For desired documents.
        prefix: Makes request ids unique among runs.
        now: Present time.
        epoch_s: Unix time when `now` was 0. It is asked for once: whatever happens to the
            machine's clock later moves nothing of this run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        fleet: Scenario,
        store_id: str,
        prefix: str,
        restored: Restored,
        now: float,
        epoch_s: float = 0.0,
    ) -> None:
        self.settings = settings
        self.epoch_s = epoch_s
        self.fleet = fleet
        self.pipelines = restored.pipelines
        self.queries = restored.queries
        self.artifacts = restored.artifacts
        self.planned = restored.planned
        self.in_force = restored.in_force
        self.failed = restored.failed
        """Why the last planned decision, or a part of it, was taken back; None if it was not."""
        self.api_url = settings.api_url
        self.registry = Registry(settings.liveness_s)
        self.registry.restore(restored.devices, now)
        self.profiler = Profiler(settings.profiling, prefix=prefix, epoch_s=epoch_s)
        for summary in restored.measurements.values():
            summary.takes = settled(summary.takes, epoch_s + now)
        self.profiler.restore(restored.measurements)
        self.deviations = Deviations(
            settings.drift,
            self.profiler,
            restored.factors,
            samples=settings.profiling.min_samples,
            now=now,
            epoch_s=epoch_s,
        )
        self._refreshing = Refreshing(settings.profiling.stale_after_s, epoch_s=epoch_s)
        self._seen = 0  # version of the profiler that planning knows of
        self.monitor = Monitor(now)
        self.rollout = Rollout(
            store=store_id,
            timeout_s=settings.prepare_timeout_s,
            drain_s=settings.drain_s,
            snapshot=restored.snapshot,
            now=now,
        )
        self._settled_at = now + settings.settle_s
        self._dirty_since: float | None = now
        self._retry = Retry(base_s=settings.retry_base_s, cap_s=settings.retry_cap_s)
        if self.failed:
            self._retry.failed(now)
        self._replan = Retry(base_s=settings.retry_base_s, cap_s=settings.retry_cap_s)
        self._present: list[str] = []
        self._probing: dict[str, ProbeDevice] = {}

    # ---- start ------------------------------------------------------------------------------

    def resume(self, now: float) -> Effects:
        """Go on from what was restored."""
        return self._fleet_changed(now)

    def on_connected(self) -> Effects:
        """A broker is there, perhaps one that remembers nothing: say again what was promised."""
        documents = self.rollout.snapshot.documents.values()
        return Effects(
            messages=[desired_message(Publish(desired=desired)) for desired in documents]
        )

    # ---- what users want --------------------------------------------------------------------

    def submit(self, submission: Submission, now: float) -> Effects:
        """Take in pipelines and queries, or nothing.

        Raises:
            InvalidInput: If it does not fit the fleet or the queries that stay.
        """
        pipelines = {**self.pipelines, **submission.pipelines}
        queries = {**self.queries, **{query.id: query for query in submission.queries}}
        Scenario(tiers=self.fleet.tiers, pipelines=submission.pipelines)  # known tiers only
        Submission(pipelines=pipelines, queries=tuple(queries.values()))
        effects = Effects()
        self.pipelines, self.queries = pipelines, queries
        effects.records += [records.pipeline_record(p) for p in submission.pipelines.values()]
        touched = {query.id for query in submission.queries}
        for query in queries.values():
            if query.id in touched or query.pipeline in submission.pipelines:
                effects.records.append(records.query_record(query, pipelines[query.pipeline]))
        for name in sorted(touched):
            effects.note("query", name, "submitted")
        return effects.add(self._wishes_changed(now))

    def withdraw(self, query_id: str, now: float) -> Effects:
        """Forget a query, and its pipeline with the last of its queries.

        Raises:
            NoData: If there is none of that id.
        """
        if query_id not in self.queries:
            raise NoData(f"there is no query {query_id!r}: it was not submitted")
        pipeline = self.queries[query_id].pipeline
        self.queries = {name: q for name, q in self.queries.items() if name != query_id}
        effects = Effects(records=[Forget(kind=QueryRecord, key=query_id)])
        if all(query.pipeline != pipeline for query in self.queries.values()):
            self.pipelines = {n: p for n, p in self.pipelines.items() if n != pipeline}
            effects.records.append(Forget(kind=PipelineRecord, key=pipeline))
        effects.note("query", query_id, "withdrawn")
        return effects.add(self._wishes_changed(now))

    def add_artifact(self, sha256: str, size_bytes: int, now: float) -> Effects:
        """A file can be had from now on."""
        self.artifacts[sha256] = size_bytes
        return self._wishes_changed(now)

    def set_api_url(self, url: str, now: float) -> Effects:
        """Files are to be had there."""
        if url == self.api_url:
            return Effects()
        self.api_url = url
        effects = self._wishes_changed(now)
        if self.planned and self.rollout.decision == self.planned.id:
            effects.add(self._decide(self.planned, now))
        return effects

    # ---- what devices say -------------------------------------------------------------------

    def on_message(self, message: Upward, now: float) -> Effects:
        """A device said something."""
        if isinstance(message, Status):
            return self._on_devices(self.registry.status(message, now), now)
        if isinstance(message, Capabilities):
            return self._on_devices(self.registry.capabilities(message, now), now)
        if isinstance(message, Telemetry):
            effects = self._on_devices(self.registry.telemetry(message, now), now)
            if self.registry.is_present(message.device, message.boot_id):
                body = self.rollout.promised(message.device)
                served = self.monitor.telemetry(message, now, body)
                effects.add(self._compared(message.device, served, now))
            return effects
        if isinstance(message, Reported):
            return self._rolled(self.rollout.on_reported(message, now), now)
        if isinstance(message, ProbeSamples):
            return self._probed(self.profiler.on_samples(message, now), now)
        return self._probed(self.profiler.on_result(message, now), now)

    def on_tick(self, now: float, *, connected: bool) -> Effects:
        """Time passed.

        Args:
            connected: The coordinator has a broker.
        """
        self.registry.link(up=connected, now=now)
        effects = self._on_devices(self.registry.tick(now), now)
        present = [s.id for s in self.registry.present(now, self.settings.grace_s)]
        if present != self._present:  # a grace period ran out
            effects.add(self._fleet_changed(now))
        effects.add(self._offer_devices(now))
        old = [*self.deviations.due(now), *self._too_old(now)]
        effects.add(self._probed(self.profiler.stale(old, now), now))
        effects.add(self._probed(self.profiler.on_tick(now), now))
        if self.planned and not self.rollout.switching and self._retry.due(now):
            effects.add(self._decide(self.planned, now))
        return effects.add(self._rolled(self.rollout.on_tick(now), now))

    def _too_old(self, now: float) -> list[Key]:
        def wanted() -> dict[Key, None]:
            return dict.fromkeys([*self.profiler.needs.keys, *self.profiler.needs.links])

        return self._refreshing.due(self.profiler.results, wanted, now)

    def _compared(self, device: str, served: list[Served], now: float) -> Effects:
        """Hold what a device served against what it was planned with."""
        state = self.registry.get(device)
        if state is None or state.capabilities is None or not served:
            return Effects()
        device_class, body = state.capabilities.device_class, self.rollout.promised(device)
        change = self.deviations.served(device, device_class, served, body, now)
        if change is not None:
            return self._deviates(change, now)
        confirmed = self.deviations.confirmed(device, device_class, body, now)
        return Effects(records=[records.measurement_record(key, row) for key, row in confirmed])

    def _deviates(self, change: Change, now: float) -> Effects:
        """A device is another than it was taken for: plan with what it is, and look closer."""
        effects = Effects(records=[self.deviations.record()])
        began_s = self.epoch_s + now - change.seconds
        text, data = deviation(change, began_s, self.monitor.last(change.device))
        effects.note("drift", change.device, text, **data)
        self._dirty(now)
        return effects.add(self._wishes_changed(now))

    def _on_devices(self, changes: list[DeviceChange], now: float) -> Effects:
        effects = Effects()
        if not changes:
            return effects
        for change in changes:
            state = self.registry.get(change.device)
            if state is not None:
                effects.records.append(records.device_record(state))
            warning = {"warning": True} if change.contested else {}
            effects.note("device", change.device, change.cause, online=change.online, **warning)
        return effects.add(self._fleet_changed(now))

    # ---- planning ---------------------------------------------------------------------------

    def to_plan(self, now: float) -> bytes | None:
        """The scenario to plan, if it is time and it is another than the last; canonical JSON."""
        if self._replan.waiting and not self._replan.due(now):
            return None
        if self._dirty_since is None or now < self._settled_at:
            return None
        if now - self._dirty_since < self.settings.debounce_s:
            return None
        self._dirty_since = None
        scenario = assemble.build_scenario(
            fleet=self.fleet,
            devices=self.present_devices(now),
            pipelines=self.pipelines,
            queries=self._plannable(now),
            needed=self.profiler.needs.by_query,
            measured=self.profiler.results(),
            apart=self.deviations.apart,
            mean_accuracy=self.profiler.mean_accuracy,
        )
        data = encode_scenario(scenario)
        if self.planned and data == self.planned.scenario_bytes:
            return None
        if self.planned is None and not scenario.queries:
            return None
        return data

    def on_planned(self, scenario: bytes, decision: bytes, now: float) -> Effects:
        """The planner answered: roll it out."""
        planned = Planned.of(scenario, decision)
        self._compile(planned)  # what cannot be rolled out takes the place of nothing
        self.planned = planned
        self._replan.reset()
        self._retry.reset()
        effects = Effects()
        effects.records += [
            DecisionRecord(
                id=planned.id,
                scenario=scenario,
                decision=decision,
                state=DecisionState.PENDING,
            ),
            MetaRecord(name=PLANNED, value=planned.id.encode()),
        ]
        admitted = {a.query for a in planned.decision.assignments if a.share > 0}
        self.profiler.turned_away(_not_wholly(planned))
        effects.note(
            "decision",
            planned.id,
            f"{len(admitted)} of {len(planned.scenario.queries)} queries admitted, "
            f"goodput {planned.decision.goodput_rps:g} requests/s",
        )
        return effects.add(self._decide(planned, now))

    def on_unplanned(self, cause: str, now: float) -> Effects:
        """Planning failed: what is in force stays, and it is tried again after a while."""
        self._dirty(now)
        self._replan.failed(now)
        text = f"planning failed, what is in force stays: {cause}"
        effects = Effects()
        effects.note("decision", "planner", text, warning=True)
        return effects

    def _decide(self, planned: Planned, now: float) -> Effects:
        """Roll a decision out, or what is left of it."""
        self.failed = None
        target = self._compile(planned)
        return self._rolled(self.rollout.decide(planned.id, target, now), now)

    def _compile(self, planned: Planned) -> dict[str, tuple[PlannedRoute, ...]]:
        return compile_routes(planned.decision, planned.scenario, self._artifact)

    def _artifact(self, sha256: str) -> Artifact | None:
        size = self.artifacts.get(sha256)
        if size is None or self.api_url is None:
            return None
        url = f"{self.api_url.rstrip('/')}/v1/artifacts/{sha256}"
        return Artifact(sha256=sha256, size_bytes=size, url=url)

    def _plannable(self, now: float) -> list[Query]:
        """Queries whose sources are there, and of which enough is known."""
        devices = self.present_devices(now)
        return [
            query
            for query in self.queries.values()
            if self.profiler.ready(query.id)
            and not assemble.sources_missing(query, devices)
            and not assemble.tiers_missing(self.pipelines[query.pipeline], self.fleet)
        ]

    # ---- changes that go round --------------------------------------------------------------

    def present_devices(self, now: float) -> list[Device]:
        """Devices that plans may use, by id."""
        present = self.registry.present(now, self.settings.grace_s)
        return assemble.fleet_devices(present, self.fleet)

    def _capabilities(self) -> dict[str, Capabilities]:
        return {
            state.id: state.capabilities
            for state in self.registry.devices.values()
            if state.capabilities is not None
        }

    def _wishes_changed(self, now: float) -> Effects:
        """Queries, pipelines or files changed."""
        self._dirty(now)
        return self._needed(now)

    def _needed(self, now: float) -> Effects:
        """What is to be measured may have changed."""
        devices = self.present_devices(now)
        known = self._capabilities()
        wanted = needs(
            pipelines=self.pipelines,
            queries=self.queries.values(),
            placements=assemble.placements(
                fleet=self.fleet,
                devices=devices,
                pipelines=self.pipelines,
                queries=self.queries.values(),
            ),
            known=known,
            batches=self.settings.profiling.batches,
            artifacts={name: self._files(pipeline) for name, pipeline in self.pipelines.items()},
            links=assemble.link_ways(devices, self.fleet, known),
            terrain=assemble.terrain(devices, self.fleet),
        )
        classes = {device.id: device.device_class for device in devices}
        bodies = {device: self.rollout.promised(device) for device in classes}
        wanted = self.deviations.wanted(wanted, classes, bodies)
        return self._probed(self.profiler.on_needs(wanted, now), now)

    def _files(self, pipeline: Pipeline) -> tuple[Artifact, ...]:
        """Stored files that a probe of a pipeline needs: its data set, and models in knobs."""
        texts = {q.input.path for q in self.queries.values() if q.pipeline == pipeline.name}
        texts.add(pipeline.accuracy.dataset if pipeline.accuracy else None)
        for spec in pipeline.operators.values():
            for values in spec.knobs.values():
                texts.update(value for value in values if isinstance(value, str))
        hashes = sorted(t.removeprefix("sha256:") for t in texts if t and t.startswith("sha256:"))
        return tuple(file for sha256 in hashes if (file := self._artifact(sha256)))

    def _fleet_changed(self, now: float) -> Effects:
        """Devices came, went or changed."""
        self._present = [s.id for s in self.registry.present(now, self.settings.grace_s)]
        known = self._capabilities()

        def dial(a: str, b: str) -> tuple[str, Peer] | None:
            return dialler(a, b, known, self.fleet.tier_index)

        states = self.registry.devices.values()
        online = {state.id: state.boot_id for state in states if state.online}
        effects = self._wishes_changed(now)
        effects.add(self._rolled(self.rollout.on_devices(online, dial, now), now))
        return effects.add(self._offer_devices(now))

    def _offer_devices(self, now: float) -> Effects:
        """Tell the profiler whom it may ask, where that has changed."""
        if now < self._settled_at:
            return Effects()
        states = self.registry.devices.values()
        free = assemble.probe_devices(states, self.fleet, self._busy(), self.deviations.apart)
        if free == self._probing:
            return Effects()
        self._probing = free
        return self._probed(self.profiler.on_devices(free, now), now)

    def _busy(self) -> set[str]:
        return {
            step.device
            for routes in self.rollout.serving().values()
            for planned in routes
            for step in planned.route.steps
        }

    def _dirty(self, now: float) -> None:
        if self._dirty_since is None:
            self._dirty_since = now

    # ---- instructions to effects ------------------------------------------------------------

    def _probed(self, instructions: Iterable[ProbeInstruction], now: float) -> Effects:
        effects = Effects()
        if self.profiler.version != self._seen:
            self._seen = self.profiler.version
            self._dirty(now)
        for order in instructions:
            if isinstance(order, Keep):
                effects.records.append(records.measurement_record(order.key, order.summary))
                if order.summary.done and order.summary.cause:
                    text = f"{named(order.key)} given up: {order.summary.cause}"
                    effects.note("probe", named(order.key), text)
                change = self.deviations.kept(order.key, now) if order.summary.done else None
                if change is not None:
                    effects.add(self._deviates(change, now))
            else:
                effects.messages.append(command_message(order))
                if order.text:
                    effects.note("probe", order.device, order.text)
        return effects

    def _rolled(self, instructions: Iterable[RolloutInstruction], now: float) -> Effects:
        effects = Effects()
        for order in instructions:
            if isinstance(order, Publish):
                effects.records.append(records.desired_record(order.desired))
                effects.messages.append(desired_message(order))
            elif isinstance(order, Moved):
                stage = order.stage.value if order.stage else "settled"
                for query in order.queries:
                    effects.note("rollout", query, stage)
            else:
                effects.add(self._ended(order, now))
        if effects.records or effects.notes:
            effects.records.append(records.rollout_record(self.rollout.snapshot))
        return effects

    def _ended(self, order: Settled | Failed, now: float) -> Effects:
        effects = Effects()
        planned = self.planned
        if planned is None or planned.id != order.decision:
            return effects
        if isinstance(order, Failed):
            self.failed = order.cause
            effects.records.append(decided(planned, DecisionState.FAILED, order.cause))
            self._retry.failed(now)
            for query in order.queries:
                effects.note("rollout", query, f"taken back: {order.cause}")
            return effects
        self._retry.reset()
        if self.in_force and self.in_force.id != planned.id:
            effects.records.append(decided(self.in_force, DecisionState.SUPERSEDED, None))
        self.in_force = planned
        effects.records.append(decided(planned, DecisionState.ACTIVE, None))
        effects.records.append(MetaRecord(name=IN_FORCE, value=planned.id.encode()))
        effects.note("rollout", planned.id, "serving")
        return effects.add(self._needed(now))


def _not_wholly(planned: Planned) -> set[str]:
    """Queries of which some traffic was left out."""
    shares = dict.fromkeys((query.id for query in planned.scenario.queries), 0.0)
    for assignment in planned.decision.assignments:
        shares[assignment.query] += assignment.share
    return {query for query, share in shares.items() if share < _WHOLE}
