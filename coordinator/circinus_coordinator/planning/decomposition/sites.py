"""Sites: what a source can reach, with machines pooled that nothing tells apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import CORES, Link
from circinus.scenario import Scenario
from circinus_coordinator.planning.decomposition.held import HELD
from circinus_coordinator.planning.holding import units_of
from circinus_coordinator.planning.loads import SLACK

__all__ = ["Layout", "Resources", "Site", "Sites"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Row = tuple[str, int, int]
"""(resource, node, node): compute and uplinks name one node twice, links both ends."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Sites that look the same from the inside; position i stands for node i of each site.

    Attributes:
        number: Identifier.
        sources: Positions of the source devices come first.
        compute: `(nodes, resources)` feature of each per-second resource.
        link: `(nodes, nodes)` feature of each link, symmetric; -1 where there is none.
        uplink: `(nodes,)` feature of each capped uplink; -1 where there is no cap.
        features: Number of features.
    """

    number: int
    sources: int
    compute: IntArray
    link: IntArray
    uplink: IntArray
    features: int


@dataclass(frozen=True, slots=True)
class Site:
    """The nodes a set of sources can reach, and the resource row of each feature."""

    layout: Layout
    nodes: tuple[int, ...]
    rows: IntArray


class Resources:
    """Numbers the resources of all sites, and knows their capacities."""

    def __init__(self) -> None:
        self._rows: dict[Row, int] = {}
        self._keys: list[Row] = []
        self._capacities: list[float] = []

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, key: Row, capacity: float) -> int:
        """The number of a resource, new ones added."""
        found = self._rows.setdefault(key, len(self._capacities))
        if found == len(self._capacities):
            self._capacities.append(capacity)
            self._keys.append(key)
        return found

    @property
    def keys(self) -> list[Row]:
        """All resources in the order of their numbers."""
        return list(self._keys)

    def key(self, number: int) -> Row:
        """The resource of a number."""
        return self._keys[number]

    @property
    def capacities(self) -> FloatArray:
        """`(rows,)` core-seconds per second, megabits per second."""
        return np.array(self._capacities, dtype=np.float64)


class Sites:
    """Finds the site of each source; equal ones share a layout."""

    def __init__(self, scenario: Scenario, compute: tuple[str, ...]) -> None:
        self.scenario = scenario
        self.compute = compute
        self.resources = Resources()
        self._tiers = set(scenario.tiers)
        self._ends: dict[str, list[str]] = defaultdict(list)
        for row in scenario.links:
            a, b = row.between
            self._ends[a].append(b)
            self._ends[b].append(a)
        self.members: list[tuple[str, ...]] = []
        self._group: dict[str, int] = {}
        self._in_tier: dict[str, list[int]] = defaultdict(list)
        self._pool()
        self._single: dict[str, int] = {}
        self._sites: dict[tuple[object, ...], Site] = {}
        self._layouts: dict[tuple[object, ...], Layout] = {}
        self._reach: dict[tuple[int, bool], list[int]] = {}

    def of(self, sources: tuple[str, ...], *, backward: bool) -> Site:
        """The site of these source devices.

        Args:
            sources: Distinct device ids.
            backward: Data may go inwards along the tiers.
        """
        key = (sources, backward)
        if key not in self._sites:
            self._sites[key] = self._site(sources, backward)
        return self._sites[key]

    def _pool(self) -> None:
        groups: dict[tuple[object, ...], list[str]] = {}
        for device in self.scenario.devices:
            # A link row of its own tells a machine from its like.
            apart = device.id if self._ends.get(device.id) else None
            key = (device.tier, device.device_class, device.uplink_mbps, apart)
            groups.setdefault(key, []).append(device.id)
        for (tier, *_), group in groups.items():
            self._in_tier[str(tier)].append(len(self.members))
            self._group.update(dict.fromkeys(group, len(self.members)))
            self.members.append(tuple(group))

    def _node(self, source: str) -> int:
        """The node of a source by itself: its group where it is alone in it."""
        group = self._group[source]
        if len(self.members[group]) == 1:
            return group
        if source not in self._single:
            self._single[source] = len(self.members)
            self.members.append((source,))
        return self._single[source]

    def _site(self, sources: tuple[str, ...], backward: bool) -> Site:
        first = tuple(self._node(source) for source in sources)
        groups = [self._group[source] for source in sources]
        seen = dict.fromkeys(first)
        frontier = list(zip(first, groups, strict=True))
        while frontier:
            node, group = frontier.pop()
            for outer in self._outward(group, backward):
                # A group of nothing but sources is there already, one by one.
                if outer in seen or set(sources).issuperset(self.members[outer]):
                    continue
                if self.link(node, outer) is not None:
                    seen[outer] = None
                    frontier.append((outer, outer))
        others = [node for node in seen if node not in first]
        others.sort(key=lambda node: self._order(first, node))
        nodes = (*first, *others)
        layout = self._layout(nodes, len(first))
        return Site(layout=layout, nodes=nodes, rows=self._rows(nodes, layout))

    def _outward(self, group: int, backward: bool) -> list[int]:
        """Groups a machine of this group may send to."""
        key = (group, backward)
        if key not in self._reach:
            scenario, device = self.scenario, self.members[group][0]
            tier = scenario.device[device].tier
            found: dict[int, None] = {}
            for end in (*self._ends.get(device, ()), *self._ends.get(tier, ())):
                found.update(
                    dict.fromkeys(self._in_tier[end] if end in self._tiers else [self._group[end]])
                )
            least = scenario.tier_index[tier]
            self._reach[key] = [
                g
                for g in found
                if backward
                or scenario.tier_index[scenario.device[self.members[g][0]].tier] >= least
            ]
        return self._reach[key]

    def link(self, a: int, b: int) -> Link | None:
        """The link between machines of two different nodes."""
        one = self.members[a][0]
        two = next((m for m in self.members[b] if m != one), None)
        return None if two is None else self.scenario.network.between(one, two)

    def _order(self, first: tuple[int, ...], node: int) -> tuple[object, ...]:
        links = tuple(_figures(self.link(source, node)) for source in first)
        return (*self._looks(node), links, node)

    def _looks(self, node: int) -> tuple[object, ...]:
        device = self.scenario.device[self.members[node][0]]
        uplink = -1.0 if device.uplink_mbps is None else device.uplink_mbps
        return self.scenario.tier_index[device.tier], device.device_class, uplink

    def _layout(self, nodes: tuple[int, ...], sources: int) -> Layout:
        links = tuple(
            _figures(self.link(a, b)) for i, a in enumerate(nodes) for b in nodes[i + 1 :]
        )
        key = (sources, tuple(self._looks(node) for node in nodes), links)
        if key not in self._layouts:
            self._layouts[key] = self._new_layout(nodes, sources)
        return self._layouts[key]

    def _new_layout(self, nodes: tuple[int, ...], sources: int) -> Layout:
        count = len(nodes)
        compute = np.arange(count * len(self.compute), dtype=np.int64).reshape(count, -1)
        link = np.full((count, count), -1, dtype=np.int64)
        uplink = np.full(count, -1, dtype=np.int64)
        features = compute.size
        for i, a in enumerate(nodes):
            if self.scenario.device[self.members[a][0]].uplink_mbps is not None:
                uplink[i] = features
                features += 1
            for j in range(i + 1, count):
                if self.link(a, nodes[j]) is not None:
                    link[i, j] = link[j, i] = features
                    features += 1
        return Layout(len(self._layouts), sources, compute, link, uplink, features)

    def _rows(self, nodes: tuple[int, ...], layout: Layout) -> IntArray:
        scenario, use = self.scenario, self.scenario.max_utilisation * (1 + SLACK)
        rows = np.full(layout.features, -1, dtype=np.int64)
        for i, a in enumerate(nodes):
            size = len(self.members[a])
            device = scenario.device[self.members[a][0]]
            amounts = scenario.class_of(device.id).resources
            for r, name in enumerate(self.compute):
                capacity = amounts.get(name, 0.0) * use * size
                if name == HELD:  # all cores may be held, if no more of them are busy
                    capacity = units_of(CORES, amounts.get(CORES, 0.0)) * (1 + SLACK) * size
                rows[layout.compute[i, r]] = self.resources.row((name, a, a), capacity)
            if device.uplink_mbps is not None:
                capacity = device.uplink_mbps * (1 + SLACK) * size
                rows[layout.uplink[i]] = self.resources.row(("uplink", a, a), capacity)
            for j in range(i + 1, len(nodes)):
                b = nodes[j]
                found = self.link(a, b)
                if found is not None:
                    capacity = found.bandwidth_mbps * use * size * len(self.members[b])
                    ends = (min(a, b), max(a, b))
                    rows[layout.link[i, j]] = self.resources.row(("link", *ends), capacity)
        return rows


def _figures(link: Link | None) -> tuple[float, float, float]:
    """What a query sees of a link; negative where there is none."""
    if link is None:
        return (-1.0, -1.0, -1.0)
    return (link.rtt_ms, link.bandwidth_mbps, link.price_usd_gb)
