"""Who is there: boot ids and sessions decide, not the order of arrival."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from circinus.messages import Capabilities, OperatorInfo, Status, Telemetry
from circinus_coordinator.fleet import DeviceState, Registry


def born(boot: str = "a", session: int = 1) -> Status:
    return Status(device="d", boot_id=boot, session=session, online=True)


def will(boot: str = "a", session: int = 1) -> Status:
    return Status(device="d", boot_id=boot, session=session, online=False)


def beat(boot: str = "a") -> Telemetry:
    return Telemetry(device="d", boot_id=boot, seq=1, uptime_s=1)


def capabilities(**changes: object) -> Capabilities:
    values: dict[str, object] = {
        "device": "d", "boot_id": "a", "device_class": "pi", "tier": "device", "cores": 4,
        "memory_mb": 1, "architecture": "", "os": "", "python": "",
    }  # fmt: skip
    return Capabilities(**{**values, **changes})  # type: ignore[arg-type]


def registry(*messages: Status, now: float = 0) -> Registry:
    made = Registry(10)
    for message in messages:
        made.status(message, now)
    return made


def test_a_birth_brings_a_device_online() -> None:
    (change,) = Registry(10).status(born(), 0)
    assert (change.device, change.online, change.session) == ("d", True, True)


def test_a_will_of_the_present_session_takes_it_offline() -> None:
    assert not registry(born(), will()).is_online("d")


def test_a_will_of_an_older_session_is_ignored() -> None:
    assert registry(born(session=2), will(session=1)).is_online("d")


def test_a_will_of_an_older_incarnation_is_ignored() -> None:
    assert registry(born("a", 5), born("b", 1), will("a", 5)).is_online("d")


def boot(made: Registry) -> tuple[str, int]:
    state = made.get("d")
    assert state is not None
    return state.boot_id, state.session


def test_a_birth_that_an_older_incarnation_had_before_is_ignored() -> None:
    assert boot(registry(born("a", 5), born("b", 1), born("a", 5))) == ("b", 1)


def test_a_new_birth_of_a_replaced_incarnation_brings_it_back() -> None:
    """It was never gone: two agents of one id push each other off the broker."""
    made = registry(born("a", 5), born("b", 1))
    (change, _) = made.status(born("a", 6), 1)
    assert (change.session, boot(made)) == (True, ("a", 6))


def test_the_agent_that_is_left_of_two_is_online_again() -> None:
    made = registry(born("a", 5), born("b", 1), will("b", 1), born("a", 6))
    made.telemetry(beat("a"), 9)
    made.tick(18)
    assert made.is_online("d")


def test_two_agents_of_one_id_are_told_once() -> None:
    made = registry(born("a", 5), born("b", 1))
    told = [
        change.cause
        for session in (6, 7, 8)
        for name in ("a", "b")
        for change in made.status(born(name, session), session)
        if change.contested
    ]
    assert told == ["another agent uses the id 'd': start one of them with another --device"]


def test_two_agents_that_share_a_broker_are_told_by_their_telemetry() -> None:
    made = registry(born("a"), born("b"))
    assert made.telemetry(beat("a"), 9.9) == []  # may have been on its way
    made.telemetry(beat("b"), 9.9)
    assert [change.contested for change in made.telemetry(beat("a"), 10)] == [True]


def test_a_dispute_is_over_once_nothing_shows_it() -> None:
    made = registry(born("a", 5), born("b", 1), born("a", 6))
    state = made.get("d")
    assert state is not None
    assert (bool(state.warning(59)), state.warning(60)) == (True, None)


def test_an_ordinary_restart_is_no_dispute() -> None:
    made = registry(born("a", 5), will("a", 5))
    assert not any(change.contested for change in made.status(born("b", 1), 1))


def test_a_replaced_incarnation_that_still_beats_takes_over_from_one_that_left() -> None:
    made = registry(born("a", 5), born("b", 1), will("b", 1))
    (change,) = made.telemetry(beat("a"), 1)
    assert (change.online, change.session, boot(made)) == (True, True, ("a", 5))


def test_a_replaced_incarnation_that_said_good_bye_stays_away() -> None:
    made = registry(born("a", 5), born("b", 1), will("a", 5), will("b", 1))
    assert made.telemetry(beat("a"), 1) == []
    assert not made.is_online("d")


def test_a_will_of_an_incarnation_never_seen_is_left_to_the_silence() -> None:
    made = registry(born("a"), will("x", 9))
    assert made.is_online("d")
    made.tick(10)
    assert not made.is_online("d")


def test_a_birth_of_the_next_session_is_told_as_a_new_session() -> None:
    (change,) = registry(born(session=1)).status(born(session=2), 0)
    assert (change.online, change.session) == (None, True)


def test_a_repeated_birth_is_no_change() -> None:
    assert registry(born()).status(born(), 1) == []


def test_silence_counts_as_loss() -> None:
    made = registry(born())
    assert made.tick(9.9) == []
    assert [c.online for c in made.tick(10)] == [False]


def test_telemetry_keeps_a_device_alive() -> None:
    made = registry(born())
    made.telemetry(beat(), 9)
    assert made.tick(18.9) == []


def test_a_silent_device_that_is_heard_again_is_online() -> None:
    made = registry(born())
    made.tick(10)
    assert [c.online for c in made.telemetry(beat(), 11)] == [True]


def test_telemetry_does_not_undo_a_will() -> None:
    made = registry(born(), will())
    assert made.telemetry(beat(), 1) == []
    assert not made.is_online("d")


def test_telemetry_of_another_incarnation_is_no_sign_of_life() -> None:
    made = registry(born("b"))
    made.telemetry(beat("a"), 9)
    assert [c.online for c in made.tick(10)] == [False]


def test_nobody_is_lost_while_the_coordinator_is_cut_off() -> None:
    made = registry(born())
    made.link(up=False, now=1)
    assert made.tick(100) == []
    made.link(up=True, now=100)
    assert made.tick(109) == []
    assert len(made.tick(110)) == 1


def test_a_link_that_stays_up_does_not_hide_silence() -> None:
    made = registry(born())
    made.link(up=True, now=9)
    assert len(made.tick(10)) == 1


def test_capabilities_that_differ_in_temperature_are_no_change() -> None:
    made = registry(born())
    made.capabilities(capabilities(temperature_c=40.0), 0)
    assert made.capabilities(capabilities(temperature_c=60.0), 0) == []


def test_a_new_operator_version_is_a_change() -> None:
    made = registry(born())
    made.capabilities(capabilities(), 0)
    operators = [OperatorInfo(name="o", version="2")]
    assert len(made.capabilities(capabilities(operators=operators), 0)) == 1


def test_a_lost_device_is_present_until_its_grace_is_over() -> None:
    made = registry(born())
    made.status(will(), 5)
    assert [s.id for s in made.present(14.9, 10)] == ["d"]
    assert made.present(15, 10) == []


def test_a_restored_device_is_offline_until_heard_of() -> None:
    made = Registry(10)
    made.restore([DeviceState(id="d", boot_id="a", session=3, online=True)], 0)
    assert not made.is_online("d")
    made.status(born(session=3), 1)
    assert made.is_online("d")


events = st.lists(
    st.builds(
        Status, device=st.just("d"), boot_id=st.sampled_from("ab"), session=st.integers(1, 3),
        online=st.booleans(),
    )
)  # fmt: skip


@given(events)
def test_a_boot_that_comes_back_has_a_session_it_never_had(messages: list[Status]) -> None:
    made = Registry(10)
    seen: list[tuple[str, int]] = []
    for message in messages:
        made.status(message, 0)
        seen.append(boot(made))
    runs = [place for place, _ in itertools.groupby(seen)]
    assert len(runs) == len(set(runs))


restarted = [born("a", 1), will("a", 1), born("a", 2), will("a", 2)]


@given(st.permutations(restarted))
def test_whatever_an_old_incarnation_left_behind_the_new_one_is_found(late: list[Status]) -> None:
    """All that overtook the new one's birth, and then its sign of life."""
    made = registry(born("b", 1), *late)
    made.tick(10)
    made.telemetry(beat("b"), 10)
    assert made.is_online("d")
    assert boot(made) == ("b", 1)


@given(st.permutations([born("a", 1), will("a", 1), born("a", 2), will("a", 2), born("a", 3)]))
def test_the_last_session_wins_in_any_order(messages: list[Status]) -> None:
    assert registry(*messages).is_online("d")
