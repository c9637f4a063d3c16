from __future__ import annotations

import random

import pytest

from circinus_agent.runtime.tokens import Lines


class Taker:
    """Takes `wants` times, when its turn comes, and says what it holds."""

    def __init__(self, lines: Lines, cores: int = 1, wants: int = 1, **accelerators: float) -> None:
        self.claim = lines.claim(cores, accelerators, self.go)
        self.wants, self.held = wants, 0

    def go(self) -> None:
        while self.wants and self.claim.take():
            self.wants -= 1
            self.held += 1

    def back(self) -> None:
        self.held -= 1
        self.claim.give()


def go(*takers: Taker) -> None:
    for taker in takers:
        taker.go()


@pytest.mark.parametrize(("cores", "whole"), [(0.5, 1), (1.0, 1), (3.9, 3)])
def test_cores_are_handed_out_whole_and_at_least_one(cores: float, whole: int) -> None:
    assert Lines(cores).free == {"cores": whole}


def test_who_wants_more_than_there_is_takes_all_of_it() -> None:
    lines = Lines(2, {"gpu": 1.0})
    taker = Taker(lines, 8, gpu=3.0)
    taker.go()
    assert lines.free == {"cores": 0, "gpu": 0}
    taker.back()
    assert lines.free == {"cores": 2, "gpu": 1}


def test_an_accelerator_the_device_does_not_know_is_not_waited_for() -> None:
    taker = Taker(Lines(1), npu=1.0)
    taker.go()
    assert taker.held == 1


def test_who_waits_is_served_in_the_order_of_coming() -> None:
    lines = Lines(1)
    takers = [Taker(lines) for _ in range(3)]
    go(*takers)
    for i in range(2):
        takers[i].back()
        assert [t.held for t in takers] == [int(k == i + 1) for k in range(3)]


def test_nobody_takes_twice_in_one_turn() -> None:
    lines = Lines(2)
    wide, greedy, other = Taker(lines, 2), Taker(lines, wants=2), Taker(lines)
    go(wide, greedy, other)
    wide.back()
    assert (greedy.held, other.held) == (1, 1)


@pytest.mark.parametrize("narrow", [{"cores": 1}, {"cores": 0, "gpu": 0.2}])
def test_small_ones_do_not_overtake_a_large_one_for_ever(narrow: dict[str, float]) -> None:
    lines = Lines(2, {"gpu": 1.0})
    first, small = (Taker(lines, **narrow) for _ in range(2))  # type: ignore[arg-type]
    large = Taker(lines, 2, gpu=0.9)
    go(first, large, small)
    assert (large.held, small.held) == (0, 0)
    first.back()
    assert (large.held, small.held) == (1, 0)


def test_who_waits_for_an_accelerator_keeps_no_cores_from_others() -> None:
    lines = Lines(2, {"gpu": 1.0})
    running, waiting = Taker(lines, gpu=0.8), Taker(lines, gpu=0.8)
    plain = Taker(lines)
    go(running, waiting, plain)
    assert (waiting.held, plain.held) == (0, 1)


def test_who_waits_for_cores_keeps_what_he_has_of_an_accelerator() -> None:
    lines = Lines(1, {"gpu": 1.0})
    plain, first, second = Taker(lines), Taker(lines, gpu=0.7), Taker(lines, 0, gpu=0.7)
    go(plain, first, second)
    assert (first.held, second.held) == (0, 0)
    assert lines.free["gpu"] == pytest.approx(0.3)
    plain.back()
    assert (first.held, second.held) == (1, 0)
    first.back()
    assert (first.held, second.held) == (0, 1)


def test_who_no_longer_wants_is_passed_over_and_gives_back_what_he_got() -> None:
    lines = Lines(1, {"gpu": 1.0})
    plain, gone, next_one, last = (
        Taker(lines), Taker(lines, gpu=1.0), Taker(lines, 0, gpu=1.0), Taker(lines),
    )  # fmt: skip
    go(plain, gone, next_one, last)
    gone.wants = 0
    plain.back()
    assert (gone.held, next_one.held, last.held) == (0, 1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_all_are_served_and_nothing_is_held_too_often(seed: int) -> None:
    """No deadlock, and in the end everything is free, whoever wants what and changes his mind."""
    rng = random.Random(seed)
    lines = Lines(4, {"gpu": 1.0, "npu": 2.0})
    takers = []
    for _ in range(30):
        parts = {n: rng.choice([0.0, rng.random(), 2.5]) for n in ("gpu", "npu")}
        takers.append(Taker(lines, rng.randrange(6), rng.randint(1, 4), **parts))
    wanted = sum(t.wants for t in takers)
    served = dropped = 0
    rng.shuffle(takers)
    go(*takers)
    for _ in range(wanted):
        assert min(lines.free.values()) > -1e-6
        if rng.random() < 0.1 and (unsure := [t for t in takers if t.wants]):
            rng.choice(unsure).wants -= 1
            dropped += 1
        running = [t for t in takers if t.held]
        if not running:
            break
        rng.choice(running).back()
        served += 1
    assert served + dropped == wanted
    assert lines.free == pytest.approx({"cores": 4, "gpu": 1, "npu": 2})
