"""What the core wants done after an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circinus_coordinator.store import Record

__all__ = ["Effects", "Message", "Note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """To publish with QoS 1. `expiry_s` of a command: it is bound to a session anyway."""

    topic: str
    payload: bytes
    retain: bool = False
    expiry_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An entry for the event log; see `Change` in the views."""

    kind: str
    subject: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Effects:
    """In this order: all records in one transaction with the notes, then the messages."""

    records: list[Record] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, other: Effects) -> Effects:
        """Both, one after the other."""
        self.records += other.records
        self.messages += other.messages
        self.notes += other.notes
        return self

    def note(self, kind: str, subject: str, text: str, **data: Any) -> None:
        """Log something."""
        self.notes.append(Note(kind=kind, subject=subject, text=text, data=data))
