"""Profiles of operators on machines, computed from templates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config, OperatorSpec
from circinus.profile import LatencyStats, OperatorProfile, Provenance
from circinus_coordinator.generation.dice import Dice, figure
from circinus_coordinator.generation.machines import MACHINES, Machine
from circinus_coordinator.generation.templates import Level, OperatorTemplate

__all__ = ["K95", "K99", "OperatorFigures", "operator_figures", "specification"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Standardised 95th and 99th percentile of a gamma of shape 4, from which p50 and p99 follow the
# p95 of a template: one shape for all service times (assumed).
K95, K99 = 1.8768, 3.0226
# Where a mean exceeds this, nobody would have gone on measuring, and there is no row (assumed).
SLOWEST_MS = 20_000.0
# Of a machine's memory, what one instance may take (assumed: the rest is the system's).
MEMORY_SHARE = 0.85
# Handing over a request, per step; per call of an accelerator; both assumed.
STEP_MS, LAUNCH_MS = 0.2, 1.0
# A host core's time while its accelerator works (assumed).
HOST_SHARE = 0.15
# Speed-up by threads, of ONNX models on small machines (assumed).
_SPEED_UP = {1: 1.0, 2: 1.8, 4: 3.1}
SAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFigures:
    """An operator's configs and what each does; arrays over configs.

    Attributes:
        configs: In the order of the knobs' product.
        loss: Fraction of accuracy given up.
        output_bytes: Of a request.
        neutral: True where a neutral knob is not at its first value.
        first: For each config, the one with all neutral knobs at their first value.
        mean_ms: By class name; `inf` where it cannot run.
        deviation_ms: Standard deviation that a gamma of shape 4 would have, by class name.
        cores_s: Core seconds per request, by class name.
        gpu_s: Accelerator seconds per request, by class name.
        memory_mb: Of one instance.
        price_usd: Per call.
    """

    template: OperatorTemplate
    configs: tuple[Config, ...]
    loss: FloatArray
    output_bytes: FloatArray
    neutral: npt.NDArray[np.bool_]
    first: IntArray
    mean_ms: Mapping[str, FloatArray]
    deviation_ms: Mapping[str, FloatArray]
    cores_s: Mapping[str, FloatArray]
    gpu_s: Mapping[str, FloatArray]
    memory_mb: FloatArray
    price_usd: FloatArray

    def rows(self) -> Iterator[OperatorProfile]:
        """A profile row for each config on each class that can run it."""
        for name, mean in self.mean_ms.items():
            has_gpu = bool(self.gpu_s[name].any())
            for i, config in enumerate(self.configs):
                if math.isinf(mean[i]):
                    continue
                compute = {"cores": float(self.cores_s[name][i])}
                if has_gpu:
                    compute["gpu"] = float(self.gpu_s[name][i])
                yield OperatorProfile(
                    operator=self.template.name,
                    config=config,
                    device_class=name,
                    latency_ms=_stats(float(mean[i]), float(self.deviation_ms[name][i])),
                    compute_s=compute,
                    memory_mb=float(self.memory_mb[i]),
                    output_bytes=float(self.output_bytes[i]),
                    price_usd_per_call=float(self.price_usd[i]),
                    samples=SAMPLES,
                    provenance=Provenance.ASSUMED,
                )


def specification(
    template: OperatorTemplate, needs: tuple[str, ...], tiers: Sequence[str]
) -> OperatorSpec:
    """The operator as a pipeline has it."""
    allowed = None
    if template.tiers is not None:
        allowed = tuple(tier for tier in tiers if tier in template.tiers)
    return OperatorSpec(
        name=template.name,
        needs=needs,
        knobs={knob.name: tuple(level.value for level in knob.levels) for knob in template.knobs},
        tiers=allowed,
        neutral_knobs=tuple(knob.name for knob in template.knobs if knob.neutral),
    )


def operator_figures(
    template: OperatorTemplate, classes: Sequence[str], seed: int
) -> OperatorFigures:
    """An operator's figures on the classes, each varied a little by the seed."""
    dice = Dice(seed, "operator", template.name)
    levels = [knob.levels for knob in template.knobs]
    picks = _product([len(options) for options in levels])
    vary = {
        what: dice.between(1 - by, 1 + by)
        for what, by in (("work", 0.25), ("memory", 0.15), ("output", 0.2), ("loss", 0.2))
    }
    work = template.work_ms * vary["work"] * _factor(levels, picks, "work")
    work = work * (0.97 + 0.06 * dice.uniforms(len(picks)))  # what a measurement scatters
    loss = 1 - _complement(levels, picks)
    threads = _factor(levels, picks, "threads").astype(np.int64)
    remote = _sum(levels, picks, "remote_ms")
    memory = _rounded(template.memory_mb * vary["memory"] * _factor(levels, picks, "memory"), 3)
    first = _canonical(template, picks)
    by_class = {
        name: _on_machine(MACHINES[name], template.neural, work, threads, remote)
        for name in classes
    }
    mean: dict[str, FloatArray] = {}
    cores_s: dict[str, FloatArray] = {}
    gpu_s: dict[str, FloatArray] = {}
    for name, (latency, cores, gpu) in by_class.items():
        affinity = dice.between(0.9, 1.1)  # how well the code suits this machine
        fits = (
            (memory <= MEMORY_SHARE * MACHINES[name].memory_mb)
            & (latency <= SLOWEST_MS)
            & (threads <= MACHINES[name].cores)
        )
        mean[name] = np.where(fits, _rounded(latency * affinity), np.inf)
        cores_s[name], gpu_s[name] = _rounded(cores * affinity), _rounded(gpu * affinity)
    return OperatorFigures(
        template=template,
        configs=tuple(_configs(template, picks)),
        loss=np.minimum(loss * vary["loss"], 0.95),
        output_bytes=_rounded(
            template.output_bytes * vary["output"] * _factor(levels, picks, "output"), 3
        ),
        neutral=first != np.arange(len(picks)),
        first=first,
        mean_ms=mean,
        deviation_ms={
            n: np.where(np.isinf(m), 0.0, m * (template.spread / K95)) for n, m in mean.items()
        },
        cores_s=cores_s,
        gpu_s=gpu_s,
        memory_mb=memory,
        price_usd=_rounded(_sum(levels, picks, "price_usd")),
    )


