"""Measured links correct the fleet file's."""

from __future__ import annotations

from circinus.fleet import Device, Link
from circinus.messages import Capabilities, Peer
from circinus_coordinator.fleet import MeasuredLink, dialler, link_rows, probe_pairs

TIERS = {"device": 0, "cloud": 1}
PI = Device(id="pi", device_class="c", tier="device")
PI2 = Device(id="pi2", device_class="c", tier="device")
DC = Device(id="dc", device_class="c", tier="cloud")
ASSUMED = Link(between=("device", "cloud"), rtt_ms=40, bandwidth_mbps=20, price_usd_gb=0.05)


def measured(rtt_ms: float | None = 5, bandwidth_mbps: float | None = 9) -> MeasuredLink:
    return MeasuredLink(between=("pi", "dc"), rtt_ms=rtt_ms, bandwidth_mbps=bandwidth_mbps)


def caps(device: str, tier: str, endpoint: str | None) -> Capabilities:
    return Capabilities(
        device=device, boot_id="b", device_class="c", tier=tier, cores=1, memory_mb=1,
        architecture="", os="", python="", endpoint=endpoint,
    )  # fmt: skip


def test_a_measured_pair_keeps_the_price_of_the_row_it_corrects() -> None:
    rows = link_rows([ASSUMED], [measured()], [PI, DC], TIERS)
    assert rows == (
        ASSUMED,
        Link(between=("dc", "pi"), rtt_ms=5, bandwidth_mbps=9, price_usd_gb=0.05),
    )


def test_what_was_not_measured_stays_assumed() -> None:
    rows = link_rows([ASSUMED], [measured(bandwidth_mbps=None)], [PI, DC], TIERS)
    assert (rows[1].rtt_ms, rows[1].bandwidth_mbps) == (5, 20)


def test_a_pair_without_a_row_stays_unconnected() -> None:
    assert link_rows([], [measured()], [PI, DC], TIERS) == ()


def test_a_row_about_the_pair_itself_is_replaced() -> None:
    exact = Link(between=("pi", "dc"), rtt_ms=1, bandwidth_mbps=1)
    (row,) = link_rows([exact], [measured()], [PI, DC], TIERS)
    assert row.rtt_ms == 5


def test_rows_about_devices_that_are_not_there_are_left_out() -> None:
    assert link_rows([Link(between=("pi", "x"), rtt_ms=1, bandwidth_mbps=1)], [], [PI], TIERS) == ()


def test_only_connected_pairs_are_measured() -> None:
    assert probe_pairs([PI, PI2, DC], [ASSUMED]) == [("dc", "pi"), ("dc", "pi2")]


def test_the_inner_device_dials_the_outer_one() -> None:
    known = {"pi": caps("pi", "device", "ws://pi"), "dc": caps("dc", "cloud", "ws://dc")}
    assert dialler("dc", "pi", known, TIERS) == ("pi", Peer(device="dc", url="ws://dc"))


def test_in_one_tier_the_smaller_id_dials() -> None:
    known = {n: caps(n, "device", f"ws://{n}") for n in ("pi", "pi2")}
    assert dialler("pi2", "pi", known, TIERS) == ("pi", Peer(device="pi2", url="ws://pi2"))


def test_the_outer_device_dials_where_only_the_inner_can_be_reached() -> None:
    known = {"pi": caps("pi", "device", "ws://pi"), "dc": caps("dc", "cloud", None)}
    assert dialler("dc", "pi", known, TIERS) == ("dc", Peer(device="pi", url="ws://pi"))


def test_two_that_cannot_be_reached_do_not_connect() -> None:
    known = {"pi": caps("pi", "device", None), "dc": caps("dc", "cloud", None)}
    assert dialler("dc", "pi", known, TIERS) is None
