"""How soon a device that serves otherwise than its profile is noticed, and how often in vain.

Run: ``python -m benchmarks.drift``. Simulated streams first: alarms about service as profiled, and
the delay until a change is noticed. Then what one more device of a known class costs to calibrate.
Last a coordinator and two agents as processes: one becomes three times slower while it serves.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._arguments import at_least, positive
from benchmarks._drift.fleet import Timeline, drill
from benchmarks._drift.streams import STEP_S, Kind, benign, lognormal, measured, messages, passing
from benchmarks._profiler.table import DATA, load
from circinus.histogram import Histogram
from circinus.pipeline import Config
from circinus_coordinator.profiling import (
    DriftSettings,
    Factors,
    OperatorKey,
    ProfilingSettings,
    Seen,
    Summary,
    compared,
    telling,
)

Floats = NDArray[np.float64]

BRIEF = ["--hours", "2", "--streams", "10", "--drills", "1"]
SETTINGS = DriftSettings()
SAMPLES = 20  # of a profile
RATE = 5.0
CALIBRATION_TARGET = 0.05
BACK_TARGET_S = 30.0


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables; 1 where calibration or the drills miss their targets."""
    parser = argparse.ArgumentParser(prog="circinus bench drift", description=__doc__)
    parser.add_argument("--hours", type=positive, default=24.0, metavar="H", help="per row [24]")
    parser.add_argument("--streams", type=at_least(1), default=100, metavar="N", help="[100]")
    parser.add_argument("--drills", type=at_least(0), default=3, metavar="N", help="[3]")
    given = parser.parse_args(arguments)
    _false_alarms(given.hours)
    _delays(given.streams)
    kept = _calibration(given.streams)
    drills = [_drilled() for _ in range(given.drills)]
    return 0 if kept and all(t.back_s <= BACK_TARGET_S for t in drills) else 1


# ---- simulated ----------------------------------------------------------------------------


class Device:
    """One that serves one operator, and the factors a coordinator has of it."""

    def __init__(self, profile: tuple[float, ...]) -> None:
        self.profile = profile
        self.factors = Factors(SETTINGS)
        self.now = 0.0

    def serve(self, served: Histogram) -> bool:
        """Take in a message; whether the device is planned otherwise from now on."""
        self.now += STEP_S
        factor = self.factors.apart.get("d")
        times = 1.0 if factor is None else factor.of("o")
        seen = Seen(
            instance="i",
            implementation="o",
            class_ms=self.profile,
            expected_ms=tuple(ms * times for ms in self.profile),
            served=served,
            seconds=STEP_S,
        )
        return self.factors.served("d", [seen], self.now) is not None


def _false_alarms(hours: float) -> None:
    print(f"changes of a device's factor per day, {RATE:g} batches/s, {hours:g} hours each; stated")
    print(
        f"of service as profiled: one in {SETTINGS.false_alarm_days:g} days at the most; the last"
    )
    print("two rows are slower than that for a while now and then")
    for kind in [*benign(), *passing()]:
        rng = np.random.default_rng(1)
        device = Device(kind.samples(rng, SAMPLES))
        times = kind.draw(rng, int(hours * 3600 * RATE), RATE)
        began = time.process_time()
        changes = [device.serve(served) for served in messages(times, RATE, rng)]
        cpu_us = (time.process_time() - began) / len(changes) * 1e6
        print(f"  {kind.name:38}{sum(changes) * 24 / hours:8.1f}   {cpu_us:6.0f} us per message")


def _delays(streams: int) -> None:
    print(f"\nseconds until noticed, median (95th) of {streams} streams; '-': not in 10 minutes")
    rates = (1.0, 5.0, 20.0)
    print(f"  {'':38}" + "".join(f"{rate:>14g}/s" for rate in rates))
    for kind in (lognormal(0.1), lognormal(0.3), measured(1), measured(3)):
        for times in (1.4, 2.0, 3.0, 1 / 3):
            cells = [
                _cell([_delay(kind, times, rate, seed) for seed in range(streams)])
                for rate in rates
            ]
            print(f"  {kind.name:28}{f'x {times:.2g}':>10}" + "".join(f"{c:>16}" for c in cells))


