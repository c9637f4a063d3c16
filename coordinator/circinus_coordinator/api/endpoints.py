"""What the API answers: one handler each, listed once for routing and for the OpenAPI document."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from circinus import __version__
from circinus.decision import encode_decision
from circinus.errors import InvalidInput, NoData
from circinus.scenario import Submission, decode_submission, encode_submission
from circinus_coordinator.api.errors import TooLarge, json_response
from circinus_coordinator.daemon import (
    ArtifactInfo,
    Change,
    Coordinator,
    DeviceView,
    PlanView,
    ProfileFilter,
    ProfilesView,
    Progress,
    Promised,
    QueryView,
)

__all__ = [
    "COORDINATOR",
    "ENDPOINTS",
    "MAX_ARTIFACT_BYTES",
    "MAX_SUBMISSION_BYTES",
    "MAX_YAML_BYTES",
    "READING",
    "Endpoint",
    "QueryRow",
]

COORDINATOR = web.AppKey("coordinator", Coordinator)
# Held while a submission is read: many at a time would take the threads the store writes in.
READING = web.AppKey("reading", asyncio.Lock)

# A packed data set of some thousand pictures; models come with their operators.
MAX_ARTIFACT_BYTES = 512 << 20
# 10,000 queries are some 3 MB.
MAX_SUBMISSION_BYTES = 16 << 20
# The YAML reader is Python all through: a megabyte takes it many seconds.
MAX_YAML_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16
# So that proxies keep the event stream open and clients notice a dead one.
HEARTBEAT_S = 15.0
_SHA256 = re.compile(r"[0-9a-f]{64}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRow(QueryView):
    """A query with what its plans promise together and what was measured of it."""

    promised: Promised | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """All devices ever seen."""

    devices: list[DeviceView]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """All submitted queries, by id."""

    queries: list[QueryRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The assignments of the decision in force."""

    plans: list[PlanView]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What was taken in, or would be."""

    queries: list[str]
    pipelines: list[str]
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The query that was withdrawn."""

    withdrawn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The coordinator is up."""

    status: str
    version: str
    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row of the API.

    Attributes:
        answer: The type of the JSON answer, or its media type where it is no JSON of ours.
        body: The media types of the request's body.
        query: Its query parameters, with what they mean.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    answer: Any
    status: int = 200
    body: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)


# ---- reading ------------------------------------------------------------------------------


async def _devices(request: web.Request) -> web.Response:
    return json_response(Devices(devices=request.app[COORDINATOR].devices()))


async def _queries(request: web.Request) -> web.Response:
    return json_response(Queries(queries=_rows(request)))


async def _query(request: web.Request) -> web.Response:
    wanted = request.match_info["id"]
    for row in _rows(request):
        if row.id == wanted:
            return json_response(row)
    raise NoData(f"there is no query {wanted!r}: it was not submitted")


def _rows(request: web.Request) -> list[QueryRow]:
    coordinator = request.app[COORDINATOR]
    found = {m.query: m for m in coordinator.measurements(window_s=_window(request))}
    rows = []
    for view in coordinator.queries():
        values = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
        measurement = found.get(view.id)
        if measurement is not None:
            values["measured"] = measurement.measured
        rows.append(QueryRow(**values, promised=measurement.promised if measurement else None))
    return rows


def _window(request: web.Request) -> float | None:
    text = request.query.get("window_s")
    if text is None:
        return None
    try:
        window = float(text)
    except ValueError:
        window = 0.0
    if not 0 < window < float("inf"):
        raise InvalidInput(f"{text!r} is no number of seconds above 0", key="window_s")
    return window


async def _pipelines(request: web.Request) -> web.Response:
    there = Submission(pipelines=request.app[COORDINATOR].pipelines())
    return web.Response(body=encode_submission(there), content_type="application/json")


async def _plans(request: web.Request) -> web.Response:
    return json_response(Plans(plans=request.app[COORDINATOR].plans()))


async def _profiles(request: web.Request) -> web.Response:
    wanted = ProfileFilter(**{name: request.query.get(name) for name in _PROFILES})
    return json_response(await request.app[COORDINATOR].profiles(wanted))


async def _scenario(request: web.Request) -> web.Response:
    # The bytes the live planner was given, so that `circinus plan` sees the same.
    document = request.app[COORDINATOR].scenario_document()
    if document is None:
        raise NoData("there is no scenario: nothing has been planned yet")
    return web.Response(body=document, content_type="application/json")


async def _decision(request: web.Request) -> web.Response:
    decision = request.app[COORDINATOR].decision()
    if decision is None:
        raise NoData("there is no decision: nothing has been planned yet")
    return web.Response(body=encode_decision(decision), content_type="application/json")


async def _progress(request: web.Request) -> web.Response:
    return json_response(request.app[COORDINATOR].progress())


async def _explain(request: web.Request) -> web.Response:
    return json_response(await request.app[COORDINATOR].explain(request.match_info["id"]))


async def _health(request: web.Request) -> web.Response:
    store = request.app[COORDINATOR].store_id
    return json_response(Health(status="ok", version=__version__, store=store))


# ---- changing -----------------------------------------------------------------------------


async def _submit(request: web.Request) -> web.Response:
    dry_run = request.query.get("dry_run", "0").lower() not in ("0", "false", "no")
    data = b"".join([chunk async for chunk in _limited(request, MAX_SUBMISSION_BYTES)])
    coordinator = request.app[COORDINATOR]
    if len(data) > MAX_YAML_BYTES and data.lstrip()[:1] != b"{":
        raise TooLarge(
            f"{len(data)} bytes are too many for YAML",
            remedy=f"at most {MAX_YAML_BYTES} bytes, or send it as JSON",
        )
    async with request.app[READING]:
        # A query on a pipeline that is there already need not bring it again.
        known = coordinator.pipelines().get
        submission = await asyncio.to_thread(
            decode_submission, data, name="submission", known=known
        )
    if not submission.queries and not submission.pipelines:
        raise InvalidInput("has neither pipelines nor queries", file="submission")
    if dry_run:
        _check(coordinator, submission)
        ids = [query.id for query in submission.queries]
    else:
        ids = await coordinator.submit(submission)
    accepted = Accepted(queries=ids, pipelines=list(submission.pipelines), dry_run=dry_run)
    return json_response(accepted, status=200 if dry_run else 202)


def _check(coordinator: Coordinator, submission: Submission) -> None:
    """What `submit` would refuse, as far as the scenario in force tells."""
    scenario = coordinator.scenario()
    if scenario is None:
        return
    try:
        dataclasses.replace(
            scenario,
            pipelines=submission.pipelines,
            profiles=(),
            accuracy=(),
            queries=submission.queries,
        )
    except InvalidInput as error:
        raise error.within(file="submission") from None


async def _withdraw(request: web.Request) -> web.Response:
    await request.app[COORDINATOR].withdraw(request.match_info["id"])
    return json_response(Withdrawn(withdrawn=request.match_info["id"]))


async def _put_artifact(request: web.Request) -> web.Response:
    expected = request.match_info.get("sha256")
    if expected is not None:
        _checked(expected)
    info = await request.app[COORDINATOR].put_artifact(
        _limited(request, MAX_ARTIFACT_BYTES), max_bytes=MAX_ARTIFACT_BYTES
    )
    if expected is not None and info.sha256 != expected:
        raise InvalidInput(
            f"the content has sha256 {info.sha256}", key=expected, remedy="send it again"
        )
    return json_response(info, status=201)


async def _get_artifact(request: web.Request) -> web.StreamResponse:
    sha256 = _checked(request.match_info["sha256"])
    path = request.app[COORDINATOR].artifact(sha256)
    if path is None:
        raise NoData(f"there is no artifact {sha256}")
    # It never changes under its name.
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{sha256}"'}
    return web.FileResponse(path, chunk_size=CHUNK_BYTES, headers=headers)


def _checked(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"{sha256[:80]!r} is no sha256", remedy="64 hexadecimal digits")
    return sha256


async def _limited(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The request's body, as it comes, up to `limit` bytes."""
    size = request.content_length or 0
    received = 0
    remedy = f"at most {limit} bytes"
    if size > limit:
        raise TooLarge(f"{size} bytes are too many", remedy=remedy)
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        received += len(chunk)
        if received > limit:
            raise TooLarge("too many bytes", remedy=remedy)
        yield chunk


