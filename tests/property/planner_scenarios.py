"""Small random scenarios that touch every rule of the planner, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable

from circinus.fleet import Billing, Device, DeviceClass, Link
from circinus.pipeline import Config, Deliver, OperatorSpec, Pipeline
from circinus.profile import AccuracyProfile, LatencyStats, OperatorProfile
from circinus.query import Query, Slo, Source
from circinus.scenario import Scenario

TIERS = ("device", "edge", "cloud")
# Operators and what each needs: chains, a join of two sources, a fork, a diamond, a diamond
# with a tail, two sinks, a fork across a join.
SHAPES = [
    {"a": []},
    {"a": [], "b": ["a"]},
    {"a": [], "b": ["a"], "c": ["b"]},
    {"a": [], "b": [], "c": ["a", "b"]},
    {"a": [], "b": ["a"], "c": ["a"]},
    {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
    {"a": [], "b": [], "c": ["a"], "d": ["b", "c"]},
    {"a": [], "b": ["a"], "c": ["a", "b"]},
    {"a": [], "b": [], "c": ["a", "b"], "d": ["a", "c"]},
]


def random_scenario(rng: random.Random, *, queries: int, queueing: bool) -> Scenario:
    """A scenario of 1 to 5 devices; about half of its queries can be served."""
    classes = {
        name: DeviceClass(
            name=name,
            cores=rng.choice([0, 1, 2, 4, 8]) if rng.random() < 0.1 else 2**k,
            memory_mb=rng.choice([100, 1000, 10000]),
            price_usd_hour=rng.choice([0.0, 0.1, 1.0, 3]),
            billing=rng.choice([Billing.USAGE, Billing.USAGE, Billing.MACHINE]),
            accelerators={"gpu": 1} if rng.random() < 0.4 else {},
        )
        for k, name in enumerate(("small", "middle", "large"), 1)
    }
    devices = [Device(id="d0", device_class="small", tier="device")]
    for i in range(1, rng.randint(1, 5)):
        tier = rng.choice(TIERS)
        uplink = rng.choice([None, None, None, 5.0])
        devices.append(
            Device(
                id=f"d{i}", device_class=rng.choice(list(classes)), tier=tier, uplink_mbps=uplink
            )
        )
    pipelines = {f"p{i}": _pipeline(rng, f"p{i}") for i in range(max(1, (queries + 1) // 2))}
    return Scenario(
        tiers=TIERS,
        device_classes=classes,
        devices=tuple(devices),
        links=tuple(_links(rng, devices)),
        pipelines=pipelines,
        profiles=_once(row for p in pipelines.values() for row in _profiles(rng, p, classes)),
        accuracy=tuple(row for p in pipelines.values() for row in _accuracy(rng, p)),
        queries=tuple(_query(rng, i, pipelines, devices) for i in range(queries)),
        max_utilisation=rng.choice([0.5, 0.8, 1.0]),
        queueing=queueing,
    )


def _links(rng: random.Random, devices: list[Device]) -> list[Link]:
    ends = [
        ("device", "edge"),
        ("edge", "cloud"),
        ("device", "cloud"),
        ("edge", "edge"),
        ("cloud", "cloud"),
        ("device", "device"),
    ]
    ends = [pair for pair in ends if rng.random() < 0.8]
    if len(devices) > 1 and rng.random() < 0.4:
        ends.append(("d0", "d1"))
    if len(devices) > 2 and rng.random() < 0.3:
        ends.append(("d2", "cloud" if devices[2].tier != "cloud" else "edge"))
    return [
        Link(
            between=pair,
            rtt_ms=rng.choice([0, 2, 20, 40]),
            bandwidth_mbps=rng.choice([0, 1, 10, 100, 100, 1000]),
            price_usd_gb=rng.choice([0.0, 0.05, 1.0]),
        )
        for pair in ends
    ]


def _pipeline(rng: random.Random, name: str) -> Pipeline:
    shape = rng.choice(SHAPES)
    operators = {}
    for op, needs in shape.items():
        knobs = {"k": tuple(range(rng.randint(1, 3)))} if rng.random() < 0.7 else {}
        tiers = None
        if rng.random() < 0.2:
            tiers = tuple(rng.sample(TIERS, rng.randint(1, 2)))
        operators[op] = OperatorSpec(
            name=op, needs=tuple(needs), knobs=knobs, tiers=tiers, stateful=rng.random() < 0.1
        )
    return Pipeline(
        name=name,
        operators=operators,
        backward=rng.random() < 0.3,
        input_bytes={op: rng.choice([0, 1e4, 1e5]) for op, needs in shape.items() if not needs},
        deliver=rng.choice([Deliver.LAST, Deliver.LAST, Deliver.SOURCE]),
    )


def _profiles(
    rng: random.Random, pipeline: Pipeline, classes: dict[str, DeviceClass]
) -> list[OperatorProfile]:
    rows = []
    for name, spec in pipeline.operators.items():
        for config in spec.configs():
            for kind in classes.values():
                for batch in (1, 1, 4):
                    if rng.random() < (0.1 if batch == 1 else 0.8):
                        continue
                    rows.append(_row(rng, pipeline.name, name, config, kind, batch))
    return rows


def _once(rows: Iterable[OperatorProfile]) -> tuple[OperatorProfile, ...]:
    """Pipelines share operator names, so rows for all of them may meet."""
    return tuple({(r.qualified, r.config, r.device_class, r.batch): r for r in rows}.values())


def _row(
    rng: random.Random, pipeline: str, name: str, config: Config, kind: DeviceClass, batch: int
) -> OperatorProfile:
    ms = rng.choice([1, 5, 10, 20, 50.5]) * batch**0.5
    stats = LatencyStats(mean=ms)
    if rng.random() < 0.5:
        stats = LatencyStats(mean=ms, p50=ms * 0.9, p95=ms * rng.uniform(0.9, 2.5), p99=ms * 3)
    use = {"cores": ms / 1e3 * rng.choice([0.5, 1, 2]) / batch}
    if kind.accelerators and rng.random() < 0.5:
        use["gpu"] = ms / 2e3 / batch
    return OperatorProfile(
        operator=name,
        pipeline=pipeline if rng.random() < 0.5 else None,
        config=config,
        device_class=kind.name,
        batch=batch,
        latency_ms=stats,
        compute_s=use,
        memory_mb=rng.choice([0, 10, 60, 400]),
        output_bytes=rng.choice([0, 1e3, 1e4, 1e5]),
        price_usd_per_call=rng.choice([0, 0, 0, 1e-5]),
        samples=10,
    )


def _accuracy(rng: random.Random, pipeline: Pipeline) -> list[AccuracyProfile]:
    """A table with holes."""
    vectors: list[dict[str, Config]] = [{}]
    for name, spec in pipeline.operators.items():
        vectors = [{**v, name: c} for v in vectors for c in spec.configs()]
    named = [{n: c for n, c in v.items() if len(c) or rng.random() < 0.5} for v in vectors]
    return [
        AccuracyProfile(pipeline=pipeline.name, config=v, mean=rng.choice([0.5, 0.7, 0.8, 0.9]))
        for v in named
        if rng.random() < 0.7
    ]


def _query(
    rng: random.Random, i: int, pipelines: dict[str, Pipeline], devices: list[Device]
) -> Query:
    pipeline = pipelines[rng.choice(list(pipelines))]
    sources = {
        op: (rng.choice(devices).id if rng.random() < 0.3 else "d0") for op in pipeline.sources
    }

    def maybe(values: list[float]) -> float | None:
        return rng.choice(values) if rng.random() < 0.6 else None

    return Query(
        id=f"q{i}",
        pipeline=pipeline.name,
        source=sources,
        rate_rps=rng.choice([0, 0.5, 2, 10, 50, 300]),
        weight=rng.choice([0, 1, 1, 3]),
        splittable=rng.random() < 0.6,
        count=rng.choice([1, 1, 3]),
        slo=Slo(
            latency_ms=maybe([15, 40, 80, 200, 1000]),
            percentile=rng.choice([50.0, 90.0, 95.0, 99.0]),
            accuracy=maybe([0.5, 0.7, 0.85]),
            cost_usd_per_1000=maybe([0.001, 0.01, 0.1, 1]),
        ),
        input=Source(arrivals=rng.choice(["poisson", "uniform"])),
    )
