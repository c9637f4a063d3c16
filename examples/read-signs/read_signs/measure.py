"""What the knobs trade on this machine: ``python -m read_signs.measure [--json FILE]``.

Runs every config vector of the pipeline over generated pictures in one process, one request at
a time. Outputs of upstream operators are computed once per config and reused by everything
downstream. Times and bytes of an operator are those with all operators before it at their best
config.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from circinus.operator import Context, KnobValue, Operator, knobs_of
from read_signs.generate import JPEG_QUALITY, pages
from read_signs.images import encode
from read_signs.metric import sign_score
from read_signs.operators import Decode, Detect, Match, Orient, Recognise

__all__ = ["PIPELINE", "Measured", "measure"]

PIPELINE: dict[str, type[Operator]] = {
    "decode": Decode,
    "detect": Detect,
    "orient": Orient,
    "recognise": Recognise,
    "match": Match,
}
Config = dict[str, KnobValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run over the pictures gave.

    Attributes:
        operators: A row per operator and config: ``mean_ms``, ``p50_ms``, ``p95_ms`` of one
            request, and the means ``cpu_ms`` (processor time, which other programs on the
            machine lengthen less) and ``output_bytes``.
        vectors: A row per config vector: ``config``, mean ``accuracy``, and ``mean_ms``, the
            sum of the operators' times along it.
    """

    operators: list[dict[str, Any]] = field(default_factory=list)
    vectors: list[dict[str, Any]] = field(default_factory=list)


def measure(count: int, seed: int, context: Context) -> Measured:
    """Measure every config on `count` generated pictures."""
    shown = list(pages(count, seed))
    pictures = [encode(page.image, JPEG_QUALITY) for page in shown]
    labels = [list(page.signs) for page in shown]
    result = Measured()
    _branch(list(PIPELINE), pictures, labels, {}, 0.0, True, context, result)
    result.vectors.sort(key=lambda row: -row["accuracy"])
    return result


def _branch(
    steps: Sequence[str],
    inputs: Sequence[Any],
    labels: Sequence[Any],
    before: dict[str, Config],
    before_ms: float,
    best: bool,
    context: Context,
    result: Measured,
) -> None:
    """Run each config of the first of `steps` on `inputs`, and all that follows on its outputs."""
    name, *rest = steps
    for number, config in enumerate(_configs(PIPELINE[name])):
        accurate = not any(
            config[k] != knob.default
            for k, knob in knobs_of(PIPELINE[name]).items()
            if not knob.affects_accuracy
        )
        if not (accurate or best):
            continue  # same outputs as with the default, and its time is taken elsewhere
        outputs, times, cpu_ms = _run(PIPELINE[name](config, context), inputs)
        if best:
            result.operators.append(_row(name, config, outputs, times, cpu_ms))
            print(f"measured {name} {config}", file=sys.stderr)
        if not accurate:
            continue
        vector, total_ms = {**before, name: config}, before_ms + float(np.mean(times))
        if rest:
            _branch(rest, outputs, labels, vector, total_ms, best and number == 0, context, result)
        else:
            scores = [sign_score(o, wanted) for o, wanted in zip(outputs, labels, strict=True)]
            result.vectors.append(
                {"config": vector, "accuracy": float(np.mean(scores)), "mean_ms": total_ms}
            )


def _run(operator: Operator, inputs: Sequence[Any]) -> tuple[list[Any], list[float], float]:
    """The outputs of `operator` for each input alone, the milliseconds each took, and mean CPU."""
    operator.setup(operator.config)
    outputs, times, cpu = [], [], 0.0
    for value in inputs:
        start, start_cpu = time.perf_counter(), time.process_time()
        if operator.per_item:
            output = list(operator.process(value))
        else:
            (output,) = operator.process([value])
        cpu += (time.process_time() - start_cpu) * 1e3
        times.append((time.perf_counter() - start) * 1e3)
        outputs.append(output)
    operator.close()
    return outputs, times, cpu / len(inputs)


def _configs(cls: type[Operator]) -> Iterator[Config]:
    knobs = knobs_of(cls)
    for values in itertools.product(*(knob.values for knob in knobs.values())):
        yield dict(zip(knobs, values, strict=True))


def _row(
    name: str, config: Config, outputs: Sequence[Any], times: list[float], cpu_ms: float
) -> dict[str, Any]:
    return {
        "operator": name,
        "config": config,
        "mean_ms": float(np.mean(times)),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "cpu_ms": cpu_ms,
        "output_bytes": round(float(np.mean([len(msgspec.msgpack.encode(o)) for o in outputs]))),
    }


def frontier(vectors: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The config vectors than which none is both as fast and as accurate, slowest first."""
    kept: list[dict[str, Any]] = []
    for row in sorted(vectors, key=lambda row: (row["mean_ms"], -row["accuracy"])):
        if not kept or row["accuracy"] > kept[-1]["accuracy"]:
            kept.append(row)
    return kept[::-1]


def _print(result: Measured) -> None:
    print("| operator | config | mean ms | p50 ms | p95 ms | cpu ms | output bytes |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for row in result.operators:
        print(
            f"| {row['operator']} | {_short(row['config'])} | {row['mean_ms']:.2f} "
            f"| {row['p50_ms']:.2f} | {row['p95_ms']:.2f} | {row['cpu_ms']:.2f} "
            f"| {row['output_bytes']:,} |"
        )
    for title, rows in (
        ("one knob away from the best", [r for r in result.vectors if _distance(r) <= 1]),
        ("fastest for its accuracy", frontier(result.vectors)),
        ("least accurate", result.vectors[-1:]),
    ):
        print(f"\n| {title} | mean ms | accuracy |\n|---|--:|--:|")
        for row in rows:
            config = "; ".join(f"{n} {_short(c)}" for n, c in row["config"].items() if c)
            print(f"| {config} | {row['mean_ms']:.1f} | {row['accuracy']:.3f} |")


def _distance(row: dict[str, Any]) -> int:
    """In how many knobs a config vector differs from the defaults."""
    return sum(
        value != knobs_of(PIPELINE[name])[knob].default
        for name, config in row["config"].items()
        for knob, value in config.items()
    )


def _short(config: Config) -> str:
    return " ".join(f"{k}={v}" for k, v in config.items()) or "-"


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="Measure what the pipeline's knobs trade here.")
    parser.add_argument("--count", type=int, default=100, help="pictures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "read-signs",
        help="folder for quantised models",
    )
    parser.add_argument("--json", type=Path, help="also write everything here")
    options = parser.parse_args()
    context = Context(threads=options.threads, cache_dir=str(options.cache))
    result = measure(options.count, options.seed, context)
    _print(result)
    if options.json:
        document = {"operators": result.operators, "vectors": result.vectors}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
