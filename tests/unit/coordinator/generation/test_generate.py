"""The generator: what a scenario of a seed is made of."""

import hashlib
from pathlib import Path

import pytest
import yaml

from circinus.errors import InvalidInput
from circinus.fleet import Billing
from circinus.scenario import Scenario, encode_scenario
from circinus_coordinator.generation import FAMILIES, generate
from circinus_coordinator.generation.fleet import TIERS, build_fleet

DEVICES = Path(__file__).parents[4] / "devices"


def small(**choices: object) -> Scenario:
    return generate(**{"queries": 30, "devices": 12, "seed": 3, **choices})  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert encode_scenario(small()) == encode_scenario(small())


def test_a_seed_gives_the_same_bytes_on_every_machine() -> None:
    """Whoever changes a figure changes every published number with it, and this digest."""
    data = encode_scenario(small(families=("fusion",)))
    assert hashlib.sha256(data).hexdigest() == DIGEST


def test_another_seed_gives_other_sites_figures_and_queries() -> None:
    one, other = small(seed=1), small(seed=2)
    assert one.devices != other.devices
    assert one.profiles != other.profiles
    assert one.accuracy != other.accuracy
    assert [q.source for q in one.queries] != [q.source for q in other.queries]


def test_more_queries_leave_fleet_and_profiles_alone() -> None:
    one, other = small(queries=200), small(queries=300)
    assert one.devices == other.devices
    assert one.profiles == other.profiles


@pytest.mark.parametrize(
    ("tiers", "names"),
    [
        (2, ("device", "cloud")),
        (3, ("device", "edge", "cloud")),
        (4, ("device", "edge", "region", "cloud")),
    ],
)
def test_every_tier_has_machines(tiers: int, names: tuple[str, ...]) -> None:
    found = small(tiers=tiers, devices=tiers)
    assert found.tiers == names
    assert sorted(d.tier for d in found.devices) == sorted(names)


def test_many_queries_are_of_few_classes_and_share_their_slos() -> None:
    found = generate(queries=5000, devices=40, seed=1)
    assert len({(q.pipeline, q.slo) for q in found.queries}) <= 144
    assert len({id(q.slo) for q in found.queries}) <= 144
    assert len({id(q.source) for q in found.queries}) < 1000


def test_rates_of_a_pipeline_take_few_values() -> None:
    found = generate(queries=2000, devices=40, seed=1)
    assert len({q.rate_rps for q in found.queries if q.pipeline == "faq"}) == 8


def test_arrivals_spread_the_rates() -> None:
    found = small(queries=400, arrivals=(0.5, 1.5), families=("fusion",))
    rates = sorted({q.rate_rps for q in found.queries if q.pipeline == "wearable"})
    assert rates[1] == pytest.approx(3 * rates[0], rel=1e-3)


def test_bandwidth_sets_mobile_uplinks() -> None:
    found = generate(queries=10, devices=200, seed=1, bandwidth_mbps=(3.5, 7.5))
    assert {d.uplink_mbps for d in found.devices} == {None, 100.0, 50.0, 3.5, 7.5}


def test_larger_contention_means_lower_rates() -> None:
    little, much = small(contention=0.3), small(contention=0.9)
    assert little.queries[0].rate_rps > much.queries[0].rate_rps


def test_tighter_slos_leave_less() -> None:
    loose, tight = small(tightness=0.1), small(tightness=0.9)
    pairs = [
        (a.slo, b.slo)
        for a, b in zip(loose.queries, tight.queries, strict=True)
        if (a.pipeline, a.tenant, a.weight) == (b.pipeline, b.tenant, b.weight)
    ]
    assert len(pairs) > 10
    assert all((b.accuracy or 0) > (a.accuracy or 0) for a, b in pairs)


def test_the_asked_part_of_the_queries_is_splittable() -> None:
    found = generate(queries=2000, devices=20, seed=1, splittable=0.25)
    assert sum(q.splittable for q in found.queries) == pytest.approx(500, abs=60)


