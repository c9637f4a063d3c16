"""What can be measured, by identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circinus.pipeline import Config, OperatorSpec, Pipeline

__all__ = [
    "AccuracyKey",
    "Key",
    "LinkKey",
    "OperatorKey",
    "accuracy_signature",
    "config_vectors",
    "neutralised",
    "operator_signature",
    "upstream",
]

Vector = tuple[tuple[str, Config], ...]

# Which meaning operators' samples have. Raised when agents begin to measure something else, so that
# older profiles are measured again: 2 since latency holds the way to the process and back.
_METHOD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKey:
    """An operator of a pipeline under one config and batch size, on a device class."""

    pipeline: str
    operator: str
    implementation: str
    version: str
    signature: str
    config: Config
    device_class: str
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyKey:
    """A pipeline under one config vector; operators without knobs left out."""

    pipeline: str
    signature: str
    config: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkKey:
    """Two devices, the smaller id first."""

    a: str
    b: str


Key = OperatorKey | AccuracyKey | LinkKey


def upstream(pipeline: Pipeline, operators: set[str]) -> list[str]:
    """These operators and all they need, in topological order."""
    wanted = set(operators)
    for name in reversed(list(pipeline.operators)):
        if name in wanted:
            wanted.update(pipeline.operators[name].needs)
    return [name for name in pipeline.operators if name in wanted]


def operator_signature(pipeline: Pipeline, operator: str, dataset: str) -> str:
    """Stands for how `operator` is measured and what its inputs depend on.

    That is the data set and what comes before it.
    """
    return _signature([_METHOD, dataset, _structure(pipeline, upstream(pipeline, {operator}))])


def accuracy_signature(pipeline: Pipeline, versions: Mapping[str, str]) -> str:
    """Stands for what a pipeline's accuracy depends on beside the config vector.

    Args:
        versions: Of the implementations in use.
    """
    task = pipeline.accuracy
    known = {s.implementation: versions.get(s.implementation) for s in pipeline.operators.values()}
    return _signature(
        [
            task.dataset if task else None,
            task.metric if task else None,
            _structure(pipeline, list(pipeline.operators)),
            sorted(known.items()),
        ]
    )


def _structure(pipeline: Pipeline, names: list[str]) -> list[object]:
    return [
        [name, pipeline.operators[name].implementation, list(pipeline.operators[name].needs)]
        for name in sorted(names)
    ]


def _signature(document: object) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:16]


def config_vectors(pipeline: Pipeline) -> Iterator[Vector]:
    """Every config vector; vectors with the same first configs come one after another.

    A probe in this order computes what upstream operators put out once per upstream config.
    """
    specs = [spec for spec in pipeline.operators.values() if spec.knobs]

    def rest(i: int) -> Iterator[Vector]:
        if i == len(specs):
            yield ()
            return
        for config in specs[i].configs():
            for tail in rest(i + 1):
                yield ((specs[i].name, config), *tail)

    return rest(0)


def neutralised(pipeline: Pipeline, vector: Vector) -> Vector:
    """The vector with neutral knobs at their first value: what has the same outputs."""
    return tuple((name, _neutral(pipeline.operators[name], config)) for name, config in vector)


def _neutral(spec: OperatorSpec, config: Config) -> Config:
    return Config({**config, **{knob: spec.knobs[knob][0] for knob in spec.neutral_knobs}})
