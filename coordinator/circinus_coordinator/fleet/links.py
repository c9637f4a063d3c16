"""The network: what the fleet file assumes, corrected by what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from circinus.fleet import Device, Link, Network
from circinus.messages import Capabilities, Peer

__all__ = ["MeasuredLink", "dialler", "link_rows", "probe_pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLink:
    """RTT and bandwidth between two devices; None where that was not measured."""

    between: tuple[str, str]
    rtt_ms: float | None
    bandwidth_mbps: float | None


def link_rows(
    assumed: Iterable[Link],
    measured: Iterable[MeasuredLink],
    devices: Sequence[Device],
    tiers: Iterable[str],
) -> tuple[Link, ...]:
    """The rows of a scenario: the fleet file's in their order, then measured pairs by name.

    A measured pair takes its price from the row it corrects; where the fleet file has none, the
    devices are not connected, whatever was measured. Rows about devices that are not among
    `devices` are left out.
    """
    ids = {device.id for device in devices}
    ends = ids | set(tiers)
    rows = [link for link in assumed if set(link.between) <= ends]
    network = Network(devices, rows)
    exact: dict[tuple[str, str], Link] = {}
    for found in measured:
        a, b = sorted(found.between)
        if a not in ids or b not in ids:
            continue
        row = network.between(a, b)
        if row is None:
            continue
        exact[a, b] = Link(
            between=(a, b),
            rtt_ms=row.rtt_ms if found.rtt_ms is None else found.rtt_ms,
            bandwidth_mbps=row.bandwidth_mbps
            if found.bandwidth_mbps is None
            else found.bandwidth_mbps,
            price_usd_gb=row.price_usd_gb,
        )
    kept = [row for row in rows if _pair(row.between) not in exact]
    return (*kept, *(exact[pair] for pair in sorted(exact)))


def _pair(between: tuple[str, str]) -> tuple[str, str]:
    a, b = sorted(between)
    return a, b


def dialler(
    a: str, b: str, known: Mapping[str, Capabilities], tier_index: Mapping[str, int]
) -> tuple[str, Peer] | None:
    """Which of two devices dials, and whom: the inner one dials the outer.

    In one tier the smaller id dials. Where the outer one cannot be dialled (no endpoint) but the
    inner one can, it is the other way round; None where neither can.
    """
    if a not in known or b not in known:
        return None

    def outwards(device: str) -> tuple[int, str]:
        return tier_index.get(known[device].tier, 0), device

    inner, outer = sorted((a, b), key=outwards)
    for caller, callee in ((inner, outer), (outer, inner)):
        url = known[callee].endpoint
        if url:
            return caller, Peer(device=callee, url=url)
    return None


def probe_pairs(devices: Sequence[Device], links: Iterable[Link]) -> list[tuple[str, str]]:
    """Pairs of devices that have a row and could be measured, smaller id first."""
    network = Network(devices, links)
    ids = sorted(device.id for device in devices)
    return [
        (a, b) for i, a in enumerate(ids) for b in ids[i + 1 :] if network.between(a, b) is not None
    ]
