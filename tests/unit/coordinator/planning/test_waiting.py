"""Queueing in plans: what the search expects is what the finished plan is judged by."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest

from circinus.decision import Assignment, Decision, Estimate, Step
from circinus.pipeline import Config
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.labels import Aim, Limits, solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.placed import place, plan_of
from circinus_coordinator.planning.spells import NOTHING
from circinus_coordinator.simulation import Split, simulate

SPREAD = {"mean": 100, "p50": 90, "p95": 200, "p99": 260}


def test_the_search_and_the_judge_nearly_agree_on_a_loaded_device(build, profile) -> None:
    """The search adds means and variances up, the judge distributions."""
    queries = [
        {"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": rate}
        for i, rate in enumerate((4, 3, 2))
    ]
    scenario = build(
        queueing=True,
        pipeline={"operators": {"a": {"knobs": {"k": [1, 2]}}}},
        profiles=[
            profile("a", "small", SPREAD, config={"k": 1}, compute_s={"cores": 0.12}),
            profile("a", "small", SPREAD, config={"k": 2}, batch=2, compute_s={"cores": 0.06}),
        ],
        queries=queries,
    )
    catalogue, ledger = Catalogue(scenario), Ledger(scenario)
    for query in scenario.queries:
        programme = catalogue.programme(query)
        choices, moving = offers(programme, ledger, Pricing(), rate_rps=query.rate_rps)
        found = solve(programme, choices, moving, Limits(), aim=Aim.LATENCY)
        assert found is not None
        placed = place(catalogue, query, plan_of(programme, found))
        ledger.add(placed.use, query.rate_rps)
        assert placed.latency_ms(ledger) == pytest.approx(found.latency_ms(95), rel=0.05)


def test_waiting_grows_with_the_load_and_is_left_out_on_request(build, profile) -> None:
    rows = [profile("a", "small", 100)]
    found = [
        plan(build(queueing=queueing, profiles=rows, query={"rate_rps": rate}))
        .assignments[0]
        .estimate.latency_ms
        for queueing, rate in ((False, 7), (True, 0.1), (True, 4), (True, 7))
    ]
    assert found[0] == 100
    assert found[1] < 120
    assert found == sorted(found)


def test_nobody_waits_for_cores_where_all_workers_can_run_at_once(build, profile) -> None:
    scenario = build(queueing=True, profiles=[profile("a", "small", 100)])
    catalogue, ledger = Catalogue(scenario), Ledger(scenario)
    query = scenario.queries[0]
    step = plan(scenario).assignments[0].plan
    placed = place(catalogue, query, step)
    ledger.add(placed.use, 5)
    key = placed.use.steps[0].key
    assert ledger.line(key) == NOTHING
    assert ledger.instance_wait(key)[0] == pytest.approx(50)  # 0.5 / (2 x 0.5) services


def test_a_newcomer_may_not_break_what_was_promised_to_others(build, profile) -> None:
    """The first query has 30 ms to spare; the second would make it wait longer."""
    queries = [
        {"id": "first", "pipeline": "p", "source": "pi", "rate_rps": 1, "weight": 100,
         "slo": {"latency_ms": 180}},
        {"id": "second", "pipeline": "p", "source": "pi", "rate_rps": 6, "splittable": False},
    ]  # fmt: skip
    scenario = build(queueing=True, profiles=[profile("a", "small", 100)], queries=queries)
    decision = plan(scenario)
    assert [a.query for a in decision.assignments] == ["first"]
    assert decision.rejected[0].query == "second"
    alone = dataclasses.replace(scenario, queries=scenario.queries[1:])
    assert [a.query for a in plan(alone).assignments] == ["second"]


def test_an_undo_restores_the_ledger_to_the_last_bit(build, profile) -> None:
    scenario = build(
        queueing=True,
        pipeline={"operators": {"a": {}, "b": {"needs": ["a"]}}},
        profiles=[profile("a", "small", 10), profile("b", "middle", 0.1)],
    )
    catalogue, ledger = Catalogue(scenario), Ledger(scenario)
    placed = place(catalogue, scenario.queries[0], plan(scenario).assignments[0].plan)

    def state() -> str:
        return repr((ledger.linear, ledger.instances, ledger.stations))

    ledger.add(placed.use, 0.1)
    before = state()
    undo = ledger.add(placed.use, 0.7)
    assert state() != before
    undo()
    assert state() == before


def test_what_is_known_of_a_device_lasts_until_its_own_loads_change(build, profile) -> None:
    names = ("a", "b", "c")
    scenario = build(
        queueing=True,
        pipeline={"operators": {n: {"needs": list(names[:k][-1:])} for k, n in enumerate(names)}},
        profiles=[
            profile(n, kind, SPREAD, compute_s={"cores": 0.1})
            for n in names
            for kind in ("small", "middle")
        ],
    )
    catalogue, query = Catalogue(scenario), scenario.queries[0]
    here, there = (
        place(catalogue, query, {n: Step(device=device, config=Config()) for n in names})
        for device in ("pi", "box")
    )

    def known(ledger: Ledger) -> object:
        keys = [step.key for step in here.use.steps]
        return [(ledger.instance_wait(k), ledger.line(k)) for k in keys]

    ledger = Ledger(scenario)
    ledger.add(here.use, 2)
    before, holding = known(ledger), ledger.holding(("cores", "pi"))
    ledger.add(there.use, 2)
    assert ledger.holding(("cores", "pi")) is holding
    undo = ledger.add(here.use, 1.5)
    fresh = Ledger(scenario)
    for use, rate in ((here.use, 2), (there.use, 2), (here.use, 1.5)):
        fresh.add(use, rate)
    assert before != known(ledger) == known(fresh)
    undo()
    assert known(ledger) == before
    assert ledger.holding(("cores", "pi")) is holding


Waits = list[tuple[float, float]]


def waits(build, profile, cores: int, uses: list[dict[str, float]], rates: list[float]) -> Waits:
    """Promised and simulated mean waits of operators on one machine with one accelerator."""
    scenario = build(
        queueing=True,
        device_classes={
            "box": {
                "cores": cores,
                "memory_mb": 1000,
                "price_usd_hour": 1,
                "accelerators": {"gpu": 1},
            }
        },
        devices=[{"id": "box", "class": "box", "tier": "device"}],
        links=[],
        pipeline={"operators": {"a": {"knobs": {"k": list(range(len(uses)))}}}},
        profiles=[
            profile("a", "box", SPREAD, config={"k": k}, compute_s=use)
            for k, use in enumerate(uses)
        ],
        query={"source": "box", "rate_rps": sum(rates)},
    )
    catalogue, ledger, query = Catalogue(scenario), Ledger(scenario), scenario.queries[0]
    assignments, keys = [], []
    for k, rate in enumerate(rates):
        placed = place(catalogue, query, {"a": Step(device="box", config=Config({"k": k}))})
        ledger.add(placed.use, rate)
        keys.append(placed.use.steps[0].key)
        estimate = Estimate(latency_ms=0, accuracy=None, cost_usd_per_1000=0)
        share = rate / sum(rates)
        plan = {name: replace(s, replicas=ledger.replicas_of(keys[-1]))
                for name, s in placed.plan.items()}  # fmt: skip
        assignments.append(Assignment(query="q", share=share, plan=plan, estimate=estimate))
    decision = Decision(planner="", assignments=tuple(assignments))
    played = simulate(scenario, decision, seconds=3_000, shedding=False, split=Split.RANDOM)
    by_config = {i.config: i.mean_wait_ms for i in played.instances}
    return [
        (ledger.line(key).mean + ledger.instance_wait(key)[0], by_config[f"k={k}"])
        for k, key in enumerate(keys)
    ]


def test_who_needs_cores_alone_does_not_wait_for_who_waits_for_an_accelerator(
    build, profile
) -> None:
    """Two workers of 0.6 accelerators each are in one another's way, and in nobody else's."""
    gpu = {"gpu": 0.06}
    *_, (promised, simulated) = waits(build, profile, 1, [gpu, gpu, {"cores": 0.1}], [3, 3, 5])
    (alone, _), = waits(build, profile, 1, [{"cores": 0.1}], [5])  # fmt: skip
    assert promised == alone == pytest.approx(simulated, rel=0.1)


@pytest.mark.parametrize(
    ("cores", "uses", "rates"),
    [
        # Parts of an accelerator only, then with cores enough for all, then with too few.
        (4, [{"gpu": 0.06}, {"gpu": 0.06}], [3.0, 3.0]),
        (4, [{"gpu": 0.06, "cores": 0.1}, {"gpu": 0.06, "cores": 0.1}, {"cores": 0.1}], [3, 3, 4]),
        (2, [{"gpu": 0.06, "cores": 0.1}, {"gpu": 0.06, "cores": 0.1}, {"cores": 0.1}], [3, 3, 4]),
        (2, [{"gpu": 0.06, "cores": 0.1}, {"gpu": 0.06}, {"cores": 0.2}], [2, 3, 3]),
        # Many who are in one another's way, and parts that leave some empty.
        (9, [{"gpu": 0.06}] * 6, [1.2] * 6),
        (9, [{"gpu": seconds} for seconds in (0.02, 0.025, 0.03, 0.04, 0.05, 0.07)], [2.5] * 6),
    ],
)
def test_waits_in_lines_are_about_those_simulated(
    build, profile, cores: int, uses: list[dict[str, float]], rates: list[float]
) -> None:
    for promised, simulated in waits(build, profile, cores, uses, rates):
        assert simulated * 0.8 < promised < simulated * 1.4


@pytest.mark.parametrize(("seconds", "rps", "endless"), [(0.06, 9.5, True), (0.05, 9.5, False)])
def test_two_who_hold_more_than_half_of_a_machine_never_run_at_once(
    build, profile, seconds: float, rps: float, endless: bool
) -> None:
    """Two workers are 0.95 busy together: of 0.6 accelerators each that is too much, of 0.5 not."""
    kind = {"cores": 4, "memory_mb": 1000, "price_usd_hour": 1, "accelerators": {"gpu": 1}}
    scenario = build(
        queueing=True,
        device_classes={"box": kind},
        devices=[{"id": "box", "class": "box", "tier": "device"}],
        links=[],
        profiles=[profile("a", "box", 100, compute_s={"gpu": seconds})],
        query={"source": "box", "rate_rps": rps},
    )
    catalogue, ledger = Catalogue(scenario), Ledger(scenario)
    placed = place(catalogue, scenario.queries[0], {"a": Step(device="box", config=Config())})
    ledger.add(placed.use, rps)
    assert math.isinf(placed.latency_ms(ledger)) == endless


def test_a_queue_that_would_grow_for_ever_is_not_planned(build, profile) -> None:
    scenario = build(
        queueing=True, max_utilisation=1, profiles=[profile("a", "small", 100)],
        query={"rate_rps": 20},
    )  # fmt: skip
    decision = plan(scenario)  # 2 cores x 10/s are just what is wanted
    assert all(a.estimate.latency_ms < 1e9 for a in decision.assignments)
    assert decision.goodput_rps < 20


def test_pipelines_that_share_batches_each_have_lengths_of_their_own(build, profile) -> None:
    """Only one of the two knows how long a request alone takes; both promise at one machine."""
    pipelines = {n: {"operators": {"a": {}}, "input_bytes": 1} for n in ("p", "r")}
    scenario = build(
        queueing=True,
        pipelines=pipelines,
        profiles=[
            profile("a", "small", 40, batch=4),
            profile("p/a", "small", 10),
        ],
        queries=[
            {"id": n, "pipeline": n, "source": "pi", "rate_rps": 0.01} for n in pipelines
        ],
    )  # fmt: skip
    catalogue, ledger = Catalogue(scenario), Ledger(scenario)
    step = {"a": Step(device="pi", config=Config(), batch=4)}
    both = [place(catalogue, query, step) for query in scenario.queries]
    for placed in both:
        ledger.add(placed.use, 0.01)
    late = [placed.latency_ms(ledger) for placed in (*both, *both[::-1])]
    assert late == [pytest.approx(ms, rel=0.05) for ms in (10, 40, 40, 10)]


def test_queries_of_one_class_have_deadlines_of_their_own(build, profile) -> None:
    """They share plans, but the one in a hurry is served first."""
    queries = [
        {"id": f"q{ms}", "pipeline": "p", "source": "pi", "rate_rps": 1, "slo": {"latency_ms": ms}}
        for ms in (400, 900)
    ]
    scenario = build(queueing=True, profiles=[profile("a", "small", 100)], queries=queries)
    found = market(Catalogue(scenario))
    relax(found)
    binder, (kind,) = Binder(found), found.classes
    devices = tuple(found.sites.members[node][0] for node in kind.sites[0].nodes)
    deadlines = [binder.placed(k, 0, 0, devices).use.steps[0].spare_ms for k in (0, 1)]
    assert deadlines == [400, 900]
