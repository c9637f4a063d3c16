"""The simulator against queueing theory: within 2 %, with endless queues and no deadlines.

Formulas: Kleinrock, Queueing Systems vol. 1 (1975): M/M/1 ch. 3.2, M/M/c ch. 3.5 (Erlang C), M/G/1
(Pollaczek-Khinchin) ch. 5.6; tandem: Burke's theorem, ch. 4.
"""

import math

import pytest
from queues import beside, exponential, queue

from circinus_coordinator.simulation import Report, simulate

TEN = exponential(10.0)
CLOSE = 0.02
REQUESTS = 500_000


def played(case: tuple, rate_rps: float, seed: int = 1) -> Report:
    return simulate(*case, seconds=REQUESTS / rate_rps, seed=seed, warmup_s=50, shedding=False)


def mean_ms(report: Report) -> float:
    mean = report.queries["q"].latency.mean
    assert mean is not None
    return mean


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_mm1_mean_wait_sojourn_and_p95(load: float) -> None:
    report = played(queue(100 * load, TEN), 100 * load)
    assert report.instances[0].mean_wait_ms == pytest.approx(10 * load / (1 - load), rel=CLOSE)
    assert mean_ms(report) == pytest.approx(10 / (1 - load), rel=CLOSE)
    p95 = report.queries["q"].latency.percentile(95)
    assert p95 == pytest.approx(10 / (1 - load) * math.log(20), rel=CLOSE)
    assert report.instances[0].utilisation == pytest.approx(load, rel=CLOSE)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_md1_mean_wait(load: float) -> None:
    report = played(queue(100 * load, 10.0), 100 * load)
    wait = 10 * load / (2 * (1 - load))
    assert report.instances[0].mean_wait_ms == pytest.approx(wait, rel=CLOSE)


@pytest.mark.parametrize(("servers", "load"), [(2, 0.5), (4, 0.7)])
def test_mmc_mean_wait(servers: int, load: float) -> None:
    rate = 100 * load * servers
    report = played(queue(rate, TEN, servers=servers), rate)
    assert report.instances[0].mean_wait_ms == pytest.approx(_erlang_wait(servers, load), rel=CLOSE)


def test_cores_are_servers_too() -> None:
    """Many replicas on two cores wait as M/M/2 does: the batch holds a core token."""
    report = played(queue(120, TEN, servers=9, cores=2), 120)
    assert report.instances[0].mean_wait_ms == pytest.approx(_erlang_wait(2, 0.6), rel=CLOSE)
    assert report.devices["d"]["cores"] == pytest.approx(0.6, rel=CLOSE)


def test_parts_of_an_accelerator_are_servers_too() -> None:
    """Many replicas on halves of an accelerator wait as M/M/2 does."""
    report = played(beside(1, 120, part=0.5, replicas=9), 120)
    (see,) = (i for i in report.instances if i.operator == "see")
    assert see.mean_wait_ms == pytest.approx(_erlang_wait(2, 0.6), rel=CLOSE)
    assert report.devices["d"]["gpu"] == pytest.approx(0.6, rel=CLOSE)


def test_mm1_on_cores_does_not_notice_a_saturated_accelerator() -> None:
    case = beside(60, 110, part=1.0)
    report = simulate(
        *case, seconds=REQUESTS / 60, seed=1, warmup_s=50, shedding=False, drain=False
    )
    assert mean_ms(report) == pytest.approx(10 / (1 - 0.6), rel=CLOSE)
    assert report.devices["d"]["gpu"] == pytest.approx(1.0, rel=CLOSE)


def test_tandem_queues_do_not_know_one_another() -> None:
    report = played(queue(40, TEN, exponential(15.0)), 40)
    assert mean_ms(report) == pytest.approx(10 / (1 - 0.4) + 15 / (1 - 0.6), rel=CLOSE)
    waits = [i.mean_wait_ms for i in report.instances]
    assert waits == [
        pytest.approx(10 * 0.4 / 0.6, rel=CLOSE),
        pytest.approx(15 * 0.6 / 0.4, rel=CLOSE),
    ]


def _erlang_wait(servers: int, load: float) -> float:
    """Mean wait of M/M/c with 10 ms of service, by Erlang C."""
    a = servers * load
    top = a**servers / math.factorial(servers) / (1 - load)
    waits = top / (sum(a**k / math.factorial(k) for k in range(servers)) + top)
    return waits * 10 / servers / (1 - load)