# ---- following ----------------------------------------------------------------------------


async def _events(request: web.Request) -> web.StreamResponse:
    """Server-sent events; ``Last-Event-ID`` (or ``after``) resumes from the log."""
    coordinator = request.app[COORDINATOR]
    after = _after(request)
    changes = coordinator.subscribe()  # before the log is read, so that none falls in between
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    try:
        await response.prepare(request)
        last = -1
        if after is not None:
            while page := await coordinator.events(after=max(after, last)):
                for change in page:
                    last = change.seq
                    await response.write(_event(change))
        await response.write(b": connected\n\n")
        async with contextlib.aclosing(_with_heartbeat(changes, response)) as following:
            async for change in following:
                if change.seq > last:
                    await response.write(_event(change))
    except ConnectionError:
        pass  # whoever watched is gone: the usual end of it
    finally:
        with contextlib.suppress(RuntimeError):
            await changes.aclose()  # type: ignore[attr-defined]  # an async generator
    return response


async def _with_heartbeat(
    changes: AsyncIterator[Change], response: web.StreamResponse
) -> AsyncGenerator[Change, None]:
    """The changes, with a comment whenever nothing happened for a while."""
    pending: asyncio.Task[Change] | None = None
    try:
        while True:
            if pending is None:
                pending = asyncio.create_task(_next(changes), name="next-change")
            done, _ = await asyncio.wait({pending}, timeout=HEARTBEAT_S)
            if not done:
                await response.write(b": still here\n\n")
                continue
            try:
                change = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            yield change
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.wait({pending})


