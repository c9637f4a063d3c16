"""Counters become figures that can be held against promises."""

from __future__ import annotations

import msgspec
import pytest

from circinus.fleet import Device, DeviceClass, Link
from circinus.histogram import Histogram
from circinus.messages import (
    DesiredBody,
    InstanceSpec,
    InstanceTelemetry,
    Route,
    RouteStep,
    RouteTelemetry,
    Telemetry,
)
from circinus.query import Slo
from circinus.scenario import Scenario
from circinus_coordinator.fleet import Measured, Monitor

SCENARIO = Scenario(
    device_classes={"c": DeviceClass(name="c", cores=4, memory_mb=1, price_usd_hour=3.6)},
    devices=(
        Device(id="a", device_class="c", tier="device"),
        Device(id="b", device_class="c", tier="cloud"),
    ),
    links=(Link(between=("a", "b"), rtt_ms=1, bandwidth_mbps=1, price_usd_gb=1.0),),
)
ROUTE = Route(
    query="q", plan="p", share=1, active=True, lead="a", sources={"s": "a"}, rate_rps=1,
    steps=[
        RouteStep(name="s", device="a", instance="i"),
        RouteStep(name="t", device="b", instance="j", needs=["s"]),
    ],
)  # fmt: skip
OTHER = msgspec.structs.replace(ROUTE, plan="r")
BODY = DesiredBody(
    routes=[ROUTE, OTHER], instances=[InstanceSpec(key=key, run="m:A") for key in "ij"]
)


def take(monitor: Monitor, message: Telemetry, now: float, body: DesiredBody = BODY) -> None:
    monitor.telemetry(message, now, body)


def histogram(*values_ms: float) -> dict[int, int]:
    made = Histogram()
    for value in values_ms:
        made.add(value)
    return made.counts


def report(
    device: str = "a", *, seq: int, uptime_s: float = 1e6, boot: str = "x",
    routes: list[RouteTelemetry] | None = None,
    instances: list[InstanceTelemetry] | None = None,
) -> Telemetry:  # fmt: skip
    return Telemetry(
        device=device, boot_id=boot, seq=seq, uptime_s=uptime_s, routes=routes or [],
        instances=instances or [],
    )  # fmt: skip


def counts(**values: object) -> RouteTelemetry:
    return RouteTelemetry(query="q", plan="p", **values)  # type: ignore[arg-type]


def figures(
    monitor: Monitor, slo: Slo | None = None, *, now: float = 10, window_s: float = 60
) -> Measured:
    return monitor.measured(
        "q", slo or Slo(), now=now, window_s=window_s, routes=[ROUTE], scenario=SCENARIO
    )


def after(**values: object) -> Monitor:
    """A device that counted nothing until second 0, and this until second 10."""
    monitor = Monitor(0)
    take(monitor, report(seq=1), 0)
    take(monitor, report(seq=2, routes=[counts(**values)]), 10)
    return monitor


def test_counts_become_rates_over_the_time_they_took() -> None:
    assert figures(after(submitted=50, completed=40)).goodput_rps == 4


def test_only_requests_within_the_latency_slo_are_good() -> None:
    monitor = after(submitted=10, completed=10, within_latency=7)
    assert figures(monitor, Slo(latency_ms=5)).attainment == 0.7


def test_shed_and_failed_requests_count_against_attainment() -> None:
    monitor = after(submitted=10, completed=5, shed=3, failed={"boom": 2})
    found = figures(monitor)
    assert (found.finished, found.attainment, found.failed) == (10, 0.5, {"boom": 2})


def test_requests_on_their_way_are_not_counted_as_finished() -> None:
    assert figures(after(submitted=10, completed=5)).attainment == 1.0


def test_latency_is_taken_at_the_percentile_of_the_slo() -> None:
    monitor = after(completed=10, latency=histogram(*[10.0] * 8, 100.0, 100.0))
    assert figures(monitor, Slo(percentile=80)).latency_ms == pytest.approx(10, rel=0.01)
    assert figures(monitor, Slo(percentile=90)).latency_ms == pytest.approx(100, rel=0.01)


def test_an_accuracy_that_is_clearly_too_low_makes_no_request_good() -> None:
    monitor = after(submitted=100, completed=100, scored=100, score_sum=50)
    found = figures(monitor, Slo(accuracy=0.8))
    assert (found.accuracy, found.accuracy_met, found.goodput_rps) == (0.5, False, 0.0)


def test_a_few_unlucky_samples_are_no_violation() -> None:
    monitor = after(completed=4, scored=4, score_sum=3)
    assert figures(monitor, Slo(accuracy=0.8)).accuracy_met


