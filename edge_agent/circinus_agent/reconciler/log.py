"""The event log: JSON lines that replay a field failure.

Two files of bounded size, so that a device's flash neither fills nor wears. Each file begins
with the reconciler's state, so that it can be replayed on its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from circinus_agent.reconciler.core import Reconciler
from circinus_agent.reconciler.events import AnyEvent, Instruction, Tick
from circinus_agent.reconciler.model import Model

__all__ = ["EventLog", "replay"]

# A busy rollout writes some kilobytes; two files of this size hold weeks.
MAX_FILE_BYTES = 2 << 20

_event = msgspec.json.Decoder(AnyEvent)
_model = msgspec.json.Decoder(Model)


class EventLog:
    """Appends to ``events.jsonl`` in `folder`; the previous file is ``events.1.jsonl``.

    The log is a help, not a record: it is not synced, and a full disk only ends it.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._file = folder / "events.jsonl"
        self._previous = folder / "events.1.jsonl"
        self._max_bytes = max_bytes
        self._size: int | None = None

    def append(self, event: AnyEvent, before: bytes | None, instructions: int) -> None:
        """Write `event`; ticks that led to nothing are left out.

        Args:
            before: The encoded state before the event, from `snapshot` where that asked for one.
        """
        if isinstance(event, Tick) and not instructions:
            return
        with contextlib.suppress(OSError):
            lines = msgspec.json.encode(event) + b"\n"
            if before is not None:
                if self._file.exists():
                    self._file.replace(self._previous)
                lines = before + b"\n" + lines
                self._size = 0
            with self._file.open("ab") as stream:
                stream.write(lines)
            self._size = (self._size or 0) + len(lines)

    def snapshot(self, model: Model) -> bytes | None:
        """The state, where a new file is due with the next event."""
        if self._size is not None and self._size < self._max_bytes:
            return None
        return msgspec.json.encode(model)


def replay(file: Path) -> Iterator[tuple[AnyEvent, list[Instruction]]]:
    """Each event of a log with the instructions it leads to, on this release's rules."""
    reconciler: Reconciler | None = None
    with file.open("rb") as stream:
        for line in stream:
            if reconciler is None:
                reconciler = Reconciler(_model.decode(line))
                continue
            try:
                event = _event.decode(line)
            except msgspec.DecodeError:
                return  # the last line was cut off by a power failure
            yield event, reconciler.handle(event)
