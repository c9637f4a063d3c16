"""Where a query's operators may run, reduced to kinds of machines and the ways between them.

To decide what to measure it does not matter which of twenty alike edge boxes serves: a *site* is
all devices of one class in one tier, as well connected as the best of them. A source device is a
site of its own, since its data starts there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circinus.fleet import Device, DeviceClass, Link
from circinus.pipeline import Deliver, Pipeline
from circinus.query import Query

__all__ = ["Ground", "Hop", "Site", "Terrain"]

_TYPICAL_BYTES = 1e5  # by which links are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Devices of one class in one tier.

    Attributes:
        tier: Position, larger is further out.
    """

    device_class: str
    tier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """The way between two sites, in two significant digits: what is nearly alike is alike.

    Links of a kind are measured a little differently each time, and queries that look the same
    share one search.
    """

    rtt_ms: float
    mbps: float
    usd_gb: float

    @classmethod
    def of(cls, link: Link) -> Hop:
        """Of a link's figures."""
        return cls(
            rtt_ms=_rounded(link.rtt_ms),
            mbps=_rounded(link.bandwidth_mbps),
            usd_gb=link.price_usd_gb,
        )

    def ms(self, size_bytes: float) -> float:
        """Time for so many bytes on an idle link: as in `circinus.fleet.Link.transfer_ms`."""
        return self.rtt_ms / 2 + size_bytes * self.ms_per_byte

    @property
    def ms_per_byte(self) -> float:
        """Inf where nothing gets through."""
        return 8e-3 / self.mbps if self.mbps > 0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """All that decides which plans a query has; queries with equal ones have the same.

    Attributes:
        sites: Those of the source devices first.
        allowed: By operator of the pipeline, the sites where it may run.
        sources: Site where the input of each source operator starts.
        hops: By pair of sites, the smaller first; a pair without one is not connected.
    """

    sites: tuple[Site, ...]
    allowed: tuple[tuple[int, ...], ...]
    sources: tuple[int, ...]
    hops: tuple[tuple[tuple[int, int], Hop], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """The fleet, as far as menus depend on it.

    Attributes:
        devices: By id.
        tiers: Position of each tier.
        classes: For prices.
        assumed: The link between two devices by the fleet file; None where there is none.
    """

    devices: Mapping[str, Device]
    tiers: Mapping[str, int]
    classes: Mapping[str, DeviceClass]
    assumed: Callable[[str, str], Link | None]
    _groups: dict[tuple[Site, Site], Hop | None] = field(default_factory=dict)

    def ground(
        self,
        query: Query,
        pipeline: Pipeline,
        pairs: Iterable[tuple[str, str]],
        link: Callable[[str, str], Link | None],
    ) -> Ground:
        """The ground of a query.

        Args:
            pairs: (operator, device) pairs that are permitted.
            link: As far as known between two devices now.
        """
        homes = list(dict.fromkeys(query.source[name] for name in pipeline.sources))
        own = {self._site(home) for home in homes}
        members: dict[Site, list[str]] = {}
        may: dict[str, set[str | Site]] = {name: set() for name in pipeline.operators}
        for operator, device in pairs:
            site = self._site(device)
            if device in homes:
                may[operator].add(device)
            elif site not in own:  # another camera like the source's: no better than the source
                may[operator].add(site)
                if device not in members.setdefault(site, []):
                    members[site].append(device)
        others = sorted(members, key=lambda s: (s.tier, s.device_class))
        named: list[str | Site] = [*homes, *others]
        number = {name: k for k, name in enumerate(named)}
        hops = {}
        for i, a in enumerate(named):
            for j in range(i + 1, len(named)):
                hop = self._hop(a, named[j], members, link)
                if hop is not None:
                    hops[i, j] = hop
        return Ground(
            sites=tuple(self._site(n) if isinstance(n, str) else n for n in named),
            allowed=tuple(
                tuple(sorted(number[site] for site in may[name])) for name in pipeline.operators
            ),
            sources=tuple(number[query.source[name]] for name in pipeline.sources),
            hops=tuple(hops.items()),
        )

    def links_changed(self) -> None:
        """Forget how sites are connected."""
        self._groups.clear()

    def _site(self, device: str) -> Site:
        row = self.devices[device]
        return Site(device_class=row.device_class, tier=self.tiers[row.tier])

    def _hop(
        self,
        a: str | Site,
        b: str | Site,
        members: Mapping[Site, Sequence[str]],
        link: Callable[[str, str], Link | None],
    ) -> Hop | None:
        between_groups = isinstance(a, Site) and isinstance(b, Site)
        if between_groups and (a, b) in self._groups:  # alike for all queries, or nearly so
            return self._groups[a, b]  # type: ignore[index]
        ends = [[n] if isinstance(n, str) else members[n] for n in (a, b)]
        found = [row for x in ends[0] for y in ends[1] if (row := link(x, y)) is not None]
        best = min(found, key=lambda row: row.transfer_ms(_TYPICAL_BYTES), default=None)
        hop = None if best is None else Hop.of(best)
        if between_groups:
            self._groups[a, b] = hop  # type: ignore[index]
        return hop


def home(pipeline: Pipeline, ground: Ground) -> int | None:
    """The site where results are handed over; None for where the last operator runs."""
    return ground.sources[0] if pipeline.deliver is Deliver.SOURCE else None


def _rounded(value: float) -> float:
    if value <= 0 or not math.isfinite(value):
        return value
    digits = 1 - math.floor(math.log10(value))
    return round(value, digits)
