"""How long the exact plan of one query takes.

Run: ``python -m benchmarks.planner_per_query``. Seeded random chains over three tiers; medians
and worst of several scenarios, milliseconds of CPU. *solve* is the label-setting programme on a
compiled query at given load and prices; *offers* is what prices it; *compile* happens once per
query class.
"""

from __future__ import annotations

import random
import statistics
import time

from circinus.fleet import Device, DeviceClass, Link
from circinus.pipeline import Config, OperatorSpec, Pipeline
from circinus.profile import AccuracyProfile, LatencyStats, OperatorProfile
from circinus.query import Query, Slo
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.search import limits_of

# (name, operators, configs per operator, rows of the accuracy table or None without, DAG)
CASES = (
    ("4 operators x 48 configs x 3 tiers, no accuracy floor", 4, 48, None, False),
    ("4 operators x 48 configs x 3 tiers, table of 500", 4, 48, 500, False),
    ("4 operators, 48 config vectors in all (2x6x2x2)", 4, (2, 6, 2, 2), 48, False),
    ("4 operators x 5 configs x 3 tiers, full table of 625", 4, 5, 625, False),
    ("4 operators x 48 configs x 3 tiers, diamond", 4, 48, None, True),
    ("6 operators x 60 configs x 3 tiers, no accuracy floor", 6, 60, None, False),
)
SEEDS = range(10)
REPEATS = 5


def chain(
    seed: int, operators: int, configs: int | tuple[int, ...], rows: int | None, diamond: bool
) -> Scenario:
    """One query whose SLOs leave about a third of the latency and cost range."""
    rng = random.Random(seed)
    counts = configs if isinstance(configs, tuple) else (configs,) * operators
    names = [f"op{i}" for i in range(operators)]
    tiers = ("device", "edge", "cloud")
    classes = {
        tier: DeviceClass(name=tier, cores=cores, memory_mb=1e6, price_usd_hour=price)
        for tier, cores, price in zip(tiers, (4, 16, 64), (0.02, 0.4, 4.0), strict=True)
    }
    needs = {n: (names[i - 1],) if i else () for i, n in enumerate(names)}
    if diamond:
        needs = {"op0": (), "op1": ("op0",), "op2": ("op0",), "op3": ("op1", "op2")}
    specs = {
        name: OperatorSpec(name=name, needs=needs[name], knobs={"k": tuple(range(n))})
        for name, n in zip(names, counts, strict=True)
    }
    profiles = []
    for name, count in zip(names, counts, strict=True):
        for config in range(count):
            effort, size = rng.lognormvariate(3, 0.8), rng.lognormvariate(10, 1)
            for tier, speed in zip(tiers, (0.25, 1.0, 4.0), strict=True):
                ms = effort / speed * rng.uniform(0.8, 1.25)
                profiles.append(
                    OperatorProfile(
                        operator=name,
                        config=Config({"k": config}),
                        device_class=tier,
                        latency_ms=LatencyStats(
                            mean=ms, p50=ms, p95=ms * rng.uniform(1.1, 2), p99=ms * 2.5
                        ),
                        compute_s={"cores": ms / 1e3},
                        memory_mb=100,
                        output_bytes=size,
                    )
                )
    accuracy = []
    if rows is not None:
        vectors = set()
        while len(vectors) < rows:
            vectors.add(tuple(rng.randrange(n) for n in counts))
        accuracy = [
            AccuracyProfile(
                pipeline="p",
                mean=rng.uniform(0.5, 1),
                config={n: Config({"k": k}) for n, k in zip(names, v, strict=True)},
            )
            for v in sorted(vectors)
        ]
    # The cost limit is a real one: cheapest plans are too slow, fastest too dear.
    slo = Slo(
        latency_ms=60.0 * operators,
        accuracy=None if rows is None else 0.6,
        cost_usd_per_1000=0.004 * operators,
    )
    return Scenario(
        tiers=tiers,
        device_classes=classes,
        devices=tuple(Device(id=f"{t}-1", device_class=t, tier=t) for t in tiers),
        links=(
            Link(between=("device", "edge"), rtt_ms=4, bandwidth_mbps=200),
            Link(between=("edge", "cloud"), rtt_ms=30, bandwidth_mbps=100, price_usd_gb=0.05),
            Link(between=("device", "cloud"), rtt_ms=40, bandwidth_mbps=50, price_usd_gb=0.05),
        ),
        pipelines={"p": Pipeline(name="p", operators=specs, input_bytes={"op0": 1e5})},
        profiles=tuple(profiles),
        accuracy=tuple(accuracy),
        queries=(Query(id="q", pipeline="p", source={"op0": "device-1"}, rate_rps=1, slo=slo),),
    )


def measure(case: tuple[str, int, int | tuple[int, ...], int | None, bool]) -> dict[str, float]:
    """Milliseconds: median of solve, its worst scenario, offers and compile."""
    times: dict[str, list[float]] = {"solve": [], "offers": [], "compile": []}
    solved = 0
    for seed in SEEDS:
        scenario = chain(seed, *case[1:])
        query, ledger = scenario.queries[0], Ledger(scenario)
        catalogue = Catalogue(scenario)
        start = time.process_time()
        programme = catalogue.programme(query)
        times["compile"].append(time.process_time() - start)
        found, mine = None, []
        for _ in range(REPEATS):
            start = time.process_time()
            choices, moving = offers(programme, ledger, Pricing(), rate_rps=query.rate_rps)
            middle = time.process_time()
            found = solve(programme, choices, moving, limits_of(query.slo))
            mine.append(time.process_time() - middle)
            times["offers"].append(middle - start)
        times["solve"].append(statistics.median(mine))
        solved += found is not None
    result = {f"{name}_ms": statistics.median(values) * 1e3 for name, values in times.items()}
    return {**result, "worst_solve_ms": max(times["solve"]) * 1e3, "feasible": solved}


def main() -> dict[str, dict[str, float]]:
    """Measure, print and return every case."""
    results = {}
    print(f"{'per-query exact plan, ms (median)':58} solve  worst offers compile feasible")
    for case in CASES:
        found = measure(case)
        results[case[0]] = found
        print(
            f"{case[0]:58} {found['solve_ms']:5.1f} {found['worst_solve_ms']:6.1f} "
            f"{found['offers_ms']:6.2f} {found['compile_ms']:7.1f} {found['feasible']:5.0f}/10"
        )
    return results


if __name__ == "__main__":
    main()