def _cell(delays: list[float]) -> str:
    median, high = (float(np.quantile(delays, q, method="higher")) for q in (0.5, 0.95))
    return " ".join(f"{t:.0f}" if math.isfinite(t) else "-" for t in (median,)) + (
        f" ({high:.0f})" if math.isfinite(high) else " (-)"
    )


def _delay(kind: Kind, times: float, rate: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    device = Device(kind.samples(rng, SAMPLES))
    for served in messages(kind.draw(rng, int(300 * rate), rate), rate, rng):
        device.serve(served)
    changed = kind.draw(rng, int(600 * rate), rate) * times
    for n, served in enumerate(messages(changed, rate, rng), start=1):
        if device.serve(served):
            return n * STEP_S
    return math.inf


# ---- calibration --------------------------------------------------------------------------


def _calibration(streams: int) -> bool:
    """Device seconds of samples, for read-signs; without starting operators, the same in both."""
    table = load(DATA / "read-signs")
    settings = ProfilingSettings()
    full: dict[OperatorKey, Summary] = {}
    for operator, name in enumerate(table.manifest["operators"]):
        for number in np.unique(table.configs[:, operator]):
            # Below the best configs of what comes before, as probes are.
            rows = np.flatnonzero(table.configs[:, operator] == number)
            node = int(table.paths[rows[0], operator])
            key = OperatorKey(
                pipeline="read-signs", operator=name, implementation=name, version="",
                signature="", config=Config({"n": int(number)}), device_class="c", batch=1,
            )  # fmt: skip
            times = table.latency_ms[node].tolist()
            summary = full[key] = Summary()
            while not summary.enough(settings):
                summary.latency_ms.append(times[len(summary.latency_ms)])
    class_ms = {key: summary.latency_ms for key, summary in full.items()}
    chosen = telling(class_ms, SETTINGS)
    whole_s = sum(sum(ms) for ms in class_ms.values()) / 1e3
    # How alike two runs of one input are: detect takes all pictures in as much time.
    detect = np.log(table.latency_ms[int(table.paths[0, 1])])
    noise = detect - np.median(detect)
    rng = np.random.default_rng(2)
    errors, short_s = [], []
    for _ in range(streams):
        true = float(np.exp(rng.uniform(-1, 1)))
        n = SETTINGS.calibration_samples
        mine = {
            key: (true * np.array(class_ms[key][:n]) * np.exp(rng.choice(noise, n))).tolist()
            for key in chosen
        }
        short_s.append(sum(sum(ms) for ms in mine.values()) / 1e3 / true)
        ratios = compared(mine, class_ms, SETTINGS)
        errors += [abs(r / true - 1) for rs in ratios.values() for r in rs if r != 1.0]
    part = float(np.mean(short_s)) / whole_s
    names = ", ".join(f"{key.operator} {key.config}" for key in chosen)
    print(f"\none more device of a known class, read-signs ({len(full)} operator configs):")
    print(f"  full profile {whole_s:.1f} device seconds of samples, calibration")
    print(f"  {np.mean(short_s):.2f}: {part:.1%} (target {CALIBRATION_TARGET:.0%}); {names}")
    print(f"  factor off by {np.median(errors):.1%}, 95th {np.quantile(errors, 0.95):.1%}")
    return part <= CALIBRATION_TARGET


# ---- real processes -----------------------------------------------------------------------


def _drilled() -> Timeline:
    with tempfile.TemporaryDirectory() as folder:
        found = drill(Path(folder))
    print("\na camera becomes three times slower while it serves; seconds later")
    for name, seconds in found.rows():
        print(f"  {name:52}{seconds:8.1f}")
    print(f"  {'target':52}{BACK_TARGET_S:8.1f}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
