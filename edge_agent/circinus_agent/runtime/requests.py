"""A request at its lead, and the counters of a route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from circinus import codec
from circinus.histogram import Histogram
from circinus.messages import RouteTelemetry
from circinus_agent.runtime.outcome import Failure, Outcome, Trace
from circinus_agent.runtime.plan import Plan

__all__ = ["Branch", "Counters", "Request"]


@dataclass(frozen=True, slots=True)
class Branch:
    """What travels along with a request's outputs.

    Attributes:
        number: Of the request, at its lead.
        deadline: Loop time of this device.
        budget_s: From the request's start to its deadline.
        want: The lead wants the result's payload.
        trace: Of this branch, so far.
    """

    plan: Plan
    number: int
    deadline: float
    budget_s: float
    want: bool
    trace: Trace = field(default_factory=Trace)

    @property
    def key(self) -> tuple[str, str, int]:
        """Identity of the request on this device."""
        return (*self.plan.key, self.number)


@dataclass(slots=True)
class Counters:
    """What a route did, led here."""

    submitted: int = 0
    completed: int = 0
    within_latency: int = 0
    shed: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    scored: int = 0
    score_sum: float = 0.0
    price_usd: float = 0.0
    network_bytes: dict[str, float] = field(default_factory=dict)

    def count(self, outcome: Outcome, deadline_ms: float | None) -> None:
        """Count a request that has ended."""
        self.price_usd += sum(span.usd for span in outcome.trace.spans)
        for hop in outcome.trace.hops:
            self.network_bytes[hop.link] = self.network_bytes.get(hop.link, 0.0) + hop.size_bytes
        if outcome.ok:
            self.completed += 1
            self.latency.add(outcome.latency_ms)
            self.within_latency += deadline_ms is None or outcome.latency_ms <= deadline_ms
            return
        kind = (outcome.cause or "").partition(": ")[0]
        if kind == "shed":
            self.shed += 1
        else:
            self.failed[kind] = self.failed.get(kind, 0) + 1

    def telemetry(self, query: str, plan: str) -> RouteTelemetry:
        """The counters as a message."""
        return RouteTelemetry(
            query=query,
            plan=plan,
            submitted=self.submitted,
            completed=self.completed,
            within_latency=self.within_latency,
            shed=self.shed,
            failed=dict(self.failed),
            latency=dict(self.latency.counts),
            scored=self.scored,
            score_sum=self.score_sum,
            price_usd=self.price_usd,
            network_bytes=dict(self.network_bytes),
        )


class Request:
    """A request under way, at its lead; it ends once.

    Args:
        started, expires: Loop time.
    """

    __slots__ = ("_latency_s", "_payloads", "_pending", "branch", "done", "expires", "started",
                 "trace")  # fmt: skip

    def __init__(
        self, branch: Branch, started: float, expires: float, done: Callable[[Outcome], None]
    ) -> None:
        self.branch = branch
        self.started = started
        self.expires = expires
        self.done = done
        self.trace = branch.trace
        self._pending = set(branch.plan.sinks)
        self._payloads: dict[str, bytes] = {}
        self._latency_s = 0.0

    def sink_done(
        self, step: str, delivered: float, payload: bytes | None, trace: Trace
    ) -> Outcome | None:
        """A last step is done, its result delivered at that loop time; the end, if it is one."""
        self._pending.discard(step)
        if payload is not None:
            self._payloads[step] = payload
        self.trace = self.trace.merged(trace)
        self._latency_s = max(self._latency_s, delivered - self.started)
        if self._pending:
            return None
        return self._outcome(ok=True, payload=self._result())

    def failed(self, failure: Failure, now: float, trace: Trace | None = None) -> Outcome:
        """The request ends without a result."""
        self._latency_s = now - self.started
        if trace is not None:
            self.trace = self.trace.merged(trace)
        return self._outcome(ok=False, cause=str(failure))

    def _result(self) -> bytes | None:
        """The last step's output; of several a map by name."""
        sinks = self.branch.plan.sinks
        if len(self._payloads) < len(sinks):
            return None
        if len(sinks) == 1:
            return next(iter(self._payloads.values()))
        return codec.join(self._payloads)

    def _outcome(
        self, *, ok: bool, cause: str | None = None, payload: bytes | None = None
    ) -> Outcome:
        query, plan = self.branch.plan.key
        return Outcome(
            query=query,
            plan=plan,
            ok=ok,
            cause=cause,
            payload=payload,
            latency_ms=self._latency_s * 1e3,
            trace=self.trace,
        )
