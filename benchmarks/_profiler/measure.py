"""Measure every config vector: ``python -m benchmarks._profiler.measure --help``.

The operators run as an agent's worker runs them, one request at a time, outputs encoded and
decoded in between; what vectors have in common is run once (a *node*: an operator's config after
certain configs of those before it). The inputs are taken in blocks, and within a block the nodes
in an order drawn anew, so that a slow minute of the machine falls on all of them alike. How the
shipped table was made: benchmarks/data/README.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import importlib.metadata
import itertools
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circinus import codec
from circinus.errors import InvalidInput
from circinus.operator import Context, KnobValue, Operator, load_object, load_operator
from circinus.pipeline import Pipeline
from circinus.scenario import load_submission
from circinus_agent.runtime.worker import evaluate

__all__ = ["Node", "measure", "nodes_of", "save"]

BLOCK = 20  # inputs
# Linux leaves a process of real-time priority 95 % of each second and stops it for the rest; one
# that rests of its own accord is not stopped within a sample.
REST = 0.08
SPENT = ("latency_ms", "core_ms", "output_bytes", "price_usd")
CONTEXT = ("began_s", "load_1min", "steal_ms", "mhz")

Config = Mapping[str, KnobValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operator's config after certain configs of the operators before it.

    Attributes:
        operator: Position in the chain.
        config: Number among the operator's configs.
        parent: Number of the node whose outputs it receives; -1 for the source.
    """

    operator: int
    config: int
    parent: int


def configs_of(pipeline: Pipeline) -> list[list[Config]]:
    """The configs of each operator of a chain, best first; neutral knobs stay at their best.

    Raises:
        InvalidInput: If the pipeline is no chain.
    """
    names, found = list(pipeline.operators), []
    for k, (name, spec) in enumerate(pipeline.operators.items()):
        if list(spec.needs) != names[max(k - 1, 0) : k]:
            raise InvalidInput("only a chain can be measured", key=name)
        values = [v[:1] if k in spec.neutral_knobs else v for k, v in spec.knobs.items()]
        found.append([dict(zip(spec.knobs, v, strict=True)) for v in itertools.product(*values)])
    return found


def nodes_of(counts: Sequence[int], most: int | None = None) -> list[Node]:
    """The nodes of all vectors, or of the first `most`; a node comes after its parent.

    Args:
        counts: Configs of each operator.
        most: Vectors.
    """
    number: dict[tuple[int, ...], int] = {(): -1}
    nodes: list[Node] = []
    for vector in itertools.islice(itertools.product(*map(range, counts)), most):
        for k, config in enumerate(vector):
            if vector[: k + 1] not in number:
                number[vector[: k + 1]] = len(nodes)
                nodes.append(Node(operator=k, config=config, parent=number[vector[:k]]))
    return nodes