def test_without_labels_the_accuracy_is_unknown() -> None:
    assert figures(after(completed=4), Slo(accuracy=0.8)).accuracy is None


def test_what_instances_served_is_told_message_by_message() -> None:
    monitor = Monitor(0)
    first = InstanceTelemetry(key="i", requests=2, full=histogram(10.0, 20.0))
    nobodys = InstanceTelemetry(key="x", requests=2, full=histogram(10.0))
    (found,) = monitor.telemetry(report(seq=1, uptime_s=1, instances=[first, nobodys]), 4, BODY)
    assert (found.instance, found.full.total, found.seconds) == ("i", 2, 1)
    more = InstanceTelemetry(key="i", requests=3, full=histogram(10.0, 20.0, 500.0))
    (found,) = monitor.telemetry(report(seq=2, instances=[more]), 6, BODY)
    assert (found.full.counts, found.seconds) == (histogram(500.0), 2)
    assert monitor.telemetry(report(seq=2, instances=[first]), 7, BODY) == []  # overtaken


def priced() -> Monitor:
    """10 requests of 2 core seconds on a and 1 on b, whatever the clock says, 1 MB a to b."""
    monitor = Monitor(0)
    for device in "ab":
        take(monitor, report(device, seq=1), 0)
    done = counts(submitted=10, completed=10, price_usd=0.1, network_bytes={"a>b": 1e7})
    on_a = InstanceTelemetry(key="i", requests=10, compute_s=20.0, service=histogram(500.0))
    on_b = InstanceTelemetry(key="j", requests=10, compute_s=10.0, service=histogram(9000.0))
    take(monitor, report("a", seq=2, routes=[done], instances=[on_a]), 10)
    take(monitor, report("b", seq=2, instances=[on_b]), 10)
    return monitor


def test_cost_adds_compute_network_and_metered_usage() -> None:
    # A core second costs 3.6 / 3600 / 4; 10 MB cost 0.01; operators metered 0.1.
    expected = (10 * 3 * 0.00025 + 0.01 + 0.1) / 10 * 1000
    assert figures(priced()).cost_usd_per_1000 == pytest.approx(expected, rel=0.01)


def test_a_cost_above_the_cap_makes_no_request_good() -> None:
    found = figures(priced(), Slo(cost_usd_per_1000=1))
    assert (found.cost_met, found.goodput_rps) == (False, 0.0)


def test_cost_is_unknown_while_a_step_has_not_reported() -> None:
    assert figures(after(completed=5)).cost_usd_per_1000 is None


def test_what_was_counted_before_the_coordinator_started_is_left_out() -> None:
    monitor = Monitor(100)
    take(monitor, report(seq=7, routes=[counts(completed=500)]), 101)
    assert figures(monitor, now=101).completed == 0


def test_a_device_that_started_after_the_coordinator_counts_from_zero() -> None:
    monitor = Monitor(0)
    take(monitor, report(seq=1, uptime_s=5, routes=[counts(completed=5)]), 10)
    assert figures(monitor).completed == 5


def test_a_restarted_device_counts_from_zero_again() -> None:
    monitor = after(completed=5)
    take(monitor, report(seq=1, boot="y", uptime_s=2, routes=[counts(completed=3)]), 20)
    assert figures(monitor, now=20).completed == 8


def test_a_message_that_was_overtaken_is_ignored() -> None:
    monitor = after(completed=5)
    take(monitor, report(seq=1, routes=[counts(completed=1)]), 11)
    take(monitor, report(seq=3, routes=[counts(completed=6)]), 12)
    assert figures(monitor, now=12).completed == 6


def test_a_lost_message_costs_nothing() -> None:
    monitor = after(completed=5)
    take(monitor, report(seq=9, routes=[counts(completed=20)]), 12)
    assert figures(monitor, now=12).completed == 20


def test_what_lies_before_the_window_is_left_out() -> None:
    monitor = after(completed=5)
    for seq in range(3, 20):
        take(monitor, report(seq=seq, routes=[counts(completed=5 + seq)]), 10 + seq * 5)
    found = figures(monitor, now=105, window_s=20)
    assert found.completed == 4


def test_plans_of_a_query_add_up() -> None:
    monitor = Monitor(0)
    take(monitor, report(seq=1), 0)
    other = RouteTelemetry(query="q", plan="r", completed=3)
    take(monitor, report(seq=2, routes=[counts(completed=5), other]), 10)
    assert monitor.plans("q") == ["p", "r"]
    assert figures(monitor).completed == 8


def test_durations_that_cannot_be_are_ignored() -> None:
    monitor = after(completed=1, latency={**histogram(10.0), 99999: 1, -99999: 1})
    assert figures(monitor).p95_ms == pytest.approx(10, rel=0.01)


