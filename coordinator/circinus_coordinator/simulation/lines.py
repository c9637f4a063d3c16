"""Links: one direction of a pair of devices, first come first served."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

from circinus_coordinator.simulation.world import Event, Go, World

__all__ = ["Transfer", "Wire", "change_speed", "lost"]


class Wire:
    """What is sent queues for the bandwidth, then travels for half the round trip.

    Args:
        ends: (from, to), device ids; for an uplink (device, "").
        delay_ms: Half the round trip.
        ms_per_byte: At full speed; infinite where there is no bandwidth.
    """

    __slots__ = (
        "busy", "delay_ms", "down", "ends", "free_at", "gaps", "ms_per_byte", "slow", "slowdowns",
    )  # fmt: skip

    def __init__(self, ends: tuple[str, str], delay_ms: float, ms_per_byte: float) -> None:
        self.ends = ends
        self.delay_ms = delay_ms
        self.ms_per_byte = ms_per_byte
        self.free_at = 0.0
        self.busy = 0.0  # of all that was ever sent
        self.gaps: list[tuple[float, float]] = []  # idle spells before `free_at`
        self.down = 0  # number of reasons
        self.slow = 1.0
        self.slowdowns: list[float] = []

    def backlog(self, now: float) -> float:
        """Milliseconds of sending that lie ahead."""
        idle = sum(max(0.0, end - max(begin, now)) for begin, end in self.gaps)
        return max(0.0, self.free_at - now) - idle

    def busy_until(self, now: float) -> float:
        """Milliseconds of sending by `now`."""
        return self.busy - self.backlog(now)

    def reserve(self, now: float, begin: float, ms: float) -> None:
        """Send for `ms` from `begin` on, which may lie after the line is free."""
        free_at = max(self.free_at, now)
        if begin > free_at:
            self.gaps = [gap for gap in self.gaps if gap[1] > now] + [(free_at, begin)]
        self.free_at = begin + ms
        self.busy += ms

    def cut(self, now: float) -> None:
        """Forget what lies ahead."""
        self.busy = self.busy_until(now)
        self.free_at = min(self.free_at, now)
        self.gaps.clear()


class Transfer:
    """An output's way to a device, for all steps there that take it.

    Args:
        uplinks: Those that cap the sum over a device's links. They hold a transfer up while
            others use them, and add nothing to it when they are free.
    """

    __slots__ = ("line_ms", "targets", "uplinks", "wire", "world")

    def __init__(self, world: World, wire: Wire, size: float, uplinks: Sequence[Wire]) -> None:
        self.world = world
        self.wire = wire
        self.line_ms = size * wire.ms_per_byte if size > 0 else 0.0
        self.uplinks = tuple((u, size * u.ms_per_byte if size > 0 else 0.0) for u in uplinks)
        if any(ms == math.inf for _, ms in self.uplinks):
            self.line_ms = math.inf  # nothing ever gets through
        self.targets: list[Go] = []

    def send(self, now: float, r: int) -> None:
        """Hand the output of request `r` over."""
        wire = self.wire
        if wire.down or self.line_ms == math.inf:
            self.world.fail(r)
            return
        on_line = self.line_ms * wire.slow
        free_at = wire.free_at
        begin = free_at if free_at > now else now  # noqa: FURB136 - twice as fast as max()
        if self.uplinks:
            begin = max(begin, *(uplink.free_at for uplink, _ in self.uplinks))
            for uplink, ms in self.uplinks:
                uplink.reserve(now, begin, ms)
            wire.reserve(now, begin, on_line)
        else:
            wire.busy += on_line
            wire.free_at = begin + on_line
        gone = begin + on_line
        world = self.world
        heapq.heappush(world.agenda, (gone + wire.delay_ms, world.order(), self.arrive, r, self))

    def arrive(self, now: float, r: int, _: Any) -> None:
        """The output is there."""
        for target in self.targets:
            target(now, r)


def lost(world: World, event: Event, wires: set[Wire]) -> bool:
    """Whether the event is a transfer over one of the wires; its request fails then."""
    transfer = event[4]
    if not isinstance(transfer, Transfer) or transfer.wire not in wires:
        return False
    world.fail(event[3])
    return True


def change_speed(world: World, wire: Wire, slow: float, now: float) -> None:
    """All that has not left yet takes longer (or less long) from now on, in proportion."""
    ratio = slow / wire.slow
    wire.slow = slow

    def change(event: Event) -> Event:
        time, order, handler, r, transfer = event
        if not isinstance(transfer, Transfer) or transfer.wire is not wire:
            return event
        left = time - wire.delay_ms - now
        return (time + max(0.0, left) * (ratio - 1), order, handler, r, transfer)

    world.revise(change)
    wire.busy += wire.backlog(now) * (ratio - 1)

    def later(time: float) -> float:
        return time + max(0.0, time - now) * (ratio - 1)

    wire.gaps = [(later(begin), later(end)) for begin, end in wire.gaps]
    wire.free_at = later(wire.free_at)
