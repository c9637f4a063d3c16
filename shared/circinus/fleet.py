"""The fleet: tiers, device classes, devices and the links between them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from circinus import _checks as check
from circinus.errors import InvalidInput

__all__ = ["LOCAL", "Billing", "Device", "DeviceClass", "Link", "Network"]

SECONDS_PER_HOUR = 3600.0
BYTES_PER_GB = 1e9
CORES = "cores"  # the one per-second resource every device class has


class Billing(str, enum.Enum):
    """How a device class is paid for."""

    USAGE = "usage"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """A kind of machine; devices of one class share their profiles.

    Attributes:
        name: Identifier.
        cores: Compute seconds per second it offers.
        memory_mb: Memory for operator instances, megabytes.
        price_usd_hour: Price of the whole machine, US dollars per hour.
        billing: By use (dominant share) or by whole machine.
        accelerators: Further per-second resources, e.g. ``{"gpu": 1}``.
    """

    name: str
    cores: float
    memory_mb: float
    price_usd_hour: float = 0.0
    billing: Billing = Billing.USAGE
    accelerators: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check.identifier(self.name, "name")
        check.not_negative(self.cores, "cores")
        check.not_negative(self.memory_mb, "memory_mb")
        check.not_negative(self.price_usd_hour, "price_usd_hour")
        for name, amount in self.accelerators.items():
            check.not_negative(amount, f"accelerators.{name}")
        if CORES in self.accelerators:
            raise InvalidInput("cores are not an accelerator", key="accelerators.cores")

    @property
    def resources(self) -> dict[str, float]:
        """Amount of each per-second resource: cores and accelerators."""
        return {CORES: self.cores, **self.accelerators}

    def usage_cost_usd(self, compute_s: Mapping[str, float]) -> float:
        """Price of one request's computation: the dominant share of the machine's time.

        Args:
            compute_s: Seconds of each resource one request takes.
        """
        amounts = self.resources
        shares = [
            seconds / amounts[name]
            for name, seconds in compute_s.items()
            if seconds > 0 and amounts.get(name, 0.0) > 0
        ]
        return self.price_usd_hour / SECONDS_PER_HOUR * max(shares, default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One machine with an agent.

    Attributes:
        id: Identifier.
        device_class: Name of its class.
        tier: Name of its tier.
        uplink_mbps: Cap on the sum over its links, megabits per second; None for no cap.
    """

    id: str
    device_class: str
    tier: str
    uplink_mbps: float | None = None

    def __post_init__(self) -> None:
        check.identifier(self.id, "id")
        if self.uplink_mbps is not None:
            check.not_negative(self.uplink_mbps, "uplink_mbps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The network between two devices, or between any device of one tier and any of another.

    Attributes:
        between: Two device ids or tier names; order has no meaning.
        rtt_ms: Round-trip time, milliseconds.
        bandwidth_mbps: Megabits per second, each way together, of each pair of devices.
        price_usd_gb: US dollars per 10⁹ bytes.
    """

    between: tuple[str, str]
    rtt_ms: float
    bandwidth_mbps: float
    price_usd_gb: float = 0.0

    def __post_init__(self) -> None:
        check.not_negative(self.rtt_ms, "rtt_ms")
        check.not_negative(self.bandwidth_mbps, "bandwidth_mbps")
        check.not_negative(self.price_usd_gb, "price_usd_gb")

    def transfer_ms(self, size_bytes: float) -> float:
        """Time for `size_bytes` over an idle link: rtt/2 + bytes x 8 / bandwidth, in ms."""
        if self.bandwidth_mbps <= 0:
            return self.rtt_ms / 2 if size_bytes <= 0 else float("inf")
        return self.rtt_ms / 2 + size_bytes * 8e-3 / self.bandwidth_mbps

    def cost_usd(self, size_bytes: float) -> float:
        """Price of moving `size_bytes`."""
        return size_bytes * self.price_usd_gb / BYTES_PER_GB


LOCAL = Link(between=("", ""), rtt_ms=0.0, bandwidth_mbps=float(10**9), price_usd_gb=0.0)
"""The hop from a device to itself: free and instant (never asked for its bandwidth)."""


class Network:
    """Finds the link between two devices; the more specific row wins.

    Device-to-device beats device-to-tier beats tier-to-tier. Where two device-to-tier rows
    fit (one from either end), the one that stands first wins.
    """

    def __init__(self, devices: Iterable[Device], links: Iterable[Link]) -> None:
        self._tier = {device.id: device.tier for device in devices}
        self._rows: dict[tuple[str, str], tuple[int, Link]] = {}
        for position, link in enumerate(links):
            self._rows.setdefault(_pair(*link.between), (position, link))

    def between(self, a: str, b: str) -> Link | None:
        """The link from device `a` to device `b`; None where they are not connected."""
        if a == b:
            return LOCAL
        exact = self._rows.get(_pair(a, b))
        if exact:
            return exact[1]
        tier_a, tier_b = self._tier[a], self._tier[b]
        half = [
            r for r in (self._rows.get(_pair(a, tier_b)), self._rows.get(_pair(tier_a, b))) if r
        ]
        if half:
            return min(half, key=lambda row: row[0])[1]
        general = self._rows.get(_pair(tier_a, tier_b))
        return general[1] if general else None


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a <= b else (b, a)
