"""Hypothesis strategies for valid scenarios and decisions."""

from __future__ import annotations

from hypothesis import strategies as st

from circinus.decision import (
    Assignment,
    Decision,
    Deployment,
    Estimate,
    Rejection,
    Relaxation,
    ResourcePrice,
    Step,
)
from circinus.fleet import Billing, Device, DeviceClass, Link
from circinus.pipeline import AccuracyTask, Config, Deliver, OperatorSpec, Pipeline
from circinus.profile import AccuracyProfile, LatencyStats, OperatorProfile, Provenance
from circinus.query import Query, Sink, Slo, Source, Tenant
from circinus.scenario import Scenario

# What YAML might take for something else than text (no, null, 1e3, dates) is on purpose in here.
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,8}", fullmatch=True) | st.sampled_from(
    ["no", "null", "1e3", "2026-11-21", "0x1f", "12:30:45", "true", "~a"[1:]]
)
amounts = st.floats(0, 1e12, allow_nan=False)
positive = st.floats(1e-9, 1e9, allow_nan=False)
fractions = st.floats(0, 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
values = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9, allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
)
REPLAY = Source(kind="folder", path="x", arrivals="uniform")
provenances = st.sampled_from(Provenance)


@st.composite
def pipelines(draw: st.DrawFn, name: str, tiers: list[str]) -> Pipeline:
    operator_names = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    operators = {}
    for i, op in enumerate(operator_names):
        needs = draw(st.lists(st.sampled_from(operator_names[:i]), unique=True)) if i else []
        knobs = draw(
            st.dictionaries(
                names,
                st.lists(values, min_size=1, max_size=3, unique=True).map(tuple),
                max_size=2,
            )
        )
        operators[op] = OperatorSpec(
            name=op,
            needs=tuple(needs),
            knobs=knobs,
            neutral_knobs=tuple(name for name in knobs if draw(st.booleans())),
            tiers=draw(
                st.none() | st.lists(st.sampled_from(tiers), min_size=1, unique=True).map(tuple)
            ),
            run=draw(st.none() | st.just("module:Class")),
            stateful=draw(st.booleans()),
        )  # fmt: skip
    return Pipeline(
        name=name,
        operators=operators,
        input_bytes={op: draw(amounts) for op, spec in operators.items() if not spec.needs},
        backward=draw(st.booleans()),
        deliver=draw(st.sampled_from(Deliver)),
        accuracy=draw(st.none() | st.builds(AccuracyTask, dataset=texts, metric=texts)),
    )


@st.composite
def latencies(draw: st.DrawFn) -> LatencyStats:
    quantiles = sorted(draw(st.lists(amounts, min_size=3, max_size=3)))
    p50, p95, p99 = (q if draw(st.booleans()) else None for q in quantiles)
    return LatencyStats(mean=draw(amounts), p50=p50, p95=p95, p99=p99)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    tiers = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    classes = {
        name: DeviceClass(
            name=name, cores=draw(amounts), memory_mb=draw(amounts), price_usd_hour=draw(amounts),
            billing=draw(st.sampled_from(Billing)),
            accelerators=draw(st.dictionaries(st.sampled_from(["gpu", "npu"]), amounts)),
        )
        for name in draw(st.lists(names, min_size=1, max_size=2, unique=True))
    }  # fmt: skip
    ids = draw(
        st.lists(names.filter(lambda n: n not in tiers), min_size=1, max_size=4, unique=True)
    )
    devices = tuple(
        Device(
            id=name, device_class=draw(st.sampled_from(sorted(classes))),
            tier=draw(st.sampled_from(tiers)), uplink_mbps=draw(st.none() | amounts),
        )
        for name in ids
    )  # fmt: skip
    ends = st.sampled_from(ids + tiers)
    links = tuple(
        Link(between=pair, rtt_ms=draw(amounts), bandwidth_mbps=draw(amounts),
             price_usd_gb=draw(amounts))
        for pair in draw(st.lists(st.tuples(ends, ends), max_size=3, unique_by=frozenset))
    )  # fmt: skip
    found = {
        name: draw(pipelines(name, tiers))
        for name in draw(st.lists(names, min_size=1, max_size=2, unique=True))
    }
    return Scenario(
        tiers=tuple(tiers), device_classes=classes, devices=devices, links=links, pipelines=found,
        profiles=tuple(
            draw(st.lists(operator_profiles(found, classes), max_size=3, unique_by=_point))
        ),
        accuracy=tuple(
            draw(st.lists(accuracy_profiles(found), max_size=3, unique_by=lambda a: a.pipeline))
        ),
        queries=tuple(draw(st.lists(queries(found, ids), max_size=3, unique_by=lambda q: q.id))),
        max_utilisation=draw(st.floats(0.01, 1)), queueing=draw(st.booleans()),
        tenants={
            name: Tenant(name=name, min_share=draw(fractions))
            for name in draw(st.lists(texts, max_size=2, unique=True))
        },
    )  # fmt: skip


