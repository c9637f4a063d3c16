"""Requests on their way through the steps of a route, over this and other devices.

Everything here happens in callbacks of the event loop, without a task per request: an output
comes from a child's pipe and is on its way to the next step before the call returns.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from circinus_agent.dataplane.frames import Frame, Hop, Kind, Span
from circinus_agent.runtime.outcome import Failure, Outcome, ResultEvent, Trace, parse_failure
from circinus_agent.runtime.plan import Plan, Targets
from circinus_agent.runtime.requests import Branch, Request
from circinus_agent.runtime.results import Payload
from circinus_agent.runtime.stage import Completed, Loop, Stage, Work
from circinus_agent.runtime.table import RouteTable
from circinus_agent.runtime.transport import Transport

__all__ = ["Router"]

# A late result still says how late; beyond this nobody waits for it.
EXPIRY_GRACE_S = 5.0


@dataclass(slots=True)
class _Join:
    """Outputs that wait for their siblings."""

    branch: Branch
    expires: float
    parts: dict[str, bytes]


class Router:
    """Moves requests on: starts them where it leads, takes part elsewhere.

    Args:
        table: The routes.
        stages: By instance key.
        feed: The next input of a source operator here; None where there is none.
        on_result: Called with every result that is delivered here.
    """

    def __init__(
        self,
        device: str,
        table: RouteTable,
        stages: Mapping[str, Stage],
        transport: Transport,
        loop: Loop,
        *,
        feed: Callable[[Plan, str], bytes | None],
        on_result: Callable[[ResultEvent, Plan], None],
    ) -> None:
        self.device = device
        self.dropped: Counter[str] = Counter()
        self._table = table
        self._stages = stages
        self._transport = transport
        self._loop = loop
        self._feed = feed
        self._on_result = on_result
        self._requests: dict[tuple[str, str, int], Request] = {}
        self._joins: dict[tuple[str, str, int, str], _Join] = {}
        self._working: Counter[tuple[str, str]] = Counter()
        # Late frames of requests from before a restart must not meet new ones.
        self._number = random.getrandbits(40) << 10

    # ---- at the lead ------------------------------------------------------------------------

    def start(
        self,
        plan: Plan,
        inputs: Mapping[str, bytes],
        done: Callable[[Outcome], None],
        *,
        budget_s: float | None = None,
        want: bool = False,
    ) -> None:
        """Start a request; `done` is called exactly once, maybe before this returns.

        Args:
            inputs: Encoded input of each source operator; those that are missing are pulled
                from the devices where they start.
        """
        now = self._loop.time()
        budget_s = plan.budget_s if budget_s is None else budget_s
        self._number += 1
        branch = Branch(plan, self._number, now + budget_s, budget_s, want)
        request = Request(branch, now, branch.deadline + EXPIRY_GRACE_S, done)
        self._requests[branch.key] = request
        self._table.counters(plan).submitted += 1
        for source, device in plan.sources.items():
            if branch.key not in self._requests:
                return  # failed already
            payload = inputs.get(source)
            if payload is not None:
                self._deliver(branch, "", payload, plan.entry(source))
            elif device == self.device:
                self._pulled(branch, source)
            elif not self._transport.send(device, self._frame(Kind.PULL, branch, steps=(source,))):
                self._fail(branch, Failure("link", f"no connection to {device}"))

    def _finish(self, request: Request, outcome: Outcome) -> None:
        plan = request.branch.plan
        del self._requests[request.branch.key]
        self._table.counters(plan).count(outcome, plan.route.deadline_ms)
        request.done(outcome)

    # ---- from other devices -----------------------------------------------------------------

    def on_frame(self, device: str, frame: Frame) -> None:
        """A work, done or pull frame came in."""
        plan = self._table.touch((frame.query, frame.plan), self._loop.time())
        if plan is None or device not in plan.devices:
            self.dropped["frame of an unknown plan"] += 1
            return
        if frame.kind is Kind.DONE:
            self._done_frame(device, plan, frame)
            return
        if not all(self._is_here(plan, step, frame.kind) for step in frame.steps):
            self.dropped["frame for a step elsewhere"] += 1
            return
        if frame.kind is Kind.WORK and not self._is_awaited(plan, frame):
            self.dropped["frame of an unknown producer"] += 1
            return
        transit_ms = self._transport.transit_ms(device, len(frame.payload))
        deadline = self._loop.time() + (frame.remaining_ms - transit_ms) / 1e3
        trace = Trace(spans=frame.spans, hops=frame.hops)
        branch = Branch(plan, frame.request, deadline, frame.budget_ms / 1e3, frame.want, trace)
        for step in frame.steps:
            if frame.kind is Kind.PULL:
                self._pulled(branch, step)
            else:
                self._arrive(branch, step, frame.producer, frame.payload)

    def _is_here(self, plan: Plan, step: str, kind: Kind) -> bool:
        if kind is Kind.PULL:
            return plan.sources.get(step) == self.device
        return step in plan.steps and plan.steps[step].device == self.device

    def _is_awaited(self, plan: Plan, frame: Frame) -> bool:
        """Whether its output is one of those that its steps join; others join nothing."""
        needs = [plan.steps[step].needs for step in frame.steps]
        return all(len(n) <= 1 or frame.producer in n for n in needs)

    def _done_frame(self, device: str, plan: Plan, frame: Frame) -> None:
        request = self._requests.get((*plan.key, frame.request))
        if request is None:
            self.dropped["late result"] += 1
            return
        now = self._loop.time()
        trace = Trace(spans=frame.spans, hops=frame.hops)
        if not frame.ok:
            self._finish(request, request.failed(parse_failure(frame.cause), now, trace))
            return
        payload = frame.payload or None
        if plan.route.deliver_source:
            self._event(request.branch, frame.producer, frame.payload)
        else:
            now -= self._transport.transit_ms(device, len(frame.payload)) / 1e3
        outcome = request.sink_done(frame.producer, now, payload, trace)
        if outcome is not None:
            self._finish(request, outcome)

    def on_disconnected(self, device: str) -> None:
        """Requests that lead to `device` directly will not be answered."""
        now = self._loop.time()
        for request in [r for r in self._requests.values() if device in r.branch.plan.devices]:
            if request.branch.key in self._requests:
                failure = Failure("link", f"lost the connection to {device}")
                self._finish(request, request.failed(failure, now))

    # ---- steps ------------------------------------------------------------------------------

    def _pulled(self, branch: Branch, source: str) -> None:
        payload = self._feed(branch.plan, source)
        if payload is None:
            self._fail(branch, Failure("no input", f"for {source} at {self.device}"))
        else:
            self._deliver(branch, "", payload, branch.plan.entry(source))

    def _deliver(self, branch: Branch, producer: str, payload: bytes, targets: Targets) -> None:
        """Hand an output to the steps that take it."""
        for device, steps in targets:
            if device == self.device:
                for step in steps:
                    self._arrive(branch, step, producer, payload)
                continue
            hop = Hop(producer, f"{self.device}>{device}", len(payload))
            sent = replace(branch, trace=branch.trace.merged(Trace(hops=(hop,))))
            frame = self._frame(Kind.WORK, sent, producer=producer, steps=steps, payload=payload)
            if not self._transport.send(device, frame):
                self._fail(branch, Failure("link", f"no connection to {device}"))

    def _arrive(self, branch: Branch, name: str, producer: str, payload: bytes) -> None:
        needs = branch.plan.steps[name].needs
        if len(needs) <= 1:
            self._work(branch, name, payload)
            return
        key = (*branch.key, name)
        join = self._joins.get(key)
        if join is None:
            expires = branch.deadline + EXPIRY_GRACE_S
            join = self._joins[key] = _Join(branch, expires, {})
        else:
            join.branch = replace(
                join.branch,
                deadline=min(join.branch.deadline, branch.deadline),
                trace=join.branch.trace.merged(branch.trace),
            )
        join.parts[producer] = payload
        if len(join.parts) == len(needs):
            del self._joins[key]
            self._work(join.branch, name, {need: join.parts[need] for need in needs})

    def _work(self, branch: Branch, name: str, payload: Payload) -> None:
        step = branch.plan.steps[name]
        stage = self._stages.get(step.instance)
        if stage is None:
            self._fail(branch, Failure("down", f"{name}: no instance {step.instance}"))
            return
        key = branch.plan.key
        self._working[key] += 1

        def done(result: Completed | Failure) -> None:
            self._working[key] -= 1
            if not self._working[key]:
                del self._working[key]
            self._step_done(branch, name, result)

        stage.submit(Work(payload, branch.deadline, done))

    def _step_done(self, branch: Branch, name: str, result: Completed | Failure) -> None:
        if isinstance(result, Failure):
            detail = f"{name}: {result.detail}" if result.detail else name
            self._fail(branch, Failure(result.kind, detail))
            return
        span = Span(
            name, self.device, round(result.wait_ms, 3), round(result.service_ms, 3),
            result.batch, result.usd,
        )  # fmt: skip
        branch = replace(branch, trace=branch.trace.merged(Trace(spans=(span,))))
        if name in branch.plan.sinks:
            self._sink(branch, name, result.payload)
        else:
            self._deliver(branch, name, result.payload, branch.plan.targets(name))

    # ---- ends -------------------------------------------------------------------------------

    def _sink(self, branch: Branch, name: str, payload: bytes) -> None:
        """A last step is done here: deliver its result and tell the lead."""
        route = branch.plan.route
        home = route.lead == self.device
        if home or not route.deliver_source:
            self._event(branch, name, payload)
        if home:
            request = self._requests.get(branch.key)
            if request is not None:
                outcome = request.sink_done(name, self._loop.time(), payload, branch.trace)
                if outcome is not None:
                    self._finish(request, outcome)
            return
        carried = payload if branch.want or route.deliver_source else b""
        if route.deliver_source:
            hop = Hop(name, f"{self.device}>{route.lead}", len(payload))
            branch = replace(branch, trace=branch.trace.merged(Trace(hops=(hop,))))
        frame = self._frame(Kind.DONE, branch, producer=name, payload=carried)
        if not self._transport.send(route.lead, frame):
            self.dropped["result without connection"] += 1

    def _event(self, branch: Branch, step: str, payload: bytes) -> None:
        route = branch.plan.route
        elapsed_s = branch.budget_s - (branch.deadline - self._loop.time())
        event = ResultEvent(
            query=route.query,
            plan=route.plan,
            lead=route.lead,
            request=branch.number,
            step=step,
            payload=payload,
            elapsed_ms=elapsed_s * 1e3,
        )
        self._on_result(event, branch.plan)

    def _fail(self, branch: Branch, failure: Failure) -> None:
        lead = branch.plan.route.lead
        if lead == self.device:
            request = self._requests.get(branch.key)
            if request is not None:
                self._finish(request, request.failed(failure, self._loop.time(), branch.trace))
            return
        frame = self._frame(Kind.DONE, branch, ok=False, cause=str(failure))
        if not self._transport.send(lead, frame):
            self.dropped["result without connection"] += 1

    def _frame(self, kind: Kind, branch: Branch, **fields: Any) -> Frame:
        query, plan = branch.plan.key
        return Frame(
            kind=kind,
            query=query,
            plan=plan,
            request=branch.number,
            budget_ms=branch.budget_s * 1e3,
            remaining_ms=(branch.deadline - self._loop.time()) * 1e3,
            want=branch.want,
            spans=branch.trace.spans,
            hops=branch.trace.hops,
            **fields,
        )

    # ---- time -------------------------------------------------------------------------------

    def expire(self) -> None:
        """End what waited too long; to be called about every second."""
        now = self._loop.time()
        for request in [r for r in self._requests.values() if r.expires <= now]:
            if request.branch.key in self._requests:
                failure = Failure("expired", "no result came back")
                self._finish(request, request.failed(failure, now))
        for key in [k for k, join in self._joins.items() if join.expires <= now]:
            del self._joins[key]

    def busy(self, key: tuple[str, str]) -> bool:
        """Whether requests of this query and plan are under way here."""
        return (
            self._working[key] > 0
            or any(k[:2] == key for k in self._requests)
            or any(k[:2] == key for k in self._joins)
        )

    @property
    def under_way(self) -> int:
        """Requests led here that have not ended."""
        return len(self._requests)
