from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus_coordinator.demo.classes import load_class, load_classes

GOOD = """\
circinus: 1
name: box
description: A box
cores: 4
memory_mb: 1000
price: {usd_hour: 0.5}
sources: {cores: a, memory_mb: b, price: c, emulate: assumed}
emulate: {slowdown: 2, cores: 4, memory_mb: 500}
"""


def write(folder: Path, text: str, name: str = "box.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_class_of_the_catalogue_loads_and_says_its_sources() -> None:
    classes = load_classes()
    assert {"raspberry-pi-5", "intel-nuc", "cloud-vm-small", "jetson-orin-nano"} <= set(classes)
    for entry in classes.values():
        assert entry.emulate is not None
        assert "assumed" in entry.sources["emulate"]


def test_a_bought_machine_costs_its_purchase_over_its_lifetime_and_its_electricity(
    tmp_path: Path,
) -> None:
    price = "price: {purchase_usd: 876, lifetime_years: 2, watts: 100, usd_per_kwh: 0.2}"
    entry = load_class(write(tmp_path, GOOD.replace("price: {usd_hour: 0.5}", price)))
    assert entry.device_class.price_usd_hour == pytest.approx(0.05 + 0.02)


def test_a_rented_machine_costs_its_rent(tmp_path: Path) -> None:
    assert load_class(write(tmp_path, GOOD)).device_class.price_usd_hour == 0.5


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("cores: 4\n", "coers: 4\n", "coers"),
        ("cores: 4\n", "", "cores"),
        ("cores: 4\n", "cores: -4\n", "cores"),
        ("price: {usd_hour: 0.5}", "price: {watts: 5}", "price"),
        ("price: {usd_hour: 0.5}", "price: {usd_hour: 1, watts: 5}", "price"),
        ("price: c, ", "", "sources.price"),
        ("slowdown: 2", "slowdown: 0", "emulate.slowdown"),
        ("circinus: 1", "circinus: 2", "circinus"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InvalidInput) as caught:
        load_class(path)
    assert caught.value.file == str(path)
    assert caught.value.key == key


def test_file_and_class_carry_the_same_name(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "crate.yaml")
    with pytest.raises(InvalidInput, match=r"crate\.yaml"):
        load_classes(tmp_path)
