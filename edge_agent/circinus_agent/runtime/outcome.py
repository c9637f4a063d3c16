"""How requests end."""

from __future__ import annotations

from dataclasses import dataclass, field

from circinus.errors import CircinusError
from circinus_agent.dataplane.frames import Hop, Span

__all__ = ["Failure", "Outcome", "ResultEvent", "Trace", "WorkerFailed", "parse_failure"]


class WorkerFailed(CircinusError):
    """An operator's process could not be started; `cause` says why in one line.

    `final` where another try cannot help: what it was asked for is not there.
    """

    def __init__(self, key: str, cause: str, *, final: bool = False) -> None:
        self.key = key
        self.cause = cause
        self.final = final
        super().__init__(f"instance {key}: {cause}")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed.

    Attributes:
        kind: A class of causes, counted as such: ``shed``, ``raised``, ``hung``, ``killed``,
            ``memory``, ``down``, ``link``, ``expired``, ``no input``, ``not admitted``,
            ``unknown query``, ``stopped``.
        detail: For people.
    """

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def parse_failure(cause: str | None) -> Failure:
    """The failure another agent wrote as ``kind: detail``."""
    kind, _, detail = (cause or "unknown").partition(": ")
    return Failure(kind[:64], detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What steps took and what was sent, of one branch or of a whole request."""

    spans: tuple[Span, ...] = ()
    hops: tuple[Hop, ...] = ()

    def merged(self, other: Trace) -> Trace:
        """Both, each step and each hop once: branches share their common beginning."""
        if not (self.spans or self.hops):
            return other
        return Trace(
            spans=tuple(dict.fromkeys((*self.spans, *other.spans))),
            hops=tuple(dict.fromkeys((*self.hops, *other.hops))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a request, at its lead.

    Attributes:
        ok: It has a result.
        cause: Why not, ``kind: detail``.
        payload: The result encoded by `circinus.codec`; of several last steps a map by name.
            None where nobody asked for it.
        latency_ms: From start to delivery; the return trip is not in it.
    """

    query: str
    plan: str
    ok: bool
    cause: str | None = None
    payload: bytes | None = None
    latency_ms: float = 0.0
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultEvent:
    """A result at the device where it is delivered, for its sinks.

    Attributes:
        request: Number of the request at its lead.
        step: The last step it comes from.
        elapsed_ms: Since the request started, as far as this device can know.
    """

    query: str
    plan: str
    lead: str
    request: int
    step: str
    payload: bytes
    elapsed_ms: float
