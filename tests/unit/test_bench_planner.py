"""What the planner benchmark makes of results: ratios, same queries, targets, wrong claims."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks._planner.cases import Case, Series, cases
from benchmarks._planner.figures import bounds, pairs, problems, spread
from benchmarks._planner.judging import Evaluated, Served, Simulated, Worth
from benchmarks._planner.options import OURS, Options, parse
from benchmarks._planner.plots import draw
from benchmarks._planner.running import Result, Timing
from benchmarks._planner.same import Same
from benchmarks._planner.tables import report
from benchmarks._planner.targets import TARGETS, Target
from circinus.decision import Decision


def case(
    seed: int = 0, contention: float = 0.5, queries: int = 4, series: Series = Series.COMPARE
) -> Case:
    arguments = {"queries": queries, "devices": 8, "seed": seed, "contention": contention}
    return Case(series=series, arguments=arguments)


def result(
    planner: str,
    *,
    at: Case | None = None,
    good: float = 50.0,
    simulated: float = 0.5,
    whole: Mapping[str, tuple[float, float]] | None = None,
    wall_s: float = 1.0,
    **decision: Any,
) -> Result:
    """100 weighted requests per second are asked for; `whole` has (rate, dollars) by query."""
    served = {name: Served(rate_rps=r, usd=usd) for name, (r, usd) in (whole or {}).items()}
    return Result(
        case=at or case(),
        planner=planner,
        status="ok",
        demand_rps=100.0,
        decision=Decision(planner=planner, **{"goodput_rps": good, **decision}),
        worth=Worth(
            evaluated=Evaluated(
                goodput_rps=good,
                good_rps=good,
                usd_hour=1,
                broken=0,
                overloaded=0,
                overserved=0,
                whole=served,
            ),
            simulated=Simulated(
                goodput=simulated,
                attainment=1,
                good=dict.fromkeys(served, 1.0),
                requests=1,
                seconds=1,
            ),
        ),
        cold=Timing(wall_s=wall_s, cpu_s=wall_s),
    )


def not_run(planner: str, why: str, at: Case | None = None) -> Result:
    status = f"not run: {why}"
    return Result(case=at or case(), planner=planner, status=status, demand_rps=1, too_long=True)


def target(what: str, planner: str) -> Target:
    (found,) = (t for t in TARGETS if t.planner == planner and t.what.startswith(what))
    return found


def test_ratios_are_taken_within_a_scenario() -> None:
    found = pairs(
        [
            result(OURS, at=case(0), good=40),
            result("exact", at=case(0), good=20),
            result(OURS, at=case(1), good=90),
            result("exact", at=case(1), good=30),
        ]
    )
    assert [p.goodput for p in found] == [2, 3]


def test_against_nothing_the_ratio_is_infinite_and_two_nothings_do_not_compare() -> None:
    found = pairs([result(OURS, good=40, simulated=0), result("exact", good=0, simulated=0)])
    assert found[0].goodput == math.inf
    assert math.isnan(found[0].simulated)


def test_costs_are_compared_on_the_queries_both_serve_whole_weighted_by_rate() -> None:
    ours = result(OURS, whole={"a": (1, 0.002), "b": (3, 0.001), "mine": (9, 9.0)})
    theirs = result("exact", whole={"a": (1, 0.004), "b": (3, 0.004), "theirs": (9, 0.0)})
    (pair,) = pairs([ours, theirs])
    assert pair.common == 2
    assert pair.usd_ours == pytest.approx(1000 * (0.002 + 3 * 0.001) / 4)
    assert pair.usd == pytest.approx(4 / 1.25)


def test_beside_a_ratio_stands_what_the_least_bound_would_let_any_planner_have() -> None:
    ours = result(OURS, good=40, simulated=0.4, bound_rps=80.0, certified=True)
    exact = result("exact", bound_rps=60.0, certified=True)
    found = pairs([ours, exact, result("cheapest-first", simulated=0.2)])
    most = target("simulated", "cheapest-first").reachable(found)
    assert most is not None
    assert most.median == pytest.approx(3)


def test_no_planner_serves_queries_for_less_than_the_cheapest_plan_each_has_alone() -> None:
    ours = dataclasses.replace(
        result(OURS, whole={"a": (1, 0.003), "b": (3, 0.002), "mine": (1, 1)}),
        alone_usd={"a": 0.002, "b": 0.001, "mine": 0.5, "nobody's": 0.1},
    )
    (pair,) = pairs([ours, result("all-cloud", whole={"a": (1, 0.01), "b": (3, 0.01)})])
    assert pair.usd_least == pytest.approx(1000 * (0.002 + 3 * 0.001) / 4)


def test_targets_for_cost_are_about_the_queries_the_other_serves_and_nobody_elses() -> None:
    same = Same(asked=3, served=2, usd_ours=1.0, usd_theirs=4.0, usd_least=0.5)
    theirs = dataclasses.replace(result("all-cloud", whole={"a": (1, 9)}), same=same)
    (pair,) = pairs([result(OURS, whole={"a": (1, 1)}), theirs])
    assert (pair.asked, pair.served) == (3, 2)
    cost = target("cost", "all-cloud")
    reached, most = cost.reached([pair]), cost.reachable([pair])
    assert reached is not None
    assert most is not None
    assert (reached.median, most.median) == (4, 8)


def test_without_a_common_query_costs_do_not_compare() -> None:
    (pair,) = pairs([result(OURS, whole={"a": (1, 1)}), result("exact", whole={"b": (1, 1)})])
    assert pair.common == 0
    assert math.isnan(pair.usd)


def test_requests_that_were_not_good_in_the_simulator_are_paid_for_too() -> None:
    ours, theirs = (result(n, whole={"a": (1, 0.001)}) for n in (OURS, "exact"))
    assert theirs.worth is not None
    theirs.worth.simulated.good["a"] = 0.5  # type: ignore[index]
    assert pairs([ours, theirs])[0].usd_simulated == pytest.approx(2)


def test_the_median_of_two_is_one_of_them() -> None:
    found = spread([2.0, math.inf, math.nan])
    assert found is not None
    assert (found.median, found.low, found.high, found.count) == (2, 2, math.inf, 2)


def test_a_median_decides_on_goodput_and_the_worst_scenario_on_cost() -> None:
    def scenarios(ratios: list[float]) -> list[Result]:
        return [
            r
            for seed, x in enumerate(ratios)
            for r in (
                result(OURS, at=case(seed), simulated=0.1 * x),
                dataclasses.replace(
                    result("cheapest-first", at=case(seed), simulated=0.1),
                    same=Same(asked=1, served=1, usd_ours=1, usd_theirs=x, usd_least=1),
                ),
            )
        ]

    goodput, cost = target("simulated", "cheapest-first"), target("cost", "cheapest-first")
    found = pairs(scenarios([0.9, 2.6, 2.7]))
    reached = goodput.reached(found), cost.reached(found)
    assert reached[0] is not None
    assert reached[1] is not None
    assert goodput.hit(reached[0])
    assert not cost.hit(reached[1])
    worst = cost.reached(pairs(scenarios([0.99, 5])))
    assert worst is not None
    assert cost.hit(worst)


@pytest.mark.parametrize(
    "outside",
    [case(contention=0.2), case(contention=0.9), case(series=Series.SIZE)],
    ids=["tighter", "looser", "size"],
)
def test_targets_count_contended_scenarios_of_the_comparison(outside: Case) -> None:
    found = pairs([result(OURS, at=outside), result("best-accuracy", at=outside)])
    assert target("simulated", "best-accuracy").reached(found) is None


def test_planning_time_counts_where_ours_is_no_worse() -> None:
    found = pairs(
        [
            result(OURS, at=case(0), simulated=0.4, wall_s=1),
            result("bayesian-50", at=case(0), simulated=0.4, wall_s=20),
            result(OURS, at=case(1), simulated=0.4, wall_s=1),
            result("bayesian-50", at=case(1), simulated=0.5, wall_s=1000),
        ]
    )
    reached = target("cold", "bayesian-50").reached(found)
    assert reached is not None
    assert (reached.median, reached.count) == (20, 1)


def test_every_target_of_a_baseline_is_told_as_hit_missed_or_not_run() -> None:
    found = [
        result(OURS, simulated=0.6, bound_rps=90.0, certified=True),
        result("best-accuracy", simulated=0.1),
        result("cheapest-first", simulated=0.5),
        result("cheapest-first@best", simulated=0.6),
        not_run("bayesian-200", "took over 9 s of CPU with 4 queries"),
    ]
    options = Options(planners=tuple(r.planner for r in found), seeds=1, contentions=(0.5,))
    lines = report(options, found)
    at = lines.index("Targets, where 35% to 60% were asked to fit")
    told = [line.split() for line in lines[at:] if "simulated goodput" in line]
    goodput = {words[0]: " ".join(words) for words in told if words[1] == "first"}
    best = {words[0]: " ".join(words) for words in told if words[1] == "best"}
    assert " 6.00 9.00 hit" in goodput["best-accuracy"]
    assert " 1.20 1.80 MISSED, beyond any planner" in goodput["cheapest-first"]
    assert " 1.00 1.50 MISSED 1" in best["cheapest-first"]
    assert "not run: took over 9 s" in goodput["bayesian-200"]
    assert "not run: not asked for" in goodput["bayesian-50"]


def test_a_bound_below_somebodys_goodput_is_a_wrong_claim() -> None:
    fine = [result(OURS, good=40, bound_rps=60, certified=True), result("exact", good=60)]
    assert problems(fine) == []
    wrong = [result(OURS, good=40, bound_rps=50, certified=True), result("exact", good=60)]
    assert [line.split(":")[0] for line in problems(wrong)] == ["exact, 4 queries, 0.5, seed 0"]
    assert "WRONG CLAIMS" in report(Options(planners=(OURS, "exact")), wrong)


def test_a_bound_that_is_not_certified_is_none() -> None:
    assert bounds([result(OURS, bound_rps=50, certified=False)]) == {}


def test_more_goodput_than_the_judge_finds_is_a_wrong_claim() -> None:
    assert "says 50 of goodput, has 40" in problems([result(OURS, good=40, goodput_rps=50)])[0]


def test_smaller_scenarios_come_first_and_sizes_have_the_middle_contention() -> None:
    options = Options(queries=40, seeds=2, contentions=(0.6, 0.35, 0.45), sizes=(80, 20))
    made = cases(options)
    assert [c.queries for c in made] == [20] + [40] * 6 + [80]
    assert {c.contention for c in made if c.series is Series.SIZE} == {0.45}
    assert len({(c.queries, c.contention, c.seed) for c in made}) == len(made)


def test_options_are_taken_from_the_command_line() -> None:
    options = parse(["--seeds", "2", "--queries", "20", "--contentions", "0.4", "--out", "there"])
    assert (options.seeds, options.queries, options.contentions) == (2, 20, (0.4,))
    assert options.sizes == (5, 10, 40)
    assert str(options.out) == "there"


def test_the_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    options = parse([])
    contentions = ",".join(f"{c:g}" for c in options.contentions)
    for default in (options.queries, options.seeds, contentions, options.requests):
        assert f"[{default}]" in told
    assert f"not run again [{options.time_limit_s:g}]" in told
    assert options.sizes == Options().sizes


def test_ours_is_always_among_the_planners_and_first() -> None:
    assert parse(["--planners", "exact,circinus"]).planners == (OURS, "exact")
    assert parse(["--planners", "exact"]).planners == (OURS, "exact")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--planners", "best"],
        ["--seeds", "0"],
        ["--contentions", "0.3,2"],
        ["--time-limit", "nan"],
        ["--queries", "many"],
        ["--tightness", "2"],
        ["--splittable", "-1"],
        ["somewhere"],
    ],
    ids=" ".join,
)
def test_wrong_options_end_with_code_2(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(wrong)
    assert stopped.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_plots_are_drawn_where_nothing_was_run_and_where_nothing_was_served(tmp_path: Any) -> None:
    options = Options(out=tmp_path, planners=(OURS, "exact", "all-cloud"), contentions=(0.5,))
    found = [
        result(OURS, good=0, simulated=0, wall_s=0.1),
        result("all-cloud", simulated=0.2, whole={"a": (1, 1)}),
        not_run("exact", "took over 1 s of CPU with 4 queries"),
    ]
    assert draw(options, found) == ["goodput.png", "time.png", "pareto.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in draw(options, []))


def test_no_goodput_lies_beyond_its_plot(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned is often more than simulated, and both have one scale."""
    drawn = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda self, *_, **__: drawn.append(self)
    )
    options = Options(out=tmp_path, planners=(OURS,), contentions=(0.5,))
    draw(options, [result(OURS, good=90, simulated=0.4)])
    assert all(axis.get_ylim()[1] > 0.9 for axis in drawn[0].axes)
