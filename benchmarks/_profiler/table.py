"""The measured tables in benchmarks/data: every config vector of a pipeline on one machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DATA", "Table", "load"]

DATA = Path(__file__).parents[1] / "data"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What `measure` wrote; a node is an operator's config after certain configs before it.

    Attributes:
        manifest: What was measured, when, and on what.
        configs: `(vectors, operators)` config number of each operator in each vector.
        paths: `(vectors, operators)` node of each operator in each vector.
        latency_ms, core_ms, output_bytes, price_usd: `(nodes, inputs)`, in the order taken within
            each block of `block` inputs.
        scores: `(vectors, inputs)`.
        block: Inputs that a node was given one after another.
    """

    manifest: Mapping[str, Any]
    configs: Ints
    paths: Ints
    latency_ms: Floats
    core_ms: Floats
    output_bytes: Floats
    price_usd: Floats
    scores: Floats
    block: int


@cache
def load(target: Path) -> Table:
    """The table `target`.npz with its manifest `target`.json.

    Raises:
        ValueError: If it does not hold every config vector, each on all inputs.
    """
    manifest = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    counts = [len(configs) for configs in manifest["operators"].values()]
    with np.load(target.with_suffix(".npz")) as file:
        columns = {name: file[name] for name in file}
    operator, config, parent = (columns[k].tolist() for k in ("operator", "config", "parent"))
    paths = []
    for leaf in np.flatnonzero(columns["operator"] == len(counts) - 1).tolist():
        path = [leaf]
        while parent[path[-1]] >= 0:
            path.append(parent[path[-1]])
        paths.append(path[::-1])
    configs = [[config[node] for node in path] for path in paths]
    if [[operator[node] for node in path] for path in paths] != [[*range(len(counts))]] * len(
        paths
    ):
        raise ValueError(f"{target}: the nodes make no chains")
    if sorted(configs) != [list(vector) for vector in np.ndindex(*counts)]:
        raise ValueError(f"{target}: {len(configs)} of {np.prod(counts)} config vectors")
    shape = (len(operator), manifest["inputs"])
    for name in ("latency_ms", "core_ms", "output_bytes", "price_usd"):
        least = 0 if name == "price_usd" else 1e-9
        if columns[name].shape != shape or not (columns[name] >= least).all():
            raise ValueError(f"{target}: {name} lacks nodes or inputs")
    scores = columns["score"].astype(np.float64)
    if scores.shape != (len(paths), shape[1]) or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{target}: scores are not between 0 and 1 for all vectors and inputs")
    return Table(
        manifest=manifest,
        configs=np.array(configs),
        paths=np.array(paths),
        latency_ms=columns["latency_ms"].astype(np.float64),
        core_ms=columns["core_ms"].astype(np.float64),
        output_bytes=columns["output_bytes"].astype(np.float64),
        price_usd=columns["price_usd"].astype(np.float64),
        scores=scores,
        block=int(manifest["inputs_per_block"]),
    )
