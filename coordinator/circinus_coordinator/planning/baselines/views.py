"""The fleet as a query's sources see it: slots of interchangeable machines and the hops between.

Two queries whose views have equal signatures see the same fleet under other names, so that what
is worked out for one of them holds for the other. A signature has no device in it but its role,
so that links of its own for each site do not keep queries from sharing.
"""

from __future__ import annotations

import collections
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import BYTES_PER_GB, Device, Link
from circinus.pipeline import Pipeline
from circinus.query import Query
from circinus.scenario import Scenario

__all__ = ["View", "Views"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Where every machine has links of its own, only the nearest of each class and tier are looked at:
# placements grow with a power of the slots.
_MOST_SLOTS = 14
# Bytes by which "near" is judged, latency and bandwidth together.
_TYPICAL_BYTES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One set of sources' view of the fleet; arrays over slots.

    Attributes:
        members: `(machines,)` for each slot, positions in the scenario's devices.
        tier: `(slots,)` index of the tier.
        kind: Name of each slot's device class.
        base_ms: `(slots, slots)`; inf where there is no link.
        ms_per_byte: `(slots, slots)`.
        usd_per_byte: `(slots, slots)`.
        sources: Slot of each source operator's device, in the pipeline's order of sources.
        signature: Equal for views that differ in names only.
    """

    members: tuple[IntArray, ...]
    tier: IntArray
    kind: tuple[str, ...]
    base_ms: FloatArray
    ms_per_byte: FloatArray
    usd_per_byte: FloatArray
    sources: tuple[int, ...]
    signature: Hashable


class Views:
    """Makes views, one for each set of sources."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._position = {device.id: k for k, device in enumerate(scenario.devices)}
        self._views: dict[tuple[object, ...], View] = {}
        tiers = set(scenario.tiers)
        self._rows: dict[str, list[tuple[str, Link]]] = collections.defaultdict(list)
        for row in scenario.links:
            for end, other in (row.between, row.between[::-1]):
                if end not in tiers:
                    self._rows[end].append((other, row))

    def of(self, query: Query) -> View:
        """The query's view."""
        pipeline = self.scenario.pipelines[query.pipeline]
        sources = tuple(query.source[name] for name in pipeline.sources)
        key = (sources, pipeline.backward)
        if key not in self._views:
            self._views[key] = self._make(sources, pipeline)
        return self._views[key]

    def _make(self, sources: Sequence[str], pipeline: Pipeline) -> View:
        distinct = tuple(dict.fromkeys(sources))
        hosts = self._hosts(distinct, pipeline)
        groups: dict[Hashable, list[str]] = {}
        for device in hosts:
            groups.setdefault(self._key(device, distinct, hosts), []).append(device)
        slots = self._nearest(groups, distinct)
        devices = [self.scenario.device[group[0]] for group in slots]
        base, per_byte, usd = self._hops(devices)
        tier = np.array([self.scenario.tier_index[d.tier] for d in devices], dtype=np.int64)
        signature = (
            tuple((d.tier, d.device_class, d.uplink_mbps) for d in devices),
            tuple(distinct.index(source) for source in sources),
            base.tobytes(),
            per_byte.tobytes(),
            usd.tobytes(),
            pipeline.backward,
        )
        return View(
            members=tuple(
                np.array([self._position[d] for d in group], dtype=np.int64) for group in slots
            ),
            tier=tier,
            kind=tuple(d.device_class for d in devices),
            base_ms=base,
            ms_per_byte=per_byte,
            usd_per_byte=usd,
            sources=tuple(distinct.index(source) for source in sources),
            signature=signature,
        )

    def _hosts(self, sources: Sequence[str], pipeline: Pipeline) -> dict[str, Device]:
        """Machines that could run anything: sources, what they reach, and what lies further out."""
        between, tier = self.scenario.network.between, self.scenario.tier_index
        inner = min(tier[self.scenario.device[source].tier] for source in sources)
        found = {source: self.scenario.device[source] for source in sources}
        for device in self.scenario.devices:
            outer = tier[device.tier]
            if outer < inner and not pipeline.backward:
                continue
            further = outer > inner or pipeline.backward
            if further or any(between(source, device.id) for source in sources):
                found.setdefault(device.id, device)
        return found

    def _key(self, device: str, sources: Sequence[str], hosts: dict[str, Device]) -> Hashable:
        """Equal for machines that neither class, tier, uplink nor links tell apart."""
        if device in sources:
            return device
        kind = self.scenario.device[device]
        own = frozenset(
            (other, _numbers(row))
            for other, row in self._rows.get(device, ())
            if other not in sources and (other in hosts or other not in self._position)
        )
        near = tuple(_numbers(self.scenario.network.between(s, device)) for s in sources)
        return (kind.tier, kind.device_class, kind.uplink_mbps, near, own)

    def _nearest(
        self, groups: dict[Hashable, list[str]], sources: Sequence[str]
    ) -> list[list[str]]:
        """Sources first, then the groups nearest by class and tier, in an order without names."""
        own = [[source] for source in sources]
        rest = [group for key, group in groups.items() if key not in sources]

        def distance(group: list[str]) -> float:
            link = self.scenario.network.between(sources[0], group[0])
            return link.transfer_ms(_TYPICAL_BYTES) if link else np.inf

        turns: dict[Hashable, int] = collections.Counter()
        ranked: list[tuple[int, int, str, float, int, list[str]]] = []
        for group in sorted(rest, key=distance):
            device = self.scenario.device[group[0]]
            kind = (self.scenario.tier_index[device.tier], device.device_class)
            ranked.append((turns[kind], *kind, distance(group), len(ranked), group))
            turns[kind] += 1
        chosen = sorted(ranked, key=lambda r: r[:5])[: max(0, _MOST_SLOTS - len(own))]
        return own + [r[5] for r in sorted(chosen, key=lambda r: (r[1], r[2], r[0]))]

    def _hops(self, devices: Sequence[Device]) -> tuple[FloatArray, FloatArray, FloatArray]:
        shape = (len(devices), len(devices))
        base, per_byte, usd = np.full(shape, np.inf), np.zeros(shape), np.zeros(shape)
        for i, a in enumerate(devices):
            for j, b in enumerate(devices):
                link = self.scenario.network.between(a.id, b.id)
                if i == j:
                    base[i, j] = 0.0
                elif link is not None:
                    base[i, j] = link.rtt_ms / 2
                    per_byte[i, j] = 8e-3 / link.bandwidth_mbps if link.bandwidth_mbps else np.inf
                    usd[i, j] = link.price_usd_gb / BYTES_PER_GB
        return base, per_byte, usd


def _numbers(link: Link | None) -> Hashable:
    return (link.rtt_ms, link.bandwidth_mbps, link.price_usd_gb) if link else None