def measure(
    nodes: Sequence[Node],
    operators: Sequence[Sequence[Operator]],
    inputs: Sequence[bytes],
    score: Callable[[Any, int], float],
    tell: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Run everything.

    Args:
        nodes: Each after its parent.
        operators: Of each step, one per config, set up.
        inputs: As they enter the pipeline.
        score: Of an output for the input of that number.
        tell: Called with the number of inputs done.

    Returns:
        `latency_ms`, `core_ms`, `output_bytes`, `price_usd`: `(nodes, inputs)` float32. `score`:
        `(vectors, inputs)` float32, the vectors being the nodes of the last operator in their
        order.
        `began_s`, `load_1min`, `steal_ms`, `mhz`: `(nodes, blocks)` float32, when the node had
        its turn, and what else the machine did at the time (steal: until the node's end).
    """
    last = len(operators) - 1
    leaf = {k: i for i, k in enumerate(k for k, n in enumerate(nodes) if n.operator == last)}
    blocks = -(-len(inputs) // BLOCK)
    found = {k: np.zeros((len(nodes), len(inputs)), np.float32) for k in SPENT}
    found |= {k: np.zeros((len(nodes), blocks), np.float32) for k in CONTEXT}
    found["score"] = np.zeros((len(leaf), len(inputs)), np.float32)
    rng, zero = random.Random(0), time.perf_counter()
    for block in range(blocks):
        chosen = range(block * BLOCK, min((block + 1) * BLOCK, len(inputs)))
        outputs: dict[int, list[bytes]] = {-1: [codec.dumps(inputs[i]) for i in chosen]}
        for k in _order(nodes, rng):
            node = nodes[k]
            began, steal = time.perf_counter(), _steal_ms()
            operator = operators[node.operator][node.config]
            outputs[k], spent = _run(operator, outputs[node.parent])
            took = time.perf_counter() - began
            for name, values in zip(SPENT, spent, strict=True):
                found[name][k, chosen] = values
            context = (began - zero, os.getloadavg()[0], _steal_ms() - steal, _mhz())
            for name, value in zip(CONTEXT, context, strict=True):
                found[name][k, block] = value
            if k in leaf:
                scores = [score(codec.loads(o), i) for o, i in zip(outputs[k], chosen, strict=True)]
                found["score"][leaf[k], chosen] = scores
            time.sleep(REST * took)
        tell(chosen.stop)
    return found


def _run(operator: Operator, payloads: Sequence[bytes]) -> tuple[list[bytes], list[list[float]]]:
    """Outputs; and milliseconds, milliseconds of a core, bytes and dollars of each."""
    outputs: list[bytes] = []
    spent: list[list[float]] = [[] for _ in SPENT]
    # What ran before has the caches: the first input runs twice, and counts the second time.
    for k, payload in enumerate((payloads[0], *payloads)):
        wall, cpu = time.perf_counter(), time.process_time()
        done = evaluate(operator, [codec.loads(payload)])
        times = (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3
        if done.items[0].error:
            raise RuntimeError(f"{type(operator).__name__}: {done.items[0].error}")
        if k > 0:
            outputs.append(done.payloads[0])
            values = (*times, len(done.payloads[0]), done.items[0].usd)
            for column, value in zip(spent, values, strict=True):
                column.append(value)
    return outputs, spent


def _order(nodes: Sequence[Node], rng: random.Random) -> Iterator[int]:
    """All nodes in an order drawn at random, none before its parent."""
    children: dict[int, list[int]] = {}
    for k, node in enumerate(nodes):
        children.setdefault(node.parent, []).append(k)
    ready = list(children[-1])
    while ready:
        k = ready.pop(rng.randrange(len(ready)))
        ready += children.get(k, ())
        yield k


def _steal_ms() -> float:
    """What other virtual machines took of this one's processors since it started."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return float(fields[8]) * 1e3 / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def _mhz() -> float:
    """The highest clock of a core now: falls where the machine throttles. 0 if it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return 0.0
    return max((float(x.split(":")[1]) for x in lines if x.startswith("cpu MHz")), default=0.0)


def _machine() -> dict[str, Any]:
    lines: list[str] = []
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {x.split(":")[1].strip() for x in lines if x.startswith("model name")}
    packages = ("onnxruntime", "numpy", "opencv-python-headless")
    return {
        "processor": ", ".join(sorted(models)) or platform.processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads_per_operator": 1,
        "pinned_to_cores": len(os.sched_getaffinity(0)),
        "real_time_priority": os.sched_getscheduler(0) == os.SCHED_FIFO,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def save(
    target: Path,
    name: str,
    steps: Mapping[str, Sequence[Config]],
    nodes: Sequence[Node],
    found: Mapping[str, Any],
    input_bytes: float,
) -> None:
    """Write `target`.npz and the manifest, `target`.json."""
    columns = {
        k: np.array([getattr(n, k) for n in nodes]) for k in ("operator", "config", "parent")
    }
    np.savez_compressed(target.with_suffix(".npz"), **columns, **found)
    manifest = {
        "pipeline": name,
        "operators": {k: list(v) for k, v in steps.items()},
        "inputs": found["score"].shape[1],
        "input_bytes": round(input_bytes),
        "vectors": found["score"].shape[0],
        "nodes": len(nodes),
        "inputs_per_block": BLOCK,
        "seconds": round(float(found["began_s"].max())),
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": _machine(),
    }
    text = json.dumps(manifest, indent=1) + "\n"
    target.with_suffix(".json").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._profiler.measure")
    add = parser.add_argument
    add("submission", type=Path, help="whose first pipeline is measured; its operators beside it")
    add("dataset", type=Path, help="a folder of inputs and labels.json")
    add("target", type=Path, help="written with .npz and .json at the end")
    add("--inputs", type=int, help="only so many of them")
    add("--vectors", type=int, help="only the first so many")
    add("--cache", type=Path, default=Path(tempfile.gettempdir()) / "circinus-measure")
    given = parser.parse_args(arguments)
    sys.path.insert(0, str(given.submission.resolve().parent))
    name, pipeline = next(iter(load_submission(given.submission).pipelines.items()))
    assert pipeline.accuracy is not None
    configs = configs_of(pipeline)
    nodes = nodes_of([len(c) for c in configs], given.vectors)
    used = {(n.operator, n.config) for n in nodes}
    context = Context(threads=1, cache_dir=str(given.cache))
    operators: list[list[Operator]] = []
    for k, spec in enumerate(pipeline.operators.values()):
        operators.append([load_operator(spec.implementation)(c, context) for c in configs[k]])
        for j, operator in enumerate(operators[k]):
            if (k, j) in used:
                operator.setup(operator.config)
    gc.collect()
    gc.freeze()  # as the agent's worker does
    labels = json.loads((given.dataset / "labels.json").read_text(encoding="utf-8"))
    files = sorted(labels)[: given.inputs]
    inputs = [(given.dataset / file).read_bytes() for file in files]
    metric = load_object(pipeline.accuracy.metric)
    found = measure(
        nodes,
        operators,
        inputs,
        lambda output, i: float(metric(output, labels[files[i]])),
        lambda done: print(f"{done} of {len(files)} inputs", file=sys.stderr, flush=True),
    )
    steps = dict(zip(pipeline.operators, configs, strict=True))
    save(given.target, name, steps, nodes, found, sum(map(len, inputs)) / len(inputs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