async def _next(changes: AsyncIterator[Change]) -> Change:
    return await changes.__anext__()


def _after(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID") or request.query.get("after")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{text[:40]!r} is no event number", key="after")
    return int(text)


def _event(change: Change) -> bytes:
    data = msgspec.json.encode(change)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (change.seq, change.kind.encode(), data)


_PROFILES = {
    "pipeline": "Only operators and accuracy of this pipeline.",
    "operator": "Only this operator's rows among the operators.",
    "device_class": "Only this class's rows among the operators.",
}
_WINDOW = {"window_s": "How many seconds measurements look back."}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/devices", summary="All devices", handler=_devices, answer=Devices
    ),
    Endpoint(
        method="GET",
        path="/v1/queries",
        summary="All queries: plans, promised and measured",
        handler=_queries,
        answer=Queries,
        query=_WINDOW,
    ),
    Endpoint(
        method="GET",
        path="/v1/queries/{id}",
        summary="One query",
        handler=_query,
        answer=QueryRow,
        query=_WINDOW,
    ),
    Endpoint(
        method="POST",
        path="/v1/queries",
        summary="Submit pipelines and queries",
        handler=_submit,
        answer=Accepted,
        status=202,
        body=("application/json", "application/yaml"),
        query={"dry_run": "1 to check only"},
    ),
    Endpoint(
        method="DELETE",
        path="/v1/queries/{id}",
        summary="Withdraw a query",
        handler=_withdraw,
        answer=Withdrawn,
    ),
    Endpoint(
        method="GET",
        path="/v1/pipelines",
        summary="The pipelines of all queries, as a submission has them",
        handler=_pipelines,
        answer=dict[str, Any],
    ),
    Endpoint(
        method="GET", path="/v1/plans", summary="Plans in force", handler=_plans, answer=Plans
    ),
    Endpoint(
        method="GET",
        path="/v1/profiles",
        summary="All that was measured, how sure it is, how old and where from",
        handler=_profiles,
        answer=ProfilesView,
        query=_PROFILES,
    ),
    Endpoint(
        method="GET",
        path="/v1/scenario",
        summary="What the last decision was made from, as `circinus plan` reads it",
        handler=_scenario,
        answer=dict[str, Any],
    ),
    Endpoint(
        method="GET",
        path="/v1/decision",
        summary="The decision in force, as `circinus plan` prints it",
        handler=_decision,
        answer=dict[str, Any],
    ),
    Endpoint(
        method="GET",
        path="/v1/progress",
        summary="How far profiling is",
        handler=_progress,
        answer=Progress,
    ),
    Endpoint(
        method="GET",
        path="/v1/explain/{id}",
        summary="Why a query got what it got",
        handler=_explain,
        answer=dict[str, Any],
    ),
    Endpoint(
        method="PUT",
        path="/v1/artifacts",
        summary="Store a file under its sha256",
        handler=_put_artifact,
        answer=ArtifactInfo,
        status=201,
        body=("application/octet-stream",),
    ),
    Endpoint(
        method="PUT",
        path="/v1/artifacts/{sha256}",
        summary="Store a file that must have this sha256",
        handler=_put_artifact,
        answer=ArtifactInfo,
        status=201,
        body=("application/octet-stream",),
    ),
    Endpoint(
        method="GET",
        path="/v1/artifacts/{sha256}",
        summary="Fetch a file",
        handler=_get_artifact,
        answer="application/octet-stream",
    ),
    Endpoint(
        method="GET",
        path="/v1/events",
        summary="What happens, as server-sent events",
        handler=_events,
        answer="text/event-stream",
        query={"after": "Number of the last event seen."},
    ),
    Endpoint(method="GET", path="/healthz", summary="Is it up", handler=_health, answer=Health),
)