def test_machines_are_rented_beyond_the_device_tier_only() -> None:
    found = small(billing=Billing.MACHINE)
    tiers = {d.device_class: d.tier for d in found.devices}
    for name, kind in found.device_classes.items():
        assert (kind.billing is Billing.MACHINE) == (tiers[name] != "device")


def test_only_the_families_asked_for_occur() -> None:
    found = small(families=("speech",))
    assert set(found.pipelines) <= {"notes", "meeting", "command"}


def test_calls_of_language_models_are_priced() -> None:
    found = small(queries=60, families=("retrieval",))
    priced = {row.operator for row in found.profiles if row.price_usd_per_call > 0}
    assert "generate-answer" in priced
    assert not any(row.price_usd_per_call for row in small(families=("vision",)).profiles)


def test_nobody_computes_longer_than_his_threads_could() -> None:
    made = small()
    for row in made.profiles:
        threads = max([1, *(v for k, v in row.config.items() if k == "threads")])
        assert row.compute_s["cores"] <= 1.001 * threads * row.latency_ms.mean / 1e3


def test_a_row_stands_for_what_fits_the_machine() -> None:
    found = small(queries=200)
    for row in found.profiles:
        assert row.memory_mb <= found.device_classes[row.device_class].memory_mb


def test_fusion_joins_two_sources_some_of_them_on_two_devices() -> None:
    found = small(queries=60, families=("fusion",))
    assert all(len(p.sources) == 2 for p in found.pipelines.values())
    assert {len(set(q.source.values())) for q in found.queries} == {1, 2}


def test_ten_thousand_machines_have_few_link_rows() -> None:
    found = build_fleet(10_000, TIERS[3], 1, None)
    assert len(found.devices) == 10_000
    assert len(found.links) <= 2010


def test_every_family_has_variants_of_three_to_six_operators_with_12_to_60_configs() -> None:
    for family in FAMILIES.values():
        assert len(family.pipelines) >= 3
        assert all(3 <= len(p.needs) <= 6 for p in family.pipelines)
        for operator in family.operators:
            count = 1
            for knob in operator.knobs:
                count *= len(knob.levels)
            assert 12 <= count <= 60, operator.name


def test_operator_names_are_unique_over_families_unless_the_same_code() -> None:
    seen: dict[str, object] = {}
    for family in FAMILIES.values():
        for operator in family.operators:
            assert seen.setdefault(operator.name, operator) == operator


@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano",
                                  "intel-nuc", "cloud-vm-large"])  # fmt: skip
def test_machines_agree_with_the_catalogue_of_devices(name: str) -> None:
    found = generate(queries=1, devices=60, seed=1).device_classes[name]
    noted = yaml.safe_load((DEVICES / f"{name}.yaml").read_text())
    price = noted["price"]
    if "usd_hour" not in price:
        hours = price["lifetime_years"] * 8760
        power = price["watts"] / 1000 * price["usd_per_kwh"]
        price = {"usd_hour": price["purchase_usd"] / hours + power}
    assert (found.cores, found.memory_mb) == (noted["cores"], noted["memory_mb"])
    assert found.price_usd_hour == pytest.approx(price["usd_hour"], abs=5e-5)
    assert bool(found.accelerators) == ("accelerators" in noted)


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("queries", {"queries": 0}),
        ("devices", {"devices": 2}),
        ("seed", {"seed": -1}),
        ("tiers", {"tiers": 5}),
        ("families", {"families": ("vision", "magic")}),
        ("families", {"families": ()}),
        ("contention", {"contention": 0.0}),
        ("contention", {"contention": float("nan")}),
        ("tightness", {"tightness": 1.5}),
        ("splittable", {"splittable": -0.1}),
        ("arrivals", {"arrivals": ()}),
        ("arrivals", {"arrivals": (-1.0,)}),
        ("bandwidth_mbps", {"bandwidth_mbps": (0.0,)}),
    ],
)
def test_a_wrong_argument_is_named(key: str, choices: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        small(**choices)
    assert caught.value.key == key


DIGEST = "d0a5ad380a8aa6deaaa2ae2443958206c117afe0b7e2e0fe6d0123078bbb7938"
