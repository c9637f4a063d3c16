"""Waiting at each option of an operator, with the query's own load added."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.batches import Factors, factors, sojourn
from circinus_coordinator.planning.holding import meeting
from circinus_coordinator.planning.latency import (
    Station,
    Wait,
    gaps_scv,
    lengthened,
    service_moments,
    wait,
)
from circinus_coordinator.planning.loads import SLACK, SUMS, Ledger
from circinus_coordinator.planning.programme import Programme, StepOptions
from circinus_coordinator.planning.uses import InstanceKey, taken

__all__ = ["Base"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Base:
    """What the ledger holds for each option before the query comes; arrays `(options,)`."""

    def __init__(self, programme: Programme, step: StepOptions, ledger: Ledger) -> None:
        self.programme, self.step, self.ledger = programme, step, ledger
        self.exists = np.zeros(len(step.rows))
        self.held = np.zeros(len(step.rows))
        self.single = np.full(len(step.rows), step.stateful)
        self.compute = np.zeros(step.compute.shape)
        self.sums: dict[str, FloatArray] = {name: np.zeros(len(step.rows)) for name in SUMS}
        for i, (slot, row) in enumerate(zip(step.slot, step.rows, strict=True)):
            device = programme.devices[slot]
            key: InstanceKey = (device, step.implementation, row.config, row.batch)
            found = ledger.instances.get(device, {}).get(key)
            if found is None:
                continue
            self.exists[i], self.held[i] = 1.0, found.memory_mb
            self.single[i] |= found.stateful
            for name in SUMS:
                self.sums[name][i] = getattr(found.station, name)
            for column, resource in enumerate(programme.resources):
                self.compute[i, column] = found.compute.get(resource, 0.0)
        used = zip(*(step.compute + self.compute).T, strict=True)
        self.taken = np.array(
            [taken(dict(zip(programme.resources, row, strict=True))) for row in used]
        )

    def with_own(self, stream: tuple[float, float, float]) -> dict[str, FloatArray]:
        """The instance sums with the query's own load added."""
        return {name: self.sums[name] + own for name, own in self._own(stream).items()}

    def _own(self, stream: tuple[float, float, float]) -> dict[str, FloatArray]:
        rate_rps, streams, scv = stream
        rate = rate_rps / 1e3 / self.step.batch
        second, third = service_moments(self.step.mean, self.step.station_variance)
        self.rate_rps = rate_rps
        self.own = {
            "rate": rate,
            "busy": rate * self.step.mean,
            "second": rate * second,
            "third": rate * third,
            "scv": rate * gaps_scv(scv, streams),
            "squares": rate * rate / max(1.0, streams),
            "clock": rate * rate / max(1.0, streams) if scv == 0 else 0.0 * rate,
            "waited": 0.0 * rate,
        }
        return self.own

    def replicas(self, busy: FloatArray) -> FloatArray:
        """Workers at a load."""
        scenario = self.programme.scenario
        if not scenario.queueing:
            return np.ones(len(busy))
        needed = np.ceil(busy * self.taken / scenario.max_utilisation * (1 - SLACK))
        return np.where(self.single, 1.0, np.maximum(1.0, needed))

    def memory(self, step: StepOptions, busy: FloatArray) -> FloatArray:
        """Memory of the whole instance at a load, as large as its largest user says."""
        size = np.maximum(step.memory, self.held) if busy is not self.sums["busy"] else self.held
        return np.asarray(size * self.replicas(busy))

    def waits(self, new: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of waiting for a worker, then for the device's resources."""
        replicas = self.replicas(new["busy"])
        mean: FloatArray = np.zeros(len(replicas))
        variance: FloatArray = np.zeros(len(replicas))
        for column, name in enumerate(self.programme.resources):
            if self.step.compute[:, column].any():
                more = self._device_wait(column, name, new["busy"], replicas)
                mean, variance = mean + more.mean, variance + more.variance  # lines in a row
        longer = lengthened(new, Wait(mean, variance))
        first = wait(
            **longer, servers=replicas, utilisation=longer["busy"] / replicas, batch=self.step.batch
        )
        waited, spread = first.mean + mean, first.variance + variance
        for i, scale in self._batched():
            # Batches need not be full, so waiting and service are found together.
            station = Station(*(float(longer[name][i]) for name in SUMS))
            service = float(self.step.mean[i]), float(self.step.variance[i])
            whole = sojourn(station, float(replicas[i]), scale, service)
            waited[i] = whole[0] - service[0] + mean[i]
            spread[i] = whole[1] - service[1] + variance[i]
        return waited, spread

    def _batched(self) -> Iterator[tuple[int, Factors]]:
        """Options with batches, and how long those that are not full take."""
        step = self.step
        for i in np.flatnonzero(step.batch > 1).tolist():
            alike = np.flatnonzero(
                (step.slot == step.slot[i])
                & (step.config == step.config[i])
                & (step.batch <= step.batch[i])
            )
            order = alike[np.argsort(step.batch[alike])]
            yield i, factors([int(n) for n in step.batch[order]], step.mean[order].tolist())

    def _device_wait(self, column: int, name: str, busy: FloatArray, replicas: FloatArray) -> Wait:
        """As `Ledger.line`, with the query's own load on top."""
        devices, ledger = self.programme.devices, self.ledger
        used = sorted(set(self.step.slot.tolist()))
        holdings = {slot: ledger.holding((name, devices[slot])) for slot in used}
        use = self.step.compute[:, column] * self.rate_rps
        after = np.zeros((4, len(busy)))  # held on average, by others, chance to wait, size
        for i in np.flatnonzero(use > 0).tolist():
            slot = int(self.step.slot[i])
            row = self.step.rows[i]
            key: InstanceKey = (devices[slot], self.step.implementation, row.config, row.batch)
            amount = ledger.scenario.class_of(devices[slot]).resources.get(name, 0.0)
            load = (self.compute[i, column] + use[i], busy[i], int(replicas[i]))
            after[:, i] = meeting(holdings[slot], key, (name, amount), load)
        held, others, chance, size = after
        sums = {
            s: np.array(
                [
                    getattr(ledger.stations[name, d], s) if (name, d) in ledger.stations else 0.0
                    for d in devices
                ]
            )[self.step.slot]
            + self.own[s]
            for s in SUMS
        }
        size = np.maximum(size, 1.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = wait(
                **sums,
                servers=size * sums["busy"] / np.maximum(held, 1e-300),
                utilisation=np.where(held >= size, 1.0, others / size),
                batch=np.ones(len(busy)),
                chance=chance,
            )
        none = (use <= 0) | (chance <= 0)
        return Wait(np.where(none, 0.0, found.mean), np.where(none, 0.0, found.variance))
