"""MQTT payloads into messages; what is malformed is counted, told once, and ignored."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from circinus import _checks as check
from circinus.errors import InvalidInput
from circinus.messages import (
    Capabilities,
    CommandResult,
    ProbeSamples,
    Reported,
    Status,
    Telemetry,
    decode,
)
from circinus.topics import split_up
from circinus_coordinator.daemon.core import Upward
from circinus_coordinator.daemon.effects import Effects

__all__ = ["Inbox"]

log = logging.getLogger(__name__)

_KINDS: dict[str, type] = {
    "status": Status,
    "capabilities": Capabilities,
    "reported": Reported,
    "probe": ProbeSamples,
    "result": CommandResult,
    "telemetry": Telemetry,
}
# A device with a made-up leaf in every topic must not fill the memory.
_MAX_COUNTED = 10_000


class Inbox:
    """Decodes what arrives under ``up/``.

    Attributes:
        malformed: How many payloads were ignored, by (device, leaf).
    """

    def __init__(self) -> None:
        self.malformed: Counter[tuple[str, str]] = Counter()

    def decode(self, topic: str, payload: bytes) -> Upward | None:
        """The message; None where there is none to be had."""
        place = split_up(topic)
        if place is None or not payload:  # an empty one only clears what was retained
            return None
        device, leaf = place
        kind = _KINDS.get(leaf)
        if kind is None:
            return None
        try:
            check.identifier(device, "device")
            message: Upward = decode(payload, kind)
            if message.device != device:
                raise InvalidInput(f"it says it comes from {message.device!r}")
        except InvalidInput as error:
            self._ignored(device, leaf, error)
            return None
        return message

    def guarded(
        self, topic: str, message: Upward, take: Callable[[Upward, float], Effects]
    ) -> Callable[[float], Effects]:
        """The event of a message that arrived; absurd figures in it must not end the loop."""

        def event(now: float) -> Effects:
            try:
                return take(message, now)
            except Exception as error:  # noqa: BLE001 - whatever it is, one device caused it
                self._ignored(message.device, topic.rpartition("/")[2], error)
                return Effects()

        return event

    def _ignored(self, device: str, leaf: str, error: Exception) -> None:
        place = (device, leaf)
        if place not in self.malformed and len(self.malformed) >= _MAX_COUNTED:
            return
        self.malformed[place] += 1
        if self.malformed[place] == 1:
            foreseen = isinstance(error, InvalidInput)
            log.warning(
                "%s: a malformed %s is ignored, as are others: %s",
                device,
                leaf,
                error if foreseen else repr(error),
                exc_info=None if foreseen else error,
            )
