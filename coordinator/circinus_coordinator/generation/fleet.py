"""Fleets: machines over tiers, sites of end devices, and what connects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus.fleet import Device, Link
from circinus_coordinator.generation.dice import Dice, figure
from circinus_coordinator.generation.machines import ROLES, apportion

__all__ = ["TIERS", "Access", "Fleet", "Site", "build_fleet", "tier_links"]

TIERS: dict[int, tuple[str, ...]] = {
    2: ("device", "cloud"),
    3: ("device", "edge", "cloud"),
    4: ("device", "edge", "region", "cloud"),
}
_SHARES: dict[int, tuple[float, ...]] = {
    2: (0.8, 0.2),
    3: (0.8, 0.14, 0.06),
    4: (0.8, 0.12, 0.05, 0.03),
}
# End devices of one site.
_SITE_SIZES = (2, 4, 6, 8, 12)
# Rows beyond this many are not written: further sites keep the tiers' rows and are told apart
# by their uplink only. The network of 10,000 machines stays a few thousand rows.
MAX_PATH_ROWS = 2000
# Between tiers: (rtt ms, Mbit/s, USD per GB). Assumed; a metro is some ms wide, a continent some
# tens; 0.05 USD per GB is of the order of clouds' list prices for traffic (0.02 to 0.09).
_BETWEEN: dict[tuple[str, str], tuple[float, float, float]] = {
    ("device", "edge"): (4.0, 100.0, 0.0),
    ("device", "region"): (14.0, 80.0, 0.01),
    ("device", "cloud"): (34.0, 60.0, 0.05),
    ("edge", "edge"): (2.0, 1000.0, 0.0),
    ("edge", "region"): (10.0, 500.0, 0.005),
    ("edge", "cloud"): (30.0, 400.0, 0.02),
    ("region", "region"): (1.0, 5000.0, 0.0),
    ("region", "cloud"): (22.0, 1000.0, 0.01),
    ("cloud", "cloud"): (1.0, 5000.0, 0.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a site reaches the rest.

    Attributes:
        rtt_ms: Added to the round trip of an end device by wire.
        uplink_mbps: Of each of the site's end devices.
        usd_gb: Added to the price of traffic.
        own_rows: The site's devices have rows of their own; else the tiers' rows hold.
        share: Of the sites.
    """

    name: str
    rtt_ms: float
    uplink_mbps: float
    usd_gb: float = 0.0
    own_rows: bool = True
    share: float = 0.0


