"""The facade that the agent's daemon uses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from circinus import codec
from circinus.messages import (
    InstanceReport,
    InstanceSpec,
    InstanceTelemetry,
    Route,
    RouteTelemetry,
)
from circinus_agent.dataplane.frames import Frame
from circinus_agent.runtime.folder import Input
from circinus_agent.runtime.heap import keep_freed_memory
from circinus_agent.runtime.metrics import Metrics
from circinus_agent.runtime.outcome import Failure, Outcome, ResultEvent
from circinus_agent.runtime.plan import Plan
from circinus_agent.runtime.pool import Pool
from circinus_agent.runtime.router import Router
from circinus_agent.runtime.scoring import Scorer
from circinus_agent.runtime.settings import RuntimeSettings
from circinus_agent.runtime.sinks import Sinks, event_json
from circinus_agent.runtime.sources import Sources
from circinus_agent.runtime.table import RouteTable
from circinus_agent.runtime.transport import Transport

__all__ = ["Runtime", "Transport"]

TICK_S = 1.0
DRAIN_POLL_S = 0.1


class Runtime:
    """Runs instances and routes requests through them. Made and used in the event loop.

    Args:
        transport: The data plane (`DataPlane`); give it this runtime by `attach`.
        resolve: Turns a folder reference (a path or ``sha256:...``) into a folder; called in
            a thread.
        results: Folder of the files that results go to by a relative path.
        publish: Publishes a small result of a query whose sink is MQTT: query and JSON; returns
            whether it was sent.
        on_change: Called with an instance's key after its report has changed.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        transport: Transport,
        resolve: Callable[[str], Path] = Path,
        results: Path = Path(),
        publish: Callable[[str, bytes], bool] | None = None,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        keep_freed_memory()
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(settings, self._loop, on_change)
        self._table = RouteTable(settings.device)
        self._sinks = Sinks(publish, results)
        self._sources = Sources(settings.device, resolve, self._emit)
        self._router = Router(
            settings.device,
            self._table,
            self._pool.stages,
            transport,
            self._loop,
            feed=self._feed,
            on_result=self._delivered,
        )
        self._metrics = Metrics(lambda metric: Scorer(metric, settings))
        self._refused: Counter[str] = Counter()
        self._ticker: asyncio.TimerHandle | None = None
        self._closed = False

    # ---- instances --------------------------------------------------------------------------

    async def start_instance(self, spec: InstanceSpec) -> None:
        """Start an instance; returns when it is ready.

        A spec that runs already is left alone; one that differs (in its replicas, say) is
        replaced without a gap.

        Raises:
            WorkerFailed: With the cause, if it could not be started.
        """
        await self._pool.start(spec)
        self._tick_if_needed()

    async def stop_instance(self, key: str) -> None:
        """Stop an instance; what waits for it fails with ``stopped``. Unknown keys are fine."""
        await self._pool.stop(key)
        self._tick_if_needed()

    def instance_reports(self) -> dict[str, InstanceReport]:
        """State of every instance."""
        return self._pool.reports()

    # ---- routes -----------------------------------------------------------------------------

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Take these routes and no others, at once; requests of removed ones finish.

        Call it from the event loop.
        """
        self._table.set(routes, self._loop.time())
        plans = self._table.plans()
        self._sources.set(plans)
        self._sinks.keep({plan.route.query for plan in plans})
        led = [plan.route for plan in plans if plan.route.lead == self._settings.device]
        self._metrics.set({route.input.metric for route in led if route.input.metric})
        self._tick_if_needed()

    def drained(self, plans: Iterable[str]) -> bool:
        """True once removed routes of these plans have nothing under way here any more.

        Without deadline, other devices than the lead wait for ten seconds of silence.
        """
        now = self._loop.time()
        gone = [plan for name in plans for plan in self._table.removed(name)]
        return all(self._table.quiet(p, now) and not self._router.busy(p.key) for p in gone)

    async def wait_drained(self, plans: Iterable[str], timeout_s: float) -> bool:
        """Wait for `drained`; False where `timeout_s` passed first."""
        names = list(plans)
        until = self._loop.time() + timeout_s
        while not self.drained(names):
            if self._loop.time() >= until:
                return False
            await asyncio.sleep(DRAIN_POLL_S)
        return True

    # ---- requests ---------------------------------------------------------------------------

    async def submit(
        self,
        query: str,
        inputs: bytes | Mapping[str, bytes],
        deadline_ms: float | None = None,
    ) -> Outcome:
        """Run one request of `query` through one of its active routes; it never raises.

        Args:
            inputs: The payload of the sources on this device, or one per source operator.
            deadline_ms: Overrides the route's.
        """
        plan = self._table.pick(query, refuse=True)
        if plan is None:
            return self._not_admitted(query)
        if isinstance(inputs, bytes):
            inputs = {s: inputs for s, d in plan.sources.items() if d == self._settings.device}
        answer: asyncio.Future[Outcome] = self._loop.create_future()

        def done(outcome: Outcome) -> None:
            self._ended(plan, outcome, None)
            if not answer.done():  # the client may have gone
                answer.set_result(outcome)

        self._router.start(
            plan,
            {name: codec.dumps(data) for name, data in inputs.items()},
            done,
            budget_s=None if deadline_ms is None else deadline_ms / 1e3,
            want=True,
        )
        self._tick_if_needed()
        return await answer

    def subscribe(self, query: str, callback: Callable[[ResultEvent], None]) -> Callable[[], None]:
        """Call `callback` with every result of `query` delivered or led here; returns the stop."""
        return self._sinks.subscribe(query, callback)

    def subscribe_json(self, query: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """As `subscribe`, with each result as one line of JSON."""
        return self._sinks.subscribe(query, lambda event: callback(event_json(event)))

    def on_frame(self, device: str, frame: Frame) -> None:
        """A work, done or pull frame of `device` came in."""
        self._router.on_frame(device, frame)
        self._tick_if_needed()

    def on_disconnected(self, device: str) -> None:
        """The last connection to `device` is gone."""
        self._router.on_disconnected(device)

    def _not_admitted(self, query: str) -> Outcome:
        lead = self._table.lead_of(query)
        if lead is None:
            remedy = f"`circinus explain {query}` says why"
            text = f"{query!r} was not admitted or never submitted; {remedy}"
            failure = Failure("unknown query", text)
        elif lead != self._settings.device:
            failure = Failure("unknown query", f"{query!r} starts at device {lead}: post it there")
        else:
            failure = Failure("not admitted", "its plan leaves no share for this request")
            self._refused["request not admitted"] += 1
        return Outcome(query=query, plan="", ok=False, cause=str(failure))

    def _emit(self, query: str) -> None:
        """An arrival at a folder source led here."""
        plan = self._table.pick(query, refuse=False)
        if plan is None:
            return
        inputs: dict[str, bytes] = {}
        label: bytes | None = None
        for source, device in plan.sources.items():
            if device == self._settings.device:
                taken = self._sources.take(query, source)
                if taken is not None:
                    inputs[source] = taken.payload
                    label = label if label is not None else taken.label
        scoring = label is not None and self._metrics.get(plan.route.input.metric) is not None
        want = scoring or self._sinks.has_subscribers(query)
        ended = partial(self._ended, plan, label=label if scoring else None)
        self._router.start(plan, inputs, ended, want=want)

    def _feed(self, plan: Plan, source: str) -> bytes | None:
        taken: Input | None = self._sources.take(plan.route.query, source)
        return taken.payload if taken is not None else None

    def _delivered(self, event: ResultEvent, plan: Plan) -> None:
        self._sinks.take(event, plan.route.output)

    def _ended(self, plan: Plan, outcome: Outcome, label: bytes | None) -> None:
        """A request led here has ended."""
        if not outcome.ok or outcome.payload is None:
            return
        if label is not None:
            self._score(plan, outcome.payload, label)
        route = plan.route
        elsewhere = all(plan.steps[s].device != route.lead for s in plan.sinks)
        if elsewhere and not route.deliver_source and self._sinks.has_subscribers(route.query):
            event = ResultEvent(
                query=route.query,
                plan=route.plan,
                lead=route.lead,
                request=0,
                step=",".join(sorted(plan.sinks)),
                payload=outcome.payload,
                elapsed_ms=outcome.latency_ms,
            )
            self._sinks.tell(event)

    # ---- scoring ----------------------------------------------------------------------------

    def _score(self, plan: Plan, output: bytes, label: bytes) -> None:
        scorer = self._metrics.get(plan.route.input.metric)
        counters = self._table.counters(plan)

        def count(score: float) -> None:
            counters.scored += 1
            counters.score_sum += score

        if scorer is not None:
            scorer.score(output, label, count)

    # ---- telemetry --------------------------------------------------------------------------

    def route_telemetry(self) -> list[RouteTelemetry]:
        """Counters of every route led here, also of those gone lately; cumulative."""
        return self._table.telemetry()

    def instance_telemetry(self) -> list[InstanceTelemetry]:
        """Counters of every instance, also of those gone lately; cumulative."""
        return self._pool.telemetry()

    def dropped(self) -> dict[str, int]:
        """What was dropped, by cause: frames of unknown plans, lines of operators' output."""
        counts = self._router.dropped + self._sinks.dropped + self._refused
        lines = self._pool.dropped_lines
        return {**counts, **({"printed lines": lines} if lines else {})}

    def troubles(self) -> dict[str, str]:
        """Why the source or the sink of a query does not work here now; by query."""
        found = self._sources.troubles()
        for query, text in self._sinks.troubles(self._loop.time()).items():
            found[query] = f"{found[query]}; {text}" if query in found else text
        return found

    # ---- life -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop sources, instances and sinks."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        await self._sources.close()
        await self._metrics.close()
        await self._pool.close()
        await self._sinks.close()

    def _tick_if_needed(self) -> None:
        """Look after waiting requests and old counters, while there may be any."""
        if self._ticker is None and not self._closed:
            self._ticker = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        self._router.expire()
        now = self._loop.time()
        remembered = [self._table.forget(now), self._pool.forget(now)]
        if self._table.plans() or self._router.under_way or any(remembered):
            self._tick_if_needed()
