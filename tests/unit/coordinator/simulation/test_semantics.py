"""Hops, joins, delivery, shares, SLOs and faults, as the contract has them, request by request."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from queues import decide, scenario_of

from circinus.decision import Step
from circinus.errors import InvalidInput
from circinus.pipeline import Config
from circinus.scenario import Scenario
from circinus_coordinator.simulation import Fault, Report, Split, simulate

# 1 Mbit/s: a byte takes 8 us, 10,000 bytes 80 ms.
LINKS = [
    {"between": ["device", "edge"], "rtt_ms": 10, "bandwidth_mbps": 1},
    {"between": ["edge", "cloud"], "rtt_ms": 40, "bandwidth_mbps": 10, "price_usd_gb": 1.0},
]
DEVICES = [
    {"id": "pi", "class": "c", "tier": "device"},
    {"id": "box", "class": "c", "tier": "edge"},
    {"id": "srv", "class": "c", "tier": "cloud"},
]
COSTLY = {"cores": 2, "memory_mb": 1, "price_usd_hour": 3.6}


def fleet(
    operators: dict[str, list[str]],
    ms: dict[str, Any],
    query: dict[str, Any] | None = None,
    **keys: Any,
) -> Scenario:
    pipeline = {
        "operators": {n: {"needs": needs} for n, needs in operators.items()},
        "input_bytes": 10_000,
    }
    pipeline.update(keys.pop("pipeline", {}))
    return scenario_of(
        {
            "device_classes": {"c": COSTLY},
            "devices": DEVICES,
            "links": LINKS,
            "pipelines": {"p": pipeline},
            "profiles": [
                {
                    "operator": n,
                    "device_class": "c",
                    "latency_ms": value,
                    "compute_s": {"cores": value / 1e3},
                    "output_bytes": 10_000,
                }
                for n, value in ms.items()
            ],
            "queries": [
                {"id": "q", "pipeline": "p", "source": "pi", "rate_rps": 1, **(query or {})}
            ],
            **keys,
        }
    )


def latencies(report: Report) -> list[float]:
    return report.queries["q"].latency.values_ms.tolist()


def play(scenario: Scenario, decision: Any, at: list[float], **more: Any) -> Report:
    options = {"seconds": 100.0, "warmup_s": 0, "arrivals": {"q": at}, **more}
    return simulate(scenario, decision, **options)


CHAIN = {"a": [], "b": ["a"]}
JOIN = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_a_hop_takes_bytes_over_bandwidth_and_half_the_round_trip() -> None:
    report = play(fleet(CHAIN, {"a": 20, "b": 30}), decide({"a": "pi", "b": "box"}), [0])
    assert latencies(report) == [pytest.approx(20 + 80 + 5 + 30)]


def test_input_travels_when_the_first_step_is_elsewhere() -> None:
    report = play(fleet(CHAIN, {"a": 20, "b": 30}), decide({"a": "box", "b": "box"}), [0])
    assert latencies(report) == [pytest.approx(85 + 20 + 30)]


def test_transfers_queue_for_the_line_but_not_for_the_way() -> None:
    scenario = fleet(CHAIN, {"a": 0, "b": 0})
    report = play(scenario, decide({"a": "pi", "b": "box"}), [0, 0])
    assert latencies(report) == [pytest.approx(85), pytest.approx(165)]
    assert report.links["pi", "box"] == pytest.approx(0.160 / 100)


def test_directions_of_a_link_do_not_share() -> None:
    scenario = fleet(CHAIN, {"a": 0, "b": 0}, pipeline={"deliver": "source"})
    report = play(scenario, decide({"a": "pi", "b": "box"}), [0, 0.085])
    assert latencies(report) == [pytest.approx(170), pytest.approx(170)]
    assert report.links["box", "pi"] == report.links["pi", "box"]


def test_a_join_waits_for_its_slowest_input() -> None:
    scenario = fleet(JOIN, {"a": 1, "b": 10, "c": 70, "d": 5})
    report = play(scenario, decide(dict.fromkeys(JOIN, "pi")), [0])
    assert latencies(report) == [pytest.approx(1 + 70 + 5)]


def test_an_output_crosses_once_for_all_its_takers_on_a_device() -> None:
    scenario = fleet(JOIN, {"a": 0, "b": 10, "c": 10, "d": 0})
    report = play(scenario, decide({"a": "pi", "b": "box", "c": "box", "d": "box"}), [0])
    assert latencies(report) == [pytest.approx(85 + 10)]


def test_a_request_with_two_last_steps_is_over_with_the_later() -> None:
    operators = {"a": [], "b": ["a"], "c": ["a"]}
    scenario = fleet(operators, {"a": 0, "b": 10, "c": 40})
    report = play(scenario, decide(dict.fromkeys(operators, "pi")), [0])
    assert latencies(report) == [pytest.approx(40)]


def test_a_capped_uplink_holds_back_what_goes_to_different_devices() -> None:
    devices = [{**DEVICES[0], "uplink_mbps": 0.5}, *DEVICES[1:]]
    wide = [{"between": ["device", "edge"], "rtt_ms": 0, "bandwidth_mbps": 1},
            {"between": ["device", "cloud"], "rtt_ms": 0, "bandwidth_mbps": 1}]  # fmt: skip
    scenario = fleet(CHAIN, {"a": 0, "b": 0}, devices=devices, links=wide)
    plans = decide({"a": "pi", "b": "box"}, {"a": "pi", "b": "srv"})
    report = play(scenario, plans, [0, 0])
    assert latencies(report) == [pytest.approx(80), pytest.approx(160 + 80)]
    assert report.devices["pi"]["uplink"] == pytest.approx(0.320 / 100)
    # At 0.2 s the second has not quite got through: its line was idle before.
    short = play(scenario, plans, [0, 0], seconds=0.2)
    assert short.links["pi", "srv"] == pytest.approx(0.040 / 0.2)


def test_queries_share_an_instance() -> None:
    query = {"pipeline": "p", "source": "pi", "rate_rps": 1}
    scenario = fleet(CHAIN, {"a": 40, "b": 0}, queries=[{"id": "q", **query}, {"id": "r", **query}])
    both = decide({"a": "pi", "b": "pi"}), decide({"a": "pi", "b": "pi"}, query="r")
    decision = dataclasses.replace(both[0], assignments=both[0].assignments + both[1].assignments)
    report = simulate(
        scenario, decision, seconds=10, warmup_s=0, arrivals={"q": [1.0], "r": [1.01]}
    )
    assert report.queries["q"].latency.mean == pytest.approx(40)
    assert report.queries["r"].latency.mean == pytest.approx(70)
    assert [i.requests for i in report.instances] == [2, 2]


def test_a_batch_takes_what_waits_and_less_time_when_it_is_not_full() -> None:
    scenario = fleet({"a": []}, {"a": 10})
    rows = [
        {"operator": "a", "device_class": "c", "batch": n, "latency_ms": ms, "output_bytes": 1}
        for n, ms in ((1, 100), (3, 200))
    ]
    scenario = fleet({"a": []}, {}, profiles=rows)
    plan = {"a": Step(device="pi", config=Config(), batch=3)}
    report = play(scenario, decide(plan), [0, 0.01, 0.02], shedding=False)
    # The first runs alone for 100 ms; the other two together for 150.
    assert latencies(report) == [pytest.approx(v) for v in (100, 230, 240)]
    assert report.instances[0].batches == 2


def test_shares_are_dealt_evenly_and_the_rest_is_refused() -> None:
    scenario = fleet({"a": []}, {"a": 1})
    decision = decide({"a": "pi"}, {"a": "box"}, shares=[0.5, 0.3])
    report = play(scenario, decision, [k / 10 for k in range(100)])
    assert [a.arrivals for a in report.assignments] == [50, 30]
    assert report.queries["q"].refused == 20


def test_a_random_split_keeps_the_shares_on_average() -> None:
    scenario = fleet({"a": []}, {"a": 1})
    decision = decide({"a": "pi"}, {"a": "box"}, shares=[0.5, 0.5])
    at = [k / 100 for k in range(10_000)]
    report = play(scenario, decision, at, split=Split.RANDOM)
    assert 4700 < report.assignments[0].arrivals < 5300
    assert report.assignments[0].arrivals != 5000


def test_streams_of_a_query_that_may_not_be_split_stay_on_one_plan() -> None:
    uniform = {"kind": "http", "arrivals": "uniform"}
    query = {"count": 4, "splittable": False, "rate_rps": 50, "input": uniform}
    scenario = fleet({"a": []}, {"a": 1}, query)
    decision = decide({"a": "pi"}, {"a": "box"}, shares=[0.75, 0.25])
    report = simulate(scenario, decision, seconds=10, warmup_s=0)
    assert [a.arrivals for a in report.assignments] == [1500, 500]


def test_a_query_without_a_plan_is_refused() -> None:
    report = play(fleet({"a": []}, {"a": 1}), decide(), [1, 2, 3])
    query = report.queries["q"]
    assert (query.arrivals, query.refused, query.simulated_ms) == (3, 3, None)
    assert report.slo_attainment == 1.0


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        ({"latency_ms": 10}, 1),
        ({"latency_ms": 9.9}, 0),
        ({"accuracy": 0.9}, 1),
        ({"accuracy": 0.91}, 0),
        # 10 ms of one of two cores at 3.6 $/h.
        ({"cost_usd_per_1000": 0.005}, 1),
        ({"cost_usd_per_1000": 0.0049}, 0),
    ],
)
def test_good_means_all_slos(slo: dict[str, float], good: int) -> None:
    table = [{"pipeline": "p", "config": {}, "mean": 0.9}]
    scenario = fleet({"a": []}, {"a": 10}, {"slo": slo, "weight": 3}, accuracy=table)
    report = play(scenario, decide({"a": "pi"}), [1.0], shedding=False)
    assert report.queries["q"].good == good
    assert report.goodput_rps == pytest.approx(3 * good / 100)


def test_moved_bytes_cost() -> None:
    links = [{**LINKS[0], "price_usd_gb": 1.0}]
    for cap, good in ((0.0151, 1), (0.0149, 0)):
        scenario = fleet({"a": []}, {"a": 10}, {"slo": {"cost_usd_per_1000": cap}}, links=links)
        assert play(scenario, decide({"a": "box"}), [1.0]).queries["q"].good == good


def test_warm_up_is_not_counted() -> None:
    scenario = fleet({"a": []}, {"a": 1000})
    report = play(scenario, decide({"a": "pi"}), [1.0, 49.5, 60.0], warmup_s=50)
    assert report.queries["q"].arrivals == 1
    assert report.instances[0].utilisation == pytest.approx((0.5 + 1) / 50)  # half of the second


def test_without_draining_the_last_requests_stay_in_flight() -> None:
    scenario = fleet({"a": []}, {"a": 1000})
    report = play(scenario, decide({"a": "pi"}), [10.0, 99.5], drain=False)
    assert (report.queries["q"].served, report.queries["q"].in_flight) == (1, 1)


def test_a_device_that_fails_loses_what_it_has_and_comes_back() -> None:
    scenario = fleet({"a": []}, {"a": 1000})
    down = Fault(device="pi", start_s=10, end_s=20)
    report = play(scenario, decide({"a": "pi"}), [9.5, 9.6, 15, 20, 30], events=[down])
    query = report.queries["q"]
    assert (query.served, query.failed) == (2, 3)
    assert report.instances[0].utilisation == pytest.approx((0.5 + 2) / 100)


def test_a_link_that_fails_loses_what_travels() -> None:
    scenario = fleet(CHAIN, {"a": 0, "b": 0})
    down = Fault(link=("box", "pi"), start_s=10, end_s=20)
    decision = decide({"a": "pi", "b": "box"})
    report = play(scenario, decision, [9.95, 15, 20, 30], events=[down])
    assert (report.queries["q"].served, report.queries["q"].failed) == (2, 2)
    assert latencies(report) == [pytest.approx(85), pytest.approx(85)]


def test_a_slow_device_finishes_the_rest_later() -> None:
    scenario = fleet({"a": []}, {"a": 1000})
    slow = Fault(device="pi", start_s=10, end_s=20, slowdown=4)
    at = [9.5, 13, 19.5, 30]
    report = play(scenario, decide({"a": "pi"}), at, events=[slow])
    # Half at full speed and half at a quarter; all slow; 0.5 s slow, then the rest fast; fast.
    assert latencies(report) == [pytest.approx(v) for v in (1000, 1375, 2500, 4000)]


def test_a_slow_link_stretches_what_has_not_left() -> None:
    scenario = fleet(CHAIN, {"a": 0, "b": 0})
    slow = Fault(link=("pi", "box"), start_s=10, slowdown=10)
    report = play(scenario, decide({"a": "pi", "b": "box"}), [9.96, 30], events=[slow])
    assert latencies(report) == [pytest.approx(40 + 400 + 5), pytest.approx(805)]


def test_the_same_seed_gives_the_same_report_and_another_another() -> None:
    scenario = fleet(JOIN, {"a": 1, "b": 10, "c": 70, "d": 5}, {"rate_rps": 10})
    decision = decide(dict.fromkeys(JOIN, "pi"))
    first, again, other = (simulate(scenario, decision, seconds=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_measured_service_times_take_the_place_of_the_fit() -> None:
    scenario = fleet({"a": []}, {"a": 10})
    key = ("a", Config(), "c", 1)
    report = play(scenario, decide({"a": "pi"}), [1, 2, 3], services={key: [7.0]})
    assert latencies(report) == [pytest.approx(7)] * 3


@pytest.mark.parametrize(
    ("plan", "key"),
    [
        ({"a": "nowhere", "b": "pi"}, "assignments[0].plan.a"),
        ({"a": "pi"}, "assignments[0].plan.b"),
        ({"a": "pi", "b": "srv"}, "assignments[0].plan.a"),  # no link
        ({"a": Step(device="pi", config=Config(), batch=7), "b": "pi"}, "assignments[0].plan.a"),
    ],
)
def test_a_decision_that_does_not_fit_is_bad_input(plan: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        play(fleet(CHAIN, {"a": 1, "b": 1}), decide(plan), [1])
    assert caught.value.key == key


@pytest.mark.parametrize("options", [{"seconds": 0}, {"warmup_s": 100}, {"arrivals": {"x": []}},
                                     {"arrivals": {"q": [-1.0]}}])  # fmt: skip
def test_bad_options_are_bad_input(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        play(fleet({"a": []}, {"a": 1}), decide({"a": "pi"}), [1], **options)


def test_a_fault_of_an_unknown_device_is_bad_input() -> None:
    fault = Fault(device="nobody", start_s=1)
    with pytest.raises(InvalidInput, match="nobody"):
        play(fleet({"a": []}, {"a": 1}), decide({"a": "pi"}), [1], events=[fault])
