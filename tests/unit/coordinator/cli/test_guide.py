"""The guide shows the files as they are."""

from pathlib import Path

import pytest

from circinus.scenario import Scenario, decode_scenario, load_scenario
from circinus_coordinator.demo.classes import load_classes

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    "name", ["hello/hello_operators.py", "hello/hello.yaml", "read-signs/fleet.yaml"]
)
def test_the_guide_shows_the_examples_as_they_are(name: str) -> None:
    shown = (ROOT / "docs" / "guide.md").read_text()
    assert (ROOT / "examples" / name).read_text() in shown


def _check_classes(fleet: Scenario) -> None:
    catalogue = load_classes()
    for name, given in fleet.device_classes.items():
        known = catalogue[name].device_class
        assert (given.cores, given.memory_mb) == (known.cores, known.memory_mb)
        assert given.accelerators == known.accelerators
        assert given.price_usd_hour == pytest.approx(known.price_usd_hour, abs=5e-5)


def test_the_fleet_for_several_machines_has_a_link_between_all_tiers() -> None:
    fleet = load_scenario(ROOT / "examples" / "read-signs" / "fleet.yaml")
    _check_classes(fleet)
    assert len(fleet.tiers) == len(fleet.links) == 3


def test_the_classes_to_copy_are_those_of_the_catalogue() -> None:
    _, _, rest = (ROOT / "devices" / "README.md").read_text().partition("```yaml\n")
    text = f"circinus: 1\ndevice_classes:\n{rest.partition('```')[0]}"
    fleet = decode_scenario(text.encode(), name="fleet.yaml")
    assert fleet.device_classes.keys() == load_classes().keys()
    _check_classes(fleet)


def test_nobody_is_told_to_install_another_project_of_the_name() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("examples/*/README.md")]
    for page in pages:
        assert "pip install circinus" not in page.read_text(), page
        assert "circinus[" not in page.read_text(), page
