"""What comes down from the coordinator: checked, and counted where it is not for us."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from circinus.errors import InvalidInput
from circinus.messages import AnyCommand, CancelProbe, CoordinatorStatus, Desired, decode
from circinus.topics import COORDINATOR_STATUS, DeviceTopics

__all__ = ["Inbox"]

logger = logging.getLogger(__name__)


class Inbox:
    """Decodes messages and hands them on; nothing that comes in can raise.

    Args:
        session: The link's present session number.
        on_desired: Takes a desired document.
        on_probe: Takes a probe command that is addressed to this very session.
        on_cancel: Takes a cancellation.
        on_orphaned: The coordinator has gone, and with it all interest in its probes.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        boot_id: str,
        *,
        session: Callable[[], int],
        on_desired: Callable[[Desired], None],
        on_probe: Callable[[Any], None],
        on_cancel: Callable[[CancelProbe], None],
        on_orphaned: Callable[[], None],
    ) -> None:
        self._topics = topics
        self._boot_id = boot_id
        self._session = session
        self._on_desired = on_desired
        self._on_probe = on_probe
        self._on_cancel = on_cancel
        self._on_orphaned = on_orphaned
        self.dropped: dict[str, int] = {}
        """Messages ignored, by cause; each cause is logged once."""

    async def receive(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message."""
        if topic == self._topics.desired:
            if payload:  # an empty one only says that nothing is retained any more
                self._desired(payload)
        elif topic == self._topics.command:
            self._command(payload, retained=retained)
        elif topic == COORDINATOR_STATUS:
            self._coordinator(payload)
        else:
            self._drop("unexpected topic", topic)

    def _desired(self, payload: bytes) -> None:
        try:
            desired = decode(payload, Desired)
        except InvalidInput as error:
            self._drop("malformed desired", str(error))
        else:
            self._on_desired(desired)

    def _coordinator(self, payload: bytes) -> None:
        try:
            status = decode(payload, CoordinatorStatus) if payload else None
        except InvalidInput as error:
            self._drop("malformed coordinator status", str(error))
        else:
            if status is None or not status.online:
                self._on_orphaned()

    def _command(self, payload: bytes, *, retained: bool) -> None:
        if retained:
            self._drop("retained command", "commands are never retained")
            return
        try:
            command = decode(payload, AnyCommand)
        except InvalidInput as error:
            self._drop("malformed command", str(error))
            return
        if (command.boot_id, command.session) != (self._boot_id, self._session()):
            self._drop("stale command", f"{command.request_id} was for another session")
        elif isinstance(command, CancelProbe):
            self._on_cancel(command)
        else:
            self._on_probe(command)

    def _drop(self, cause: str, detail: str) -> None:
        self.dropped[cause] = self.dropped.get(cause, 0) + 1
        if self.dropped[cause] == 1:
            logger.warning("%s ignored: %s (further ones are only counted)", cause, detail[:300])
