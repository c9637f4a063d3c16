"""The core's state as views."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from circinus.decision import Assignment, Rejection
from circinus.messages import Route
from circinus.query import Query
from circinus.scenario import Submission, encode_submission
from circinus_coordinator.daemon import assemble
from circinus_coordinator.daemon.core import Core
from circinus_coordinator.daemon.state import Planned
from circinus_coordinator.daemon.translate import unlike
from circinus_coordinator.daemon.troubles import troubles
from circinus_coordinator.daemon.views import (
    AssignmentView,
    DeviceView,
    Measurement,
    PlanView,
    ProbeProgress,
    Progress,
    Promised,
    QueryState,
    QueryView,
    StepView,
)
from circinus_coordinator.fleet import DeviceState, Measured, Stage, plan_id

__all__ = ["devices", "measurements", "plans", "progress", "queries"]


def devices(core: Core, now: float) -> list[DeviceView]:
    """All devices, by id."""
    return [_device(core, state, now) for state in core.registry.devices.values()]


def _device(core: Core, state: DeviceState, now: float) -> DeviceView:
    capabilities = state.capabilities
    reported = core.rollout.reported(state.id)
    telemetry = core.monitor.last(state.id)
    factor = core.deviations.apart.get(state.id)
    emulation = capabilities.emulation if capabilities else None
    return DeviceView(
        id=state.id,
        device_class=capabilities.device_class if capabilities else None,
        tier=capabilities.tier if capabilities else None,
        online=state.online,
        silent_s=None if state.heard_s is None else now - state.heard_s,
        plannable=assemble.why_not_plannable(capabilities, core.fleet),
        emulated=emulation is not None,
        capabilities=capabilities,
        reported=reported,
        desired_version=core.rollout.version(state.id),
        rollout=reported.phase if reported else None,
        cpu_percent=telemetry.cpu_percent if telemetry else None,
        memory_mb=telemetry.memory_mb if telemetry else None,
        temperature_c=telemetry.temperature_c if telemetry else None,
        queued={i.key: i.queued for i in telemetry.instances} if telemetry else {},
        links=list(telemetry.links) if telemetry else [],
        dropped=dict(telemetry.dropped) if telemetry else {},
        warning=state.warning(now) or (unlike(factor) if factor else None),
    )


def queries(core: Core, now: float, window_s: float) -> list[QueryView]:
    """All queries, by id."""
    return [_query(core, query, now, window_s) for _, query in sorted(core.queries.items())]


def _query(core: Core, query: Query, now: float, window_s: float) -> QueryView:
    serving = core.rollout.serving().get(query.id, ())
    planned = _relevant(core, query.id)
    assignments = _assignments(planned, query.id) if planned else []
    rejection = _rejection(planned, query.id) if planned else None
    state, reason = _state(core, query, now, bool(serving), bool(assignments))
    turned_away = state is QueryState.REJECTED or (bool(assignments) and reason is None)
    if turned_away and rejection is not None:
        reason = rejection.reason
    return QueryView(
        id=query.id,
        state=state,
        query=_document(query, core),
        share=sum(a.share for a in assignments),
        assignments=assignments,
        reason=reason,
        binding=rejection.binding if turned_away and rejection else None,
        relaxation=rejection.relaxation if turned_away and rejection else None,
        lead=query.source[core.pipelines[query.pipeline].sources[0]],
        measured=_measured(core, query, now, window_s) if serving else None,
    )


def _state(
    core: Core, query: Query, now: float, serving: bool, assigned: bool
) -> tuple[QueryState, str | None]:
    """Where a query stands; what serves is never shown as waiting for something."""
    stage = core.rollout.stage(query.id)
    failed = core.rollout.failed(query.id)
    if stage is not None and assigned:
        waiting = core.rollout.waiting_for(query.id)
        absent = [device for device in waiting if not core.registry.is_online(device)]
        if stage is Stage.PREPARE and absent and not serving:
            return QueryState.ADMITTED, f"waits for {', '.join(absent)}"
        if not serving or stage is not Stage.DRAIN:
            return QueryState.ROLLING_OUT, None
    if serving:
        wrong = troubles(core, query.id, now)
        state = QueryState.IMPAIRED if wrong else QueryState.SERVING
        if failed:
            wrong.append(f"a newer plan failed: {failed}")
        return state, "; ".join(wrong) or None
    return _idle(core, query, now, failed)


def _idle(
    core: Core, query: Query, now: float, failed: str | None
) -> tuple[QueryState, str | None]:
    unknown = assemble.tiers_missing(core.pipelines[query.pipeline], core.fleet)
    if unknown:
        return QueryState.WAITING, f"tier {', '.join(unknown)} is not in the fleet file"
    missing = assemble.sources_missing(query, core.present_devices(now))
    if missing:
        return QueryState.WAITING, f"device {', '.join(missing)} is not there"
    blocked = core.profiler.needs.blocked.get(query.id)
    if blocked:
        return QueryState.WAITING, blocked
    left = core.profiler.missing(query.id)
    if left:
        return QueryState.PROFILING, f"{len(left)} measurements to go"
    if core.planned is None or not _same(core, core.planned, query):
        return QueryState.PLANNING, None
    if failed:
        return QueryState.FAILED, failed
    if _rejection(core.planned, query.id):
        return QueryState.REJECTED, None
    return QueryState.PLANNING, None


def _same(core: Core, planned: Planned, query: Query) -> bool:
    """The query was planned as it is now."""
    return any(q == query for q in planned.scenario.queries) and (
        planned.scenario.pipelines.get(query.pipeline) == core.pipelines[query.pipeline]
    )


def _ids(planned: Planned) -> set[str]:
    return {query.id for query in planned.scenario.queries}


def _relevant(core: Core, query: str) -> Planned | None:
    """The decision a query's routes come from: the one in force if the last one failed it."""
    planned = core.in_force if core.rollout.failed(query) else core.planned
    return planned if planned and query in _ids(planned) else None


