"""What each agent counted up to its last message, and what of it the coordinator asked for.

Agents count since their start, so that a message means something only beside an earlier one of
the same incarnation. Two agents may use one id by mistake and take turns: what the last few
incarnations counted is kept, or each turn would count the whole of their past again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from circinus.messages import DesiredBody, Route, Telemetry

__all__ = ["Latest", "Promised", "few"]

OTHER = "other"
# An agent has about a dozen causes of either kind; they end up as labels and keys.
MAX_CAUSES = 32
_CAUSE_LENGTH = 80
_REMEMBERED_BOOTS = 4
# An agent learns late that a route is over, and tells of its last requests later still.
_LATE_S = 10.0


@dataclass(slots=True)
class _Device:
    boots: dict[str, tuple[float, Telemetry]] = field(default_factory=dict)
    """Time and last message of each incarnation; the latest heard last."""
    forgotten_s: float = 0.0
    """When an incarnation that is not remembered any more was last heard."""
    causes: set[str] = field(default_factory=set)


class Latest:
    """The last message of every device.

    Args:
        started: What an incarnation born earlier had counted when first heard of is not known.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._devices: dict[str, _Device] = {}

    def take(self, message: Telemetry, now: float) -> tuple[float, Telemetry] | None:
        """What the counters stood at before, and when; None if there is nothing to count."""
        device = self._devices.setdefault(message.device, _Device(forgotten_s=self._started))
        found = device.boots.get(message.boot_id)
        if found is not None and message.seq <= found[1].seq:
            return None  # overtaken by a later one
        device.boots.pop(message.boot_id, None)
        dropped = few(message.dropped, device.causes)
        device.boots[message.boot_id] = (now, msgspec.structs.replace(message, dropped=dropped))
        while len(device.boots) > _REMEMBERED_BOOTS:
            heard_s, _ = device.boots.pop(next(iter(device.boots)))
            device.forgotten_s = max(device.forgotten_s, heard_s)
        if found is not None:
            return found
        born = now - message.uptime_s
        if born < device.forgotten_s:
            return None  # may be one that was forgotten: no telling what of it was counted
        empty = Telemetry(device=message.device, boot_id=message.boot_id, seq=-1, uptime_s=0.0)
        return born, empty

    def last(self, device: str) -> Telemetry | None:
        """The latest of a device."""
        found = self._devices.get(device)
        return next(reversed(found.boots.values()))[1] if found else None


class Promised:
    """What a device was told to run, now or a moment ago: only of that it may tell figures.

    Attributes:
        routes: Those it leads, by query and plan.
    """

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Route] = {}
        self._routes_until: dict[tuple[str, str], float] = {}
        self._instances_until: dict[str, float] = {}

    def update(self, device: str, body: DesiredBody, now: float) -> None:
        """Its document is this one now."""
        for route in body.routes:
            if route.lead == device:
                self.routes[route.query, route.plan] = route
                self._routes_until[route.query, route.plan] = now + _LATE_S
        for instance in body.instances:
            self._instances_until[instance.key] = now + _LATE_S
        for name in [name for name, until in self._routes_until.items() if until < now]:
            del self._routes_until[name], self.routes[name]
        for key in [key for key, until in self._instances_until.items() if until < now]:
            del self._instances_until[key]

    def has_instance(self, key: str) -> bool:
        """It was to run this."""
        return key in self._instances_until


def few(counts: Mapping[str, int], known: set[str]) -> dict[str, int]:
    """Counts by cause, with everything beyond the first `MAX_CAUSES` causes added up.

    Args:
        known: Causes that have a place of their own; grows up to the limit.
    """
    found: dict[str, int] = {}
    for cause, count in sorted(counts.items()):
        name = cause[:_CAUSE_LENGTH]
        if name not in known:
            if len(known) < MAX_CAUSES:
                known.add(name)
            else:
                name = OTHER
        found[name] = found.get(name, 0) + count
    return found