# Assumed throughout: Wi-Fi adds a few ms, mobile networks some tens and are metered.
ETHERNET = Access(name="ethernet", rtt_ms=0, uplink_mbps=100, own_rows=False, share=0.4)
WIFI = Access(name="wifi", rtt_ms=5, uplink_mbps=50, share=0.3)
# 10th, 50th and 90th percentile of a mobile uplink in Mbit/s where no series is given.
MOBILE_MBPS = (6.0, 18.0, 40.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """End devices of one class at one place."""

    device_class: str
    access: Access
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Machines, links and sites of a scenario.

    Attributes:
        classes: Device classes present in each tier, in the order of `ROLES`.
        counts: Machines of each (tier, class).
        accesses: All ways of access, also those no site has.
    """

    tiers: tuple[str, ...]
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    sites: tuple[Site, ...]
    classes: Mapping[str, tuple[str, ...]]
    counts: Mapping[tuple[str, str], int]
    accesses: tuple[Access, ...]


def build_fleet(
    count: int, tiers: Sequence[str], seed: int, mobile_mbps: Sequence[float] | None
) -> Fleet:
    """A fleet of `count` machines; the first tier holds the sites."""
    dice = Dice(seed, "fleet")
    counts: dict[tuple[str, str], int] = {}
    sizes = apportion(count, _SHARES[len(tiers)], least=1)
    for tier, size in zip(tiers, sizes, strict=True):
        mix = ROLES[tier]
        for (name, _), n in zip(mix, apportion(size, [s for _, s in mix]), strict=True):
            if n:
                counts[tier, name] = n
    accesses = _accesses(mobile_mbps)
    sites = _sites(dice, {c: n for (t, c), n in counts.items() if t == tiers[0]}, accesses)
    sites, rows = _path_rows(sites, tiers)
    inner = [
        Device(id=device, device_class=site.device_class, tier=tiers[0],
               uplink_mbps=site.access.uplink_mbps)
        for site in sites
        for device in site.devices
    ]  # fmt: skip
    outer = [
        Device(id=f"{tier}-{name}-{i + 1}", device_class=name, tier=tier)
        for (tier, name), n in counts.items()
        if tier != tiers[0]
        for i in range(n)
    ]
    return Fleet(
        tiers=tuple(tiers),
        devices=(*inner, *outer),
        links=(*tier_links(tiers), *rows),
        sites=sites,
        classes={t: tuple(c for (u, c) in counts if u == t) for t in tiers},
        counts=counts,
        accesses=accesses,
    )


def tier_links(tiers: Sequence[str]) -> tuple[Link, ...]:
    """The rows between tiers; end devices do not reach one another."""
    return tuple(
        Link(between=pair, rtt_ms=rtt, bandwidth_mbps=mbps, price_usd_gb=usd)
        for pair, (rtt, mbps, usd) in _BETWEEN.items()
        if set(pair) <= set(tiers)
    )


def access_row(access: Access, tier: str) -> tuple[float, float, float]:
    """What a device with this access has towards a tier: rtt ms, Mbit/s, USD per GB."""
    rtt, mbps, usd = _BETWEEN["device", tier]
    if not access.own_rows:
        return rtt, mbps, usd
    return (
        figure(rtt + access.rtt_ms),
        figure(min(mbps, access.uplink_mbps)),
        figure(usd + access.usd_gb),
    )


def _accesses(mobile_mbps: Sequence[float] | None) -> tuple[Access, ...]:
    quantiles = tuple(mobile_mbps or MOBILE_MBPS)
    mobile = [
        Access(name=f"mobile-{i + 1}", rtt_ms=rtt, uplink_mbps=figure(mbps), usd_gb=1.0,
               share=0.3 / len(quantiles))
        for i, (mbps, rtt) in enumerate(
            zip(quantiles, _spaced(45.0, 15.0, len(quantiles)), strict=True)
        )
    ]  # fmt: skip
    return (ETHERNET, WIFI, *mobile)


def _spaced(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * i / max(count - 1, 1) for i in range(count)]


def _sites(dice: Dice, classes: Mapping[str, int], accesses: Sequence[Access]) -> tuple[Site, ...]:
    """End devices dealt out to sites, each of one class and with one way of access."""
    sites: list[Site] = []
    for name, count in classes.items():
        left = count
        while left:
            size = min(left, _SITE_SIZES[int(dice.indices(1, len(_SITE_SIZES))[0])])
            kind = accesses[int(dice.weighted(1, [a.share for a in accesses])[0])]
            number = len(sites) + 1
            sites.append(
                Site(
                    device_class=name,
                    access=kind,
                    devices=tuple(f"site{number}-{i + 1}" for i in range(size)),
                )
            )
            left -= size
    return tuple(sites)


def _path_rows(
    sites: Sequence[Site], tiers: Sequence[str]
) -> tuple[tuple[Site, ...], tuple[Link, ...]]:
    """Rows of the devices whose access needs some, and the sites as they then are."""
    rows: list[Link] = []
    found: list[Site] = []
    for site in sites:
        access = site.access
        if access.own_rows and len(rows) + len(site.devices) * (len(tiers) - 1) > MAX_PATH_ROWS:
            access = Access(
                name=f"{access.name}-uplink",
                rtt_ms=0.0,
                uplink_mbps=access.uplink_mbps,
                own_rows=False,
            )
        found.append(Site(device_class=site.device_class, access=access, devices=site.devices))
        if not access.own_rows:
            continue
        for device in site.devices:
            for tier in tiers[1:]:
                rtt, mbps, usd = access_row(access, tier)
                rows.append(
                    Link(between=(device, tier), rtt_ms=rtt, bandwidth_mbps=mbps, price_usd_gb=usd)
                )
    return tuple(found), tuple(rows)
