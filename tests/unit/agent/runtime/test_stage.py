from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from fakes import FakeInstance, FakeLoop

from circinus.histogram import Histogram
from circinus.messages import InstanceSpec
from circinus_agent.runtime.batching import ServiceEstimate, linger_s
from circinus_agent.runtime.outcome import Failure
from circinus_agent.runtime.results import BatchResult, ItemResult
from circinus_agent.runtime.stage import Completed, Stage, Work
from circinus_agent.runtime.tokens import Lines


@dataclass
class Bench:
    batch: int = 1
    replicas: int = 1
    cores: int = 4
    threads: int = 1
    limit: int = 8
    loop: FakeLoop = field(default_factory=FakeLoop)
    ends: dict[bytes, Completed | Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.instance = FakeInstance(self.replicas)
        self.lines = Lines(self.cores)
        spec = InstanceSpec(
            key="op", run="op", batch=self.batch, replicas=self.replicas, threads=self.threads
        )
        self.stage = Stage(spec, self.instance, self.lines, self.loop, limit=self.limit)

    def submit(self, name: bytes, deadline_s: float = 60.0) -> None:
        def done(end: Completed | Failure) -> None:
            assert name not in self.ends, "answered twice"
            self.ends[name] = end

        self.stage.submit(Work(name, self.loop.now + deadline_s, done))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_idle_replica_starts_at_once(bench: Bench) -> None:
    bench.submit(b"a")
    assert [b for b, _ in bench.instance.batches] == [[b"a"]]


def test_a_batch_takes_what_waits_up_to_its_size() -> None:
    bench = Bench(batch=3)
    for name in (b"a", b"b", b"c", b"d", b"e"):
        bench.submit(name)
    assert bench.instance.finish() == [b"a"]
    assert bench.instance.finish() == [b"b", b"c", b"d"]
    bench.loop.advance(0.01)
    assert bench.instance.finish() == [b"e"]


def test_the_most_urgent_goes_first(bench: Bench) -> None:
    bench.submit(b"first")
    bench.submit(b"relaxed", 10.0)
    bench.submit(b"urgent", 1.0)
    bench.instance.finish()
    assert bench.instance.finish() == [b"urgent"]


def test_equally_urgent_requests_keep_their_order(bench: Bench) -> None:
    for name in (b"a", b"b", b"c"):
        bench.submit(name)
    assert [bench.instance.finish() for _ in range(3)] == [[b"a"], [b"b"], [b"c"]]


def test_wait_and_service_are_told_apart(bench: Bench) -> None:
    bench.submit(b"a")
    bench.submit(b"b")
    bench.loop.advance(0.05)
    bench.instance.finish(service_ms=50.0)
    bench.instance.finish(service_ms=7.0)
    end = bench.ends[b"b"]
    assert isinstance(end, Completed)
    assert end.wait_ms == pytest.approx(50.0)
    assert end.service_ms == 7.0


def test_shed_and_refused_requests_are_not_among_those_served(bench: Bench) -> None:
    bench.submit(b"a")
    bench.instance.finish(service_ms=100.0)
    bench.submit(b"hopeless", 0.0)
    bench.stage.stop(Failure("stopped"))
    bench.submit(b"refused")
    counters = bench.stage.counters
    assert (counters.requests, counters.batches, counters.shed, counters.failed) == (1, 1, 1, 1)


def test_measured_compute_is_summed_over_all_batches(bench: Bench) -> None:
    for name in (b"a", b"b"):
        bench.submit(name)
        bench.instance.finish(compute_s=0.25)
    assert bench.stage.counters.telemetry("op", 0, 0).compute_s == 0.5


def test_only_full_batches_that_went_well_are_like_a_profiles() -> None:
    bench = Bench(batch=2)
    for name in (b"a", b"b", b"c", b"d", b"e"):
        bench.submit(name)
    bench.instance.finish(service_ms=7.0)  # one alone
    bench.instance.finish(service_ms=10.0)
    _, done = bench.instance.batches.pop(0)
    done(BatchResult([ItemResult(None, Failure("raised")), ItemResult(b"e")], 3.0, 0.0))
    assert bench.stage.counters.batches == 3
    full = Histogram()
    full.add(10.0)
    assert bench.stage.counters.telemetry("op", 0, 0).full == full.counts


def test_a_request_that_cannot_make_it_is_shed(bench: Bench) -> None:
    bench.submit(b"a")
    bench.instance.finish(service_ms=100.0)
    bench.submit(b"b")
    bench.submit(b"late", 0.15)
    bench.loop.advance(0.1)
    assert bench.ends[b"late"] == Failure("shed", "99 ms left before op")
    assert bench.stage.counters.shed == 1


def test_a_request_behind_a_long_batch_is_shed_when_its_time_is_up(bench: Bench) -> None:
    bench.submit(b"long")
    bench.submit(b"late", 0.2)
    bench.loop.advance(0.3)
    assert isinstance(bench.ends[b"late"], Failure)
    assert b"long" not in bench.ends


def test_one_slow_batch_does_not_shed_everybody_for_ever(bench: Bench) -> None:
    bench.submit(b"slow")
    bench.instance.finish(service_ms=1000.0)
    for i in range(100):
        bench.submit(b"%d" % i, 0.1)
        if bench.instance.batches:
            break
    assert bench.instance.batches


def test_a_full_queue_sheds_the_newcomer() -> None:
    bench = Bench(limit=2)
    for name in (b"running", b"a", b"b", b"c"):
        bench.submit(name)
    assert bench.ends == {b"c": Failure("shed", "2 requests wait for op")}


def test_a_dead_instance_fails_what_runs_and_what_waits(bench: Bench) -> None:
    bench.submit(b"a")
    bench.submit(b"b")
    bench.instance.die(Failure("killed", "SIGKILL"))
    bench.submit(b"c")
    assert {e.kind for e in bench.ends.values() if isinstance(e, Failure)} == {"killed"}
    assert len(bench.ends) == 3
    assert bench.lines.free == {"cores": 4}


def test_a_batch_holds_as_many_cores_as_it_has_threads() -> None:
    bench = Bench(replicas=3, cores=2)
    for name in (b"a", b"b", b"c"):
        bench.submit(name)
    assert len(bench.instance.batches) == 2
    bench.instance.finish()
    assert [b for b, _ in bench.instance.batches] == [[b"b"], [b"c"]]


def test_stages_share_the_cores_of_a_device() -> None:
    one, two = Bench(cores=1), Bench()
    two.lines = one.lines
    two.stage = Stage(two.stage.spec, two.instance, one.lines, two.loop)
    one.submit(b"a")
    two.submit(b"b")
    assert not two.instance.batches
    one.instance.finish()
    assert two.instance.batches


def test_a_stopped_stage_answers_what_waits_and_what_comes(bench: Bench) -> None:
    bench.submit(b"a")
    bench.submit(b"b")
    bench.stage.stop(Failure("stopped"))
    bench.submit(b"c")
    assert bench.ends == {b"b": Failure("stopped"), b"c": Failure("stopped")}


def test_a_batch_waits_a_little_where_another_request_is_about_to_come() -> None:
    bench = Bench(batch=4)
    for name in (b"a", b"b", b"c"):
        bench.submit(name)
        bench.loop.advance(0.001)
    bench.instance.finish(service_ms=100.0)
    bench.loop.advance(0.01)  # b and c have waited a little for others
    bench.instance.finish(service_ms=100.0)
    bench.submit(b"d")
    assert not bench.instance.batches
    bench.loop.advance(0.001)
    bench.submit(b"e")
    bench.loop.advance(0.005)
    assert [b for b, _ in bench.instance.batches] == [[b"d", b"e"]]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"waiting": 4}, "the batch is full"),
        ({"gap_s": 1.0}, "nobody is about to come"),
        ({"slack_s": 0.0}, "the deadline is near"),
        ({"service_s": 0.0}, "nothing is known yet"),
    ],
)
def test_no_lingering_where_it_gains_nothing(change: dict[str, float], why: str) -> None:
    usual = {"waiting": 2, "batch": 4, "gap_s": 0.001, "service_s": 0.1, "slack_s": 1.0}
    assert linger_s(**usual) > 0  # type: ignore[arg-type]
    assert linger_s(**{**usual, **change}) == 0.0, why  # type: ignore[arg-type]


def test_the_estimate_is_the_fastest_of_the_last_batches() -> None:
    estimate = ServiceEstimate()
    for seconds in (3.0, 1.0, *[2.0] * 8):
        estimate.observe(seconds)
    assert estimate.seconds == 2.0
