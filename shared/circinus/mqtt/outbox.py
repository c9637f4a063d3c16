"""QoS 1 messages on their way to the broker, kept until it has acknowledged them.

A client library forgets what was in flight when its connection breaks; this does not. It does no
I/O and reads no clock.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Entry", "Outbox", "Outcome"]


class Outcome(enum.Enum):
    """What became of a message."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    """Pushed out by newer ones; the outbox was full."""
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """A newer value for the same topic took its place."""
    REFUSED = "refused"
    """The broker said no, or cannot take a message of this size."""
    WITHDRAWN = "withdrawn"
    """Nobody waits for it any more."""


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One message; `expires_at` is on the clock of the caller."""

    sequence: int
    topic: str
    payload: bytes
    retain: bool
    latest: bool
    expires_at: float | None
    on_done: Callable[[Outcome], None] | None
    outcome: Outcome | None = None


class Outbox:
    """A bounded queue in sending order, part of it in flight.

    Args:
        max_messages: Most messages kept; the oldest goes first.
        max_bytes: Most payload bytes kept.
        on_settled: Told of each message that left, with what became of it.
    """

    def __init__(
        self,
        *,
        max_messages: int,
        max_bytes: int,
        on_settled: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_settled = on_settled
        self._sequence = 0
        self._bytes = 0
        # Both in order of sequence, and everything in flight before everything waiting.
        self._in_flight: dict[int, Entry] = {}
        self._waiting: dict[int, Entry] = {}
        self._latest: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._in_flight) + len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self._in_flight)

    def put(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        latest: bool = False,
        expires_at: float | None = None,
        on_done: Callable[[Outcome], None] | None = None,
    ) -> Entry:
        """Queue a message. With `latest` it takes the place of a waiting one for its topic."""
        self._sequence += 1
        entry = Entry(
            sequence=self._sequence,
            topic=topic,
            payload=payload,
            retain=retain,
            latest=latest,
            expires_at=expires_at,
            on_done=on_done,
        )
        if latest:
            older = self._latest.get(topic)
            if older is not None and older.sequence in self._waiting:
                self.settle(older, Outcome.SUPERSEDED)
            self._latest[topic] = entry
        self._waiting[entry.sequence] = entry
        self._bytes += len(payload)
        self._make_room(keep=entry)
        return entry

    def take(self, now: float) -> Entry | None:
        """The next message to send, from here on in flight; None if there is none."""
        while self._waiting:
            entry = next(iter(self._waiting.values()))
            if entry.expires_at is not None and entry.expires_at <= now:
                self.settle(entry, Outcome.EXPIRED)
                continue
            del self._waiting[entry.sequence]
            self._in_flight[entry.sequence] = entry
            return entry
        return None

    def settle(self, entry: Entry, outcome: Outcome) -> None:
        """Let go of a message; a second time does nothing."""
        if entry.outcome is not None:
            return
        entry.outcome = outcome
        self._waiting.pop(entry.sequence, None)
        self._in_flight.pop(entry.sequence, None)
        self._bytes -= len(entry.payload)
        if self._latest.get(entry.topic) is entry:
            del self._latest[entry.topic]
        if self._on_settled is not None:
            self._on_settled(outcome)
        if entry.on_done is not None:
            entry.on_done(outcome)

    def connection_lost(self) -> None:
        """Everything in flight waits again, except values that have a newer one behind them."""
        in_flight, self._in_flight = self._in_flight, {}
        self._waiting = {**in_flight, **self._waiting}
        for entry in in_flight.values():
            if entry.latest and self._latest.get(entry.topic) is not entry:
                self.settle(entry, Outcome.SUPERSEDED)

    def _make_room(self, *, keep: Entry) -> None:
        while len(self) > self._max_messages or self._bytes > self._max_bytes:
            # Dropping what waits frees as much as dropping what may have arrived already.
            oldest = next(
                (e for e in (*self._first(self._waiting), *self._first(self._in_flight))
                 if e is not keep),
                None,
            )  # fmt: skip
            if oldest is None:
                return
            self.settle(oldest, Outcome.DROPPED)

    @staticmethod
    def _first(entries: dict[int, Entry]) -> tuple[Entry, ...]:
        return (next(iter(entries.values())),) if entries else ()
