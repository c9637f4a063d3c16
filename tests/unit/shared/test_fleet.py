"""Links and prices."""

from __future__ import annotations

import pytest

from circinus.errors import InvalidInput
from circinus.fleet import LOCAL, Device, DeviceClass, Link, Network


def link(a: str, b: str, rtt_ms: float) -> Link:
    return Link(between=(a, b), rtt_ms=rtt_ms, bandwidth_mbps=8, price_usd_gb=2.0)


DEVICES = [
    Device(id="pi-1", device_class="c", tier="device"),
    Device(id="pi-2", device_class="c", tier="device"),
    Device(id="dc-1", device_class="c", tier="cloud"),
]


def test_the_more_specific_row_wins_whatever_the_order() -> None:
    rows = [link("device", "cloud", 1), link("pi-1", "cloud", 2), link("dc-1", "pi-1", 3)]
    for ordered in (rows, rows[::-1]):
        network = Network(DEVICES, ordered)
        exact, general = network.between("pi-1", "dc-1"), network.between("dc-1", "pi-2")
        assert exact is not None
        assert exact.rtt_ms == 3
        assert general is not None
        assert general.rtt_ms == 1


def test_without_a_row_two_devices_are_not_connected() -> None:
    assert Network(DEVICES, [link("device", "cloud", 1)]).between("pi-1", "pi-2") is None


def test_staying_is_free_and_instant() -> None:
    local = Network(DEVICES, []).between("pi-1", "pi-1")
    assert local is LOCAL
    assert local.transfer_ms(1e9) < 1e-2
    assert local.cost_usd(1e9) == 0


def test_a_hop_takes_half_the_round_trip_and_the_bytes_times_eight_over_the_bandwidth() -> None:
    # 8 Mbit/s carry 1,000 bytes per millisecond.
    assert link("a", "b", 40).transfer_ms(150_000) == pytest.approx(20 + 150)
    assert link("a", "b", 40).cost_usd(5e8) == pytest.approx(1.0)


def test_usage_is_billed_by_the_dominant_share() -> None:
    gpu_box = DeviceClass(
        name="g", cores=4, memory_mb=1, price_usd_hour=3600, accelerators={"gpu": 2}
    )
    assert gpu_box.usage_cost_usd({"cores": 1.0, "gpu": 1.0}) == pytest.approx(0.5)


def test_a_zero_bandwidth_link_carries_nothing() -> None:
    dead = Link(between=("a", "b"), rtt_ms=2, bandwidth_mbps=0)
    assert dead.transfer_ms(1) == float("inf")
    assert dead.transfer_ms(0) == 1


def test_cores_are_no_accelerator() -> None:
    with pytest.raises(InvalidInput, match="cores"):
        DeviceClass(name="g", cores=4, memory_mb=1, accelerators={"cores": 2})
