"""Devices that break down amid probes: what they measured is kept, and nothing counts twice."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from circinus.messages import CancelProbe, ProbeAccuracy, ProbeLink
from circinus_coordinator.profiling import AccuracyKey, Key, OperatorKey, Send, Summary

sys.path.insert(0, str(Path(__file__).parent))
from probing import Bench, device, query, wanted


class Fleet(Bench):
    """One device of a class at a time, with one truth, that breaks down as the seed has it."""

    def __init__(self, seed: int) -> None:
        super().__init__("dc", attempts=99)
        self.rng = np.random.default_rng(seed)
        self.truth = [float(x) for x in np.round(self.rng.random(50), 1)]
        self.boots = 0

    def known(self) -> dict[Key, Summary]:
        return {kept.key: kept.summary for kept in [*self.unfinished, *self.kept]}

    def counts(self) -> dict[Key, int]:
        return {key: row.samples for key, row in self.known().items()}

    def running(self) -> list[Send]:
        last = [o for o in self.sent if not isinstance(o.command, (CancelProbe, ProbeLink))]
        return last[-2:]

    def work(self, order: Send, messages: int) -> None:
        """Answer a probe so often; each time twice, as a link does that was cut."""
        for _ in range(messages):
            target = int(self.rng.integers(len(order.command.targets)))  # type: ignore[union-attr]
            if isinstance(order.command, ProbeAccuracy):
                first = order.command.targets[target].first
                scores = self.truth[first : first + int(self.rng.integers(1, 25))]
                for _ in range(2):
                    self.samples(order, target, scores=scores, first=first, population=50)
            else:
                self.samples(order, target, latency_ms=[1.0, 1.5])

    def break_down(self) -> None:
        """The device goes; sometimes another one of its class comes instead."""
        self.devices = {}
        self.online()
        self.boots += 1
        name = "dc" if self.rng.random() < 0.5 else "dc2"
        self.devices = {name: device(name, boot=f"boot-{self.boots}")}
        self.online()


@pytest.mark.parametrize("seed", range(12))
def test_probes_that_break_down_keep_what_they_have_and_count_nothing_twice(seed: int) -> None:
    fleet = Fleet(seed)
    fleet.want(wanted(devices="dc", queries=[query(accuracy=0.5)]))
    for _ in range(30):
        before, orders = fleet.counts(), fleet.running()
        for order in orders:
            fleet.work(order, int(fleet.rng.integers(1, 4)))
            if fleet.rng.random() < 0.3:
                fleet.result(order, error="out of memory")
        fleet.break_down()
        after = fleet.counts()
        assert all(after[key] >= n for key, n in before.items())
        for order in orders:
            fleet.work(order, 1)  # nobody listens any more
        assert fleet.counts() == after
    known = fleet.known()
    scored = [row.scores for key, row in known.items() if isinstance(key, AccuracyKey)]
    assert any(scored)
    assert all(scores == fleet.truth[: len(scores)] for scores in scored)
    assert any(isinstance(key, OperatorKey) and row.samples for key, row in known.items())