def _point(row: OperatorProfile) -> tuple[object, ...]:
    return row.qualified, row.config, row.device_class, row.batch


@st.composite
def operator_profiles(
    draw: st.DrawFn, found: dict[str, Pipeline], classes: dict[str, DeviceClass]
) -> OperatorProfile:
    pipeline = found[draw(st.sampled_from(sorted(found)))]
    spec = pipeline.operators[draw(st.sampled_from(sorted(pipeline.operators)))]
    device_class = classes[draw(st.sampled_from(sorted(classes)))]
    return OperatorProfile(
        operator=spec.name, pipeline=pipeline.name,
        config=Config({k: v[0] for k, v in spec.knobs.items()}),
        device_class=device_class.name, batch=draw(st.integers(1, 64)),
        latency_ms=draw(latencies()),
        compute_s={name: draw(amounts) for name in device_class.resources},
        memory_mb=draw(amounts), output_bytes=draw(amounts), price_usd_per_call=draw(amounts),
        samples=draw(st.integers(0, 10**6)), provenance=draw(provenances),
    )  # fmt: skip


@st.composite
def accuracy_profiles(draw: st.DrawFn, found: dict[str, Pipeline]) -> AccuracyProfile:
    pipeline = found[draw(st.sampled_from(sorted(found)))]
    return AccuracyProfile(
        pipeline=pipeline.name,
        config={
            name: Config({k: v[-1] for k, v in spec.knobs.items()})
            for name, spec in pipeline.operators.items()
        },
        mean=draw(fractions), samples=draw(st.integers(0, 10**6)), provenance=draw(provenances),
    )  # fmt: skip


@st.composite
def queries(draw: st.DrawFn, found: dict[str, Pipeline], ids: list[str]) -> Query:
    pipeline = found[draw(st.sampled_from(sorted(found)))]
    return Query(
        id=draw(names), pipeline=pipeline.name,
        source={op: draw(st.sampled_from(ids)) for op in pipeline.sources},
        rate_rps=draw(amounts), weight=draw(amounts), splittable=draw(st.booleans()),
        count=draw(st.integers(1, 10**6)), tenant=draw(st.none() | texts),
        slo=Slo(
            latency_ms=draw(st.none() | positive), percentile=draw(st.floats(1.0, 99.9)),
            accuracy=draw(st.none() | fractions), cost_usd_per_1000=draw(st.none() | amounts),
        ),
        input=draw(st.sampled_from([Source(), REPLAY])),
        output=draw(st.sampled_from([Sink(), Sink(kind="mqtt"), Sink(kind="file", path="y")])),
    )  # fmt: skip


steps = st.builds(
    Step, device=names, config=st.dictionaries(names, values, max_size=2).map(Config),
    batch=st.integers(1, 64), replicas=st.integers(1, 64),
)  # fmt: skip
plans = st.dictionaries(names, steps, max_size=3)
relaxations = st.builds(
    Relaxation, what=names, amount=st.none() | amounts, to=st.none() | amounts,
    devices=st.lists(names, max_size=2).map(tuple), operator=st.none() | names,
    rtt_ms=st.none() | amounts,
)  # fmt: skip
prices = st.builds(
    ResourcePrice, resource=st.just("link"), devices=st.tuples(names, names),
    machines=st.tuples(st.integers(1, 9), st.integers(1, 9)), weighted_rps_per_unit=amounts,
) | st.builds(
    ResourcePrice, resource=st.sampled_from(["cores", "gpu", "uplink"]),
    devices=st.tuples(names), machines=st.tuples(st.integers(1, 9)), weighted_rps_per_unit=amounts,
)  # fmt: skip
decisions = st.builds(
    Decision,
    planner=texts, seed=st.integers(0, 2**53), goodput_rps=amounts, bound_rps=st.none() | amounts,
    certified=st.booleans(),
    deployment=st.builds(Deployment, usage=amounts, machines=amounts, network=amounts),
    open_devices=st.lists(names, max_size=3).map(tuple),
    seconds=st.dictionaries(names, amounts, max_size=2),
    assignments=st.lists(
        st.builds(
            Assignment, query=names, share=fractions, plan=plans,
            estimate=st.builds(
                Estimate, latency_ms=amounts, accuracy=st.none() | fractions,
                cost_usd_per_1000=amounts,
            ),
        ),
        max_size=3,
    ).map(tuple),
    rejected=st.lists(
        st.builds(
            Rejection, query=names, reason=texts, binding=texts, relaxation=st.none() | texts,
            relaxations=st.lists(relaxations, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    evaluations=st.none() | st.integers(0, 2**53),
    prices=st.lists(prices, max_size=2).map(tuple),
    deployment_bound_usd_hour=st.none() | amounts,
)  # fmt: skip