def _rejection(planned: Planned, query: str) -> Rejection | None:
    return next((r for r in planned.decision.rejected if r.query == query), None)


def _document(query: Query, core: Core) -> dict[str, object]:
    alone = Submission(pipelines={query.pipeline: core.pipelines[query.pipeline]}, queries=(query,))
    document: dict[str, object] = msgspec.json.decode(encode_submission(alone))["queries"][0]
    return document


def _assignments(planned: Planned, query: str) -> list[AssignmentView]:
    return [
        _assignment(planned, assignment)
        for assignment in planned.decision.assignments
        if assignment.query == query and assignment.share > 0
    ]


def _assignment(planned: Planned, assignment: Assignment) -> AssignmentView:
    query = next(q for q in planned.scenario.queries if q.id == assignment.query)
    pipeline = planned.scenario.pipelines[query.pipeline]
    return AssignmentView(
        plan_id=plan_id(query.id, pipeline, assignment.plan),
        share=assignment.share,
        plan={
            name: StepView(
                device=step.device,
                config=dict(step.config),
                batch=step.batch,
                replicas=step.replicas,
            )
            for name, step in assignment.plan.items()
        },
        promised=Promised(
            latency_ms=assignment.estimate.latency_ms,
            accuracy=assignment.estimate.accuracy,
            cost_usd_per_1000=assignment.estimate.cost_usd_per_1000,
        ),
    )


def plans(core: Core) -> list[PlanView]:
    """Assignments of the decision that is served or rolled out, by query."""
    found = []
    for planned, assignment in _all_assignments(core):
        if assignment.share <= 0 or _relevant(core, assignment.query) is not planned:
            continue
        stage = core.rollout.stage(assignment.query)
        found.append(
            PlanView(
                query=assignment.query,
                phase=stage.value if stage else "serving",
                assignment=_assignment(planned, assignment),
            )
        )
    return sorted(found, key=lambda view: (view.query, view.assignment.plan_id))


def _all_assignments(core: Core) -> list[tuple[Planned, Assignment]]:
    """Of the decision in force and of one that is rolled out, if that is another."""
    decisions = {p.id: p for p in (core.in_force, core.planned) if p is not None}
    return [(p, assignment) for p in decisions.values() for assignment in p.decision.assignments]


def measurements(core: Core, now: float, window_s: float) -> list[Measurement]:
    """Measured against promised, of every query that was given a plan."""
    found = []
    for name, query in sorted(core.queries.items()):
        planned = _relevant(core, name)
        views = _assignments(planned, name) if planned else []
        by_plan = {
            plan: _measured(core, query, now, window_s, plan) for plan in core.monitor.plans(name)
        }
        if views or by_plan:
            found.append(
                Measurement(
                    query=name,
                    promised=_promised(views),
                    measured=_measured(core, query, now, window_s),
                    plans=by_plan,
                )
            )
    return found


def _promised(views: list[AssignmentView]) -> Promised | None:
    """Of several plans: the latency of the slowest, the rest weighted by share."""
    share = sum(view.share for view in views)
    if not share:
        return None
    known = [(v.share, v.promised.accuracy) for v in views if v.promised.accuracy is not None]
    complete = len(known) == len(views)
    return Promised(
        latency_ms=max(view.promised.latency_ms for view in views),
        accuracy=sum(s * accuracy for s, accuracy in known) / share if complete else None,
        cost_usd_per_1000=sum(v.share * v.promised.cost_usd_per_1000 for v in views) / share,
    )


def _measured(
    core: Core, query: Query, now: float, window_s: float, plan: str | None = None
) -> Measured:
    planned = core.planned or core.in_force
    if planned is None:
        return Measured()
    return core.monitor.measured(
        query.id,
        query.slo,
        now=now,
        window_s=window_s,
        routes=_routes(core).get(query.id, ()),
        scenario=planned.scenario,
        plan=plan,
    )


def _routes(core: Core) -> Mapping[str, list[Route]]:
    snapshot = core.rollout.snapshot
    found: dict[str, list[Route]] = {}
    for table in (snapshot.goal, snapshot.good):
        for query, routes in table.items():
            found.setdefault(query, []).extend(planned.route for planned in routes)
    return found


def progress(core: Core) -> Progress:
    """How far profiling is."""
    done, total, rows = core.profiler.progress()
    return Progress(
        done=done,
        total=total,
        possible=len(core.profiler.needs.keys),
        device_s=core.profiler.spending.device_s,
        devices=[
            ProbeProgress(device=r.device, done=r.done, total=r.total, running=r.running)
            for r in rows
        ],
    )
