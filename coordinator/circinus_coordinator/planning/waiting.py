"""Waiting at each option of an operator, with the query's own load added."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.latency import dealt_scv, service_moments, wait
from circinus_coordinator.planning.loads import SLACK, Ledger, tokens
from circinus_coordinator.planning.programme import Programme, StepOptions
from circinus_coordinator.planning.uses import InstanceKey

__all__ = ["SUMS", "Base"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SUMS = ("rate", "busy", "second", "third", "scv", "squares")


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
            "scv": rate * dealt_scv(scv, streams),
            "squares": rate * rate / max(1.0, streams),
        }
        return self.own

    def replicas(self, busy: FloatArray) -> FloatArray:
        """Workers at a load."""
        scenario = self.programme.scenario
        if not scenario.queueing:
            return np.ones(len(busy))
        needed = np.ceil(busy / scenario.max_utilisation * (1 - SLACK))
        return np.where(self.single, 1.0, np.maximum(1.0, needed))

    def memory(self, step: StepOptions, busy: FloatArray) -> FloatArray:
        """Memory of the whole instance at a load, as large as its largest user says."""
        size = np.maximum(step.memory, self.held) if busy is not self.sums["busy"] else self.held
        return np.asarray(size * self.replicas(busy))

    def waits(self, new: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of waiting for a worker, then for the device's resources."""
        replicas = self.replicas(new["busy"])
        first = wait(
            **new, servers=replicas, utilisation=new["busy"] / replicas, batch=self.step.batch
        )
        mean: FloatArray = np.zeros(len(replicas))
        variance: FloatArray = np.zeros(len(replicas))
        for column, name in enumerate(self.programme.resources):
            if self.step.compute[:, column].any():
                more = self._device_wait(column, name, new["busy"], replicas)
                mean, variance = np.maximum(mean, more[0]), np.maximum(variance, more[1])
        return first.mean + mean, first.variance + variance

    def _device_wait(
        self, column: int, name: str, busy: FloatArray, replicas: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        ledger, slot, use = self.ledger, self.step.slot, self.step.compute[:, column]
        devices = self.programme.devices
        amount = np.array([ledger.scenario.class_of(d).resources.get(name, 0.0) for d in devices])[
            slot
        ]
        load = np.array([ledger.load((name, d)) for d in devices])[slot] + use * self.rate_rps
        sums = {
            s: np.array(
                [
                    getattr(ledger.stations[name, d], s) if (name, d) in ledger.stations else 0.0
                    for d in devices
                ]
            )[slot]
            + self.own[s]
            for s in SUMS
        }
        held = self.compute[:, column]
        before = self.replicas(self.sums["busy"]) * _tokens(held, self.sums["busy"])
        after = held + use * self.rate_rps
        base = np.array([ledger.needed(name, d) for d in devices])[slot]
        needed = base - before + replicas * _tokens(after, busy)
        with np.errstate(divide="ignore", invalid="ignore"):
            others = np.maximum(0.0, load - after / replicas) / amount
            found = wait(
                **sums,
                servers=amount / _tokens(load, sums["busy"]),
                utilisation=others,
                batch=np.ones(len(slot)),
            )
        none = (needed <= amount) | (use <= 0) | (others <= 0)
        return np.where(none, 0.0, found.mean), np.where(none, 0.0, found.variance)


def _tokens(held: FloatArray, busy: FloatArray) -> FloatArray:
    return np.array([tokens(h, b) for h, b in zip(held, busy, strict=True)])