def test_a_plan_that_is_over_is_forgotten_though_its_device_goes_on_telling() -> None:
    monitor = Monitor(0, horizon_s=30)
    take(monitor, report(seq=1), 0)
    over = InstanceTelemetry(key="i", requests=5)
    for seq in range(2, 100):
        found = report(seq=seq, routes=[counts(completed=5)], instances=[over])
        take(monitor, found, float(seq))
    assert (monitor.plans("q"), monitor._instances) == ([], {})


def test_time_without_requests_lowers_the_rate() -> None:
    monitor = after(completed=40)
    take(monitor, report(seq=3, routes=[counts(completed=40)]), 20)
    assert figures(monitor, now=20).goodput_rps == 2


def test_memory_is_bounded_by_the_horizon() -> None:
    monitor = Monitor(0, horizon_s=30)
    take(monitor, report(seq=1), 0)
    for seq in range(2, 2000):
        take(monitor, report(seq=seq, routes=[counts(completed=seq)]), float(seq))
    assert len(monitor._routes["q", "p", "a"]) <= 30


def test_agents_of_one_id_that_take_turns_are_counted_once_each() -> None:
    monitor = Monitor(0)
    done = {"x": 0, "y": 0}
    for seq in range(1, 9):
        for boot, born in (("x", 1), ("y", 2)):
            done[boot] += 10
            now = seq * 10.0
            found = [counts(completed=done[boot])]
            take(monitor, report(seq=seq, boot=boot, uptime_s=now - born, routes=found), now)
    assert figures(monitor, now=80, window_s=100).completed == 160


def test_an_incarnation_that_was_forgotten_is_not_counted_from_zero_again() -> None:
    monitor = Monitor(0)
    done = [counts(completed=10)]
    for turn in range(2):
        for number in range(6):
            now = 10.0 + turn * 10 + number
            told = report(seq=turn, boot=f"b{number}", uptime_s=now - 1, routes=done)
            take(monitor, told, now)
    assert figures(monitor, now=30).completed <= 60


def test_a_device_tells_nothing_of_a_route_that_another_one_leads() -> None:
    monitor = after(completed=5)
    take(monitor, report("b", seq=1), 0)
    take(monitor, report("b", seq=2, routes=[counts(completed=100)]), 10)
    assert figures(monitor).completed == 5


def test_counts_of_routes_and_instances_nobody_asked_for_are_left_out() -> None:
    monitor = Monitor(0)
    take(monitor, report(seq=1), 0, DesiredBody())
    invented = [InstanceTelemetry(key="i", requests=5)]
    take(monitor, report(seq=2, routes=[counts(completed=5)], instances=invented), 1, DesiredBody())
    assert (monitor.plans("q"), monitor._instances) == ([], {})


def test_a_route_that_is_over_may_tell_of_its_last_requests_for_a_moment() -> None:
    monitor = after(completed=5)
    take(monitor, report(seq=3, routes=[counts(completed=6)]), 11, DesiredBody())
    take(monitor, report(seq=4, routes=[counts(completed=99)]), 40, DesiredBody())
    assert figures(monitor, now=40).completed == 6


def test_a_route_that_comes_back_goes_on_from_where_it_stood() -> None:
    monitor = after(completed=5)
    take(monitor, report(seq=3, routes=[counts(completed=6)]), 40, DesiredBody())
    take(monitor, report(seq=4, routes=[counts(completed=8)]), 41)
    assert figures(monitor, now=41).completed == 7


def test_bytes_between_devices_the_route_does_not_touch_are_left_out() -> None:
    monitor = after(network_bytes={"a>b": 1.0, "a>c": 1.0, "nonsense": 1.0})
    ((bucket,),) = monitor._routes.values()
    assert bucket.bytes == {"a>b": 1.0}


def test_failures_beyond_a_few_causes_are_added_up() -> None:
    found = figures(after(failed={f"cause {i:03}": 1 for i in range(500)}))
    assert (len(found.failed), found.failed["other"], found.finished) == (33, 468, 500)


def test_a_device_has_few_causes_of_drops_however_many_it_invents() -> None:
    monitor = Monitor(0)
    seen: set[str] = set()
    for seq in range(50):
        made = {f"{seq} {i:03}" + "x" * 1000: 1 for i in range(50)}
        take(monitor, msgspec.structs.replace(report(seq=seq), dropped=made), float(seq))
        last = monitor.last("a")
        assert last is not None
        assert sum(last.dropped.values()) == 50
        seen |= set(last.dropped)
    assert len(seen) == 33
    assert max(map(len, seen)) <= 80
