"""All plans of a query, as numbers: where operators may run, with which config, how data moves."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circinus.fleet import Device, DeviceClass, Link, Network
from circinus.pipeline import Deliver, OperatorSpec, Pipeline
from circinus_coordinator.profiling import AccuracyKey, OperatorKey, Terrain
from circinus_coordinator.profiling.ground import Ground
from circinus_coordinator.profiling.menu import Card, card

sys.path.insert(0, str(Path(__file__).parent))
from probing import PIPELINE, query, wanted

CLASSES = {
    "pi": DeviceClass(name="pi", cores=4, memory_mb=1, price_usd_hour=0.36),
    "dc": DeviceClass(name="dc", cores=8, memory_mb=1, price_usd_hour=3.6),
}
ROW = Link(between=("device", "cloud"), rtt_ms=40, bandwidth_mbps=8, price_usd_gb=1.0)


def terrain(devices: str, links: tuple[Link, ...] = (ROW,)) -> Terrain:
    there = [
        Device(id=n, device_class=n[:2], tier="cloud" if n.startswith("dc") else "device")
        for n in devices.split()
    ]
    return Terrain(
        devices={device.id: device for device in there},
        tiers={"device": 0, "cloud": 1},
        classes=CLASSES,
        assumed=Network(there, links).between,
    )


def ground(devices: str = "pi1 dc", pipeline: Pipeline = PIPELINE, **changes: object) -> Ground:
    land = terrain(devices, **changes)  # type: ignore[arg-type]
    pairs = [(name, device) for name in pipeline.operators for device in devices.split()]
    return land.ground(query(), pipeline, pairs, land.assumed)


def made(
    place: Ground, devices: str = "pi1 dc", pipeline: Pipeline = PIPELINE, most: int = 1000
) -> Card:
    found = wanted(pipeline=pipeline, devices=devices, queries=[query(accuracy=0.5)])
    operators = [key for key in found.keys if isinstance(key, OperatorKey)]
    vectors = [key for key in found.keys if isinstance(key, AccuracyKey)]
    plans = card(pipeline, place, operators, vectors, most)
    assert plans is not None
    return plans


def test_a_plan_is_a_placement_outwards_with_a_config_of_each_operator() -> None:
    plans = made(ground())
    # Both on the Pi, both in the cloud, or the first on the Pi: three placements, four configs.
    assert len(plans.parts) == 12
    where = {tuple(plans.keys[p].device_class for p in row) for row in plans.parts.tolist()}
    assert where == {("pi", "pi"), ("pi", "dc"), ("dc", "dc")}


def test_alike_devices_are_one_site_and_a_peer_of_the_source_is_none() -> None:
    assert ground("pi1 dc dc2") == ground()
    assert ground("pi1 pi2 dc") == ground()


def test_links_that_differ_by_noise_make_the_same_ground() -> None:
    noisy = (replace(ROW, rtt_ms=40.3, bandwidth_mbps=7.98),)
    assert ground(links=noisy) == ground()
    assert ground(links=(replace(ROW, rtt_ms=44),)) != ground()


def test_without_a_link_everything_stays_at_the_source() -> None:
    plans = made(ground(links=()))
    assert {plans.keys[p].device_class for p in plans.parts.flatten().tolist()} == {"pi"}


def test_vectors_that_differ_in_neutral_knobs_are_one() -> None:
    plans = made(ground())
    assert len(plans.configs) == len([key for key in plans.vectors if key]) == 2
    assert np.bincount(plans.vector).tolist() == [6, 6]


def test_data_takes_its_time_and_price_on_the_way() -> None:
    plans = made(ground())
    sizes = [np.array([1000.0]), np.zeros(4)]
    menu = plans.menu(sizes)
    split = [k for k, row in enumerate(plans.parts.tolist()) if _classes(plans, row) == "pi dc"]
    # 40 / 2 ms and 1000 bytes at 8 Mbit/s; a dollar per GB.
    assert menu.extra_ms[split].tolist() == [[21.0]] * 4
    assert menu.extra_usd[split] == pytest.approx([1e-6] * 4)
    here = [k for k, row in enumerate(plans.parts.tolist()) if _classes(plans, row) == "pi pi"]
    assert menu.extra_ms[here].tolist() == [[0.0]] * 4


def test_a_result_that_goes_back_to_the_source_is_on_its_way_twice() -> None:
    back = replace(PIPELINE, deliver=Deliver.SOURCE)
    plans = made(ground(pipeline=back), pipeline=back)
    menu = plans.menu([np.zeros(1), np.full(4, 2000.0)])
    away = [k for k, row in enumerate(plans.parts.tolist()) if _classes(plans, row) == "dc dc"]
    assert menu.extra_ms[away, 0] == pytest.approx(20 + 0.001 + 20 + 2)


def test_where_plans_are_too_many_those_on_few_sites_are_left() -> None:
    chain = Pipeline(
        name="p",
        operators={
            name: OperatorSpec(name=name, run=f"m:{name}", needs=(before,) if before else ())
            for before, name in zip((None, *"abc"), "abcd", strict=True)
        },
        input_bytes={"a": 1},
        accuracy=PIPELINE.accuracy,
    )
    devices = "pi1 dc nu"
    land = terrain(devices)
    links = (ROW, Link(between=("device", "device"), rtt_ms=1, bandwidth_mbps=8))
    place = ground(devices, chain, links=links)
    assert land.devices.keys() == {"pi1", "dc", "nu"}
    whole = made(place, devices, chain)
    few = made(place, devices, chain, most=len(whole.parts) - 1)
    assert few.reduced
    assert not whole.reduced
    assert max(len(set(row)) for row in _sites(whole)) == 3
    assert max(len(set(row)) for row in _sites(few)) == 2


def test_where_even_config_vectors_are_too_many_there_is_no_card() -> None:
    found = wanted(queries=[query(accuracy=0.5)])
    operators = [key for key in found.keys if isinstance(key, OperatorKey)]
    assert card(PIPELINE, ground(), operators, [], most_plans=3) is None


def _classes(plans: Card, row: list[int]) -> str:
    return " ".join(plans.keys[part].device_class for part in row)


def _sites(plans: Card) -> list[list[str]]:
    return [[plans.keys[p].device_class for p in row] for row in plans.parts.tolist()]