def _on_machine(
    machine: Machine, neural: float, work: FloatArray, threads: IntArray, remote: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Latency (ms), core seconds and accelerator seconds per request, `(configs,)` each."""
    on_gpu = neural if machine.gpu_speed else 0.0
    speed_up = np.array([_SPEED_UP[int(n)] for n in threads])
    cpu_ms = work * (1 - on_gpu) * machine.slowdown
    gpu_ms: FloatArray = np.zeros(len(work))
    if on_gpu:
        gpu_ms = work * on_gpu / machine.gpu_speed + LAUNCH_MS
    latency = STEP_MS + cpu_ms / speed_up + gpu_ms + remote
    cores = (STEP_MS + cpu_ms * threads / speed_up + HOST_SHARE * gpu_ms) / 1e3
    return latency, cores, gpu_ms / 1e3


def _stats(mean: float, deviation: float) -> LatencyStats:
    return LatencyStats(
        mean=mean,
        p50=figure(mean - deviation * deviation / (3 * mean)),
        p95=figure(mean + K95 * deviation),
        p99=figure(mean + K99 * deviation),
    )


def _product(sizes: Sequence[int]) -> IntArray:
    """Every combination of levels, `(configs, knobs)`, the last knob fastest."""
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), tuple(sizes)), axis=1).astype(
        np.int64
    )


def _configs(template: OperatorTemplate, picks: IntArray) -> Iterator[Config]:
    for row in picks:
        yield Config(
            {knob.name: knob.levels[i].value for knob, i in zip(template.knobs, row, strict=True)}
        )


def _column(options: Sequence[Level], what: str) -> FloatArray:
    return np.array([getattr(level, what) for level in options], dtype=np.float64)


def _factor(levels: Sequence[Sequence[Level]], picks: IntArray, what: str) -> FloatArray:
    product: FloatArray = np.ones(len(picks))
    for k, options in enumerate(levels):
        product = product * _column(options, what)[picks[:, k]]
    return product


def _sum(levels: Sequence[Sequence[Level]], picks: IntArray, what: str) -> FloatArray:
    total: FloatArray = np.zeros(len(picks))
    for k, options in enumerate(levels):
        total = total + _column(options, what)[picks[:, k]]
    return total


def _complement(levels: Sequence[Sequence[Level]], picks: IntArray) -> FloatArray:
    """Accuracy kept: what each knob keeps of what the others left."""
    kept: FloatArray = np.ones(len(picks))
    for k, options in enumerate(levels):
        kept = kept * (1 - _column(options, "loss")[picks[:, k]])
    return kept


def _canonical(template: OperatorTemplate, picks: IntArray) -> IntArray:
    sizes = tuple(len(knob.levels) for knob in template.knobs)
    plain = picks.copy()
    for k, knob in enumerate(template.knobs):
        if knob.neutral:
            plain[:, k] = 0
    return np.asarray(np.ravel_multi_index(tuple(plain.T), sizes), dtype=np.int64)


def _rounded(values: FloatArray, digits: int = 4) -> FloatArray:
    return np.array([figure(float(value), digits) for value in values])
