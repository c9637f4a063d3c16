"""Queries compiled into programmes: what the label-setting search needs, as arrays.

A programme depends on the scenario and on the query's pipeline, sources and SLOs, not on load
or prices. Its devices are *slots*: machines of one class and tier behind equal links are
interchangeable for a query, so a few slots stand for all of them and are bound to actual
machines when the load is known.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import BYTES_PER_GB, CORES, DeviceClass
from circinus.pipeline import Config, Deliver, OperatorSpec, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.accuracy import AccuracyTable, Automaton, recognise
from circinus_coordinator.planning.candidates import ProfileIndex, allowed_devices, edge_allowed
from circinus_coordinator.planning.corrections import NONE, Corrections
from circinus_coordinator.planning.latency import service_variance
from circinus_coordinator.planning.programme import (
    STATION_PERCENTILE,
    Hops,
    Programme,
    StepOptions,
    planning_order,
)

__all__ = ["Catalogue"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The options of one operator on one machine: rows, figures `(rows,)` and compute."""

    rows: tuple[OperatorProfile, ...]
    figures: Mapping[str, FloatArray]
    compute: FloatArray


class Catalogue:
    """Compiles queries, and keeps what several of them share.

    Args:
        scenario: Whose queries.
        like: A catalogue of a scenario that accuracies are the same in; spares sorting them.

    Attributes:
        corrections: Of what the model says of waiting; those of `like`, or none.
    """

    def __init__(self, scenario: Scenario, like: Catalogue | None = None) -> None:
        self.scenario = scenario
        self.corrections: Corrections = NONE if like is None else like.corrections
        self._like = like
        self.profiles = ProfileIndex(scenario)
        self.resources = tuple(
            dict.fromkeys(
                [CORES, *(a for c in scenario.device_classes.values() for a in c.accelerators)]
            )
        )
        self._tables: dict[str, AccuracyTable] = {}
        self._known_columns: dict[tuple[str, str, str, float], _Columns] = {}
        self._programmes: dict[tuple[object, ...], Programme] = {}
        self._bodies: dict[tuple[object, ...], Programme] = {}  # with any accuracy floor
        tiers = set(scenario.tiers)
        alike = collections.Counter(
            (d.tier, d.device_class, d.uplink_mbps) for d in scenario.devices
        )
        self._largest_group = max(alike.values(), default=1)
        self._special = {end for row in scenario.links for end in row.between if end not in tiers}

    def corrected(self, corrections: Corrections) -> Catalogue:
        """The same with other corrections; what is compiled is shared."""
        found = copy.copy(self)
        found.corrections = corrections
        return found

    @property
    def most_slots(self) -> int:
        """Beyond this many, telling machines of a group apart changes nothing."""
        return self._largest_group

    def accuracy(self, pipeline: str) -> AccuracyTable:
        """The accuracy table of a pipeline."""
        if pipeline not in self._tables:
            known = None
            if self._like is not None and self._like.scenario.accuracy is self.scenario.accuracy:
                known = self._like.accuracy(pipeline)
            self._tables[pipeline] = AccuracyTable(self.scenario, pipeline, known)
        return self._tables[pipeline]

    def programme(self, query: Query, *, slots: int = 1, floor: float | None = None) -> Programme:
        """The compiled query.

        Args:
            query: What to compile.
            slots: How many machines of each interchangeable group to tell apart.
            floor: Accuracy floor in place of the SLO's; negative for none.
        """
        wanted = query.slo.accuracy if floor is None else (floor if floor >= 0 else None)
        slots = min(slots, self._largest_group)
        place = (query.pipeline, tuple(sorted(query.source.items())), query.slo.percentile, slots)
        key = (*place, wanted)
        if key not in self._programmes:
            body = self._bodies.get(place)
            if body is None:
                groups = self._groups(
                    query, set().union(*allowed_devices(self.scenario, query).values())
                )
                bound = [(group, member) for group in groups for member in group[:slots]]
                body = self._bodies[place] = self.compile(query, bound, [wanted])
            else:  # a floor changes nothing but the automaton
                automaton = self._automaton(body.pipeline, body.order, body.steps, [wanted])
                body = dataclasses.replace(body, automaton=automaton)
            self._programmes[key] = body
        found = self._programmes[key]
        return found if found.query is query else dataclasses.replace(found, query=query)

    def compile(
        self,
        query: Query,
        bound: Sequence[tuple[tuple[str, ...], str]],
        floors: Sequence[float | None],
    ) -> Programme:
        """The query compiled on these machines and no others; nothing is kept.

        Args:
            query: What to compile.
            bound: For each slot its interchangeable machines and the one it is bound to.
            floors: Accuracy floors that may be asked for; None for none.
        """
        pipeline = self.scenario.pipelines[query.pipeline]
        devices = tuple(member for _, member in bound)
        allowed = allowed_devices(self.scenario, query, devices)
        order = planning_order(pipeline)
        position = {name: k for k, name in enumerate(order)}
        steps = tuple(
            self._options(query, name, devices, allowed[name], position) for name in order
        )
        entry = {
            k: (
                self._hops(pipeline, [query.source[name]], devices, row=True),
                pipeline.input_bytes[name],
            )
            for k, name in enumerate(order)
            if name in pipeline.sources
        }
        home = query.source[pipeline.sources[0]]
        return Programme(
            scenario=self.scenario,
            query=query,
            pipeline=pipeline,
            groups=tuple(group for group, _ in bound),
            devices=devices,
            order=order,
            steps=steps,
            last_use=tuple(
                max((position[c] for c in pipeline.consumers(name)), default=k)
                for k, name in enumerate(order)
            ),
            hops=self._hops(pipeline, devices, devices),
            entry=entry,
            exits=self._hops(pipeline, [home], devices, row=True, free=True)
            if pipeline.deliver is Deliver.SOURCE
            else None,
            automaton=self._automaton(pipeline, order, steps, floors),
            resources=self.resources,
        )

    def _groups(self, query: Query, devices: set[str]) -> list[tuple[str, ...]]:
        """Devices that no link row, uplink or source of this query tells apart."""
        groups: dict[tuple[object, ...], list[str]] = {}
        for device in self.scenario.devices:
            if device.id not in devices:
                continue
            apart = device.id in self._special or device.id in query.source.values()
            key = (
                device.tier,
                device.device_class,
                device.uplink_mbps,
                device.id if apart else None,
            )
            groups.setdefault(key, []).append(device.id)
        return [tuple(group) for group in groups.values()]

    def _options(
        self,
        query: Query,
        name: str,
        devices: Sequence[str],
        allowed: set[str],
        position: Mapping[str, int],
    ) -> StepOptions:
        spec = self.scenario.pipelines[query.pipeline].operators[name]
        parts = [
            (slot, self._columns(query, spec, self._class(device).name))
            for slot, device in enumerate(devices)
            if device in allowed
        ]
        rows = tuple(row for _, part in parts for row in part.rows)
        ids: dict[Config, int] = {}
        for row in rows:
            ids.setdefault(row.config, len(ids))

        def column(name: str) -> FloatArray:
            return np.concatenate([np.zeros(0), *(part.figures[name] for _, part in parts)])

        none: FloatArray = np.zeros((0, len(self.resources)))
        return StepOptions(
            name=name,
            needs=tuple(position[need] for need in spec.needs),
            rows=rows,
            slot=np.repeat(
                np.array([slot for slot, _ in parts], dtype=np.int64),
                np.array([len(part.rows) for _, part in parts], dtype=np.int64),
            ),
            config=np.array([ids[row.config] for row in rows], dtype=np.int64),
            configs=tuple(ids),
            mean=column("mean"),
            variance=column("variance"),
            station_variance=column("station_variance"),
            size=column("size"),
            usd=column("usd"),
            compute=np.concatenate([none, *(part.compute for _, part in parts)]),
            batch=column("batch"),
            memory=column("memory"),
            quickest=column("quickest"),
            stateful=spec.stateful,
            implementation=spec.implementation,
        )

    def _columns(self, query: Query, spec: OperatorSpec, device_class: str) -> _Columns:
        """The options of an operator on a machine of a class, for a percentile; computed once."""
        percentile = query.slo.percentile
        key = (query.pipeline, spec.name, device_class, percentile)
        if key not in self._known_columns:
            kind = self.scenario.device_classes[device_class]
            rows = tuple(
                row
                for row in self.profiles.rows(query.pipeline, spec, device_class)
                if _possible(row, kind)
            )
            stats = [row.latency_ms for row in rows]
            figures = {
                "mean": _column(s.mean for s in stats),
                "variance": _column(service_variance(s, percentile) for s in stats),
                "station_variance": _column(service_variance(s, STATION_PERCENTILE) for s in stats),
                "size": _column(row.output_bytes for row in rows),
                "usd": _column(
                    kind.usage_cost_usd(row.compute_s) + row.price_usd_per_call for row in rows
                ),
                "batch": _column(row.batch for row in rows),
                "memory": _column(row.memory_mb for row in rows),
                "quickest": _column(
                    min(self.profiles.factors(query.pipeline, spec, row)) for row in rows
                ),
            }
            compute = np.array(
                [[row.compute_s.get(r, 0.0) for r in self.resources] for row in rows],
                dtype=np.float64,
            ).reshape(len(rows), len(self.resources))
            self._known_columns[key] = _Columns(rows, figures, compute)
        return self._known_columns[key]

    def _class(self, device: str) -> DeviceClass:
        return self.scenario.class_of(device)

    def _hops(
        self,
        pipeline: Pipeline,
        froms: Sequence[str],
        tos: Sequence[str],
        *,
        row: bool = False,
        free: bool = False,
    ) -> Hops:
        shape = (len(froms), len(tos))
        base, per_byte, usd = np.full(shape, np.inf), np.zeros(shape), np.zeros(shape)
        for i, a in enumerate(froms):
            for j, b in enumerate(tos):
                link = self.scenario.network.between(a, b)
                if a == b:
                    base[i, j] = 0.0
                elif link and (free or edge_allowed(self.scenario, pipeline, a, b)):
                    base[i, j] = link.rtt_ms / 2
                    per_byte[i, j] = 8e-3 / link.bandwidth_mbps if link.bandwidth_mbps else np.inf
                    usd[i, j] = link.price_usd_gb / BYTES_PER_GB
        if row:
            base, per_byte, usd = base[0], per_byte[0], usd[0]
        return Hops(base_ms=base, ms_per_byte=per_byte, usd_per_byte=usd)

    def _automaton(
        self,
        pipeline: Pipeline,
        order: Sequence[str],
        steps: Sequence[StepOptions],
        floors: Sequence[float | None],
    ) -> Automaton:
        ids = [{config: i for i, config in enumerate(step.configs)} for step in steps]
        table = self.accuracy(pipeline.name)
        return recognise(
            [None if floor is None else table.vectors(floor, order, ids) for floor in floors],
            [len(step.configs) for step in steps],
        )


def _possible(row: OperatorProfile, kind: DeviceClass) -> bool:
    """True where an idle machine of the class could run it at all."""
    return row.memory_mb <= kind.memory_mb and all(
        seconds <= 0 or kind.resources[resource] > 0 for resource, seconds in row.compute_s.items()
    )


def _column(values: object) -> FloatArray:
    return np.fromiter(values, dtype=np.float64)  # type: ignore[call-overload,no-any-return]
