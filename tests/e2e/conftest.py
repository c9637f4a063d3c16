"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fleet import Fleet


@pytest.fixture(
    scope="module",
    params=[pytest.param("mosquitto", marks=pytest.mark.needs_mosquitto), "embedded"],
)
def broker(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def serving(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A small fleet that serves; shared by the tests of a module."""
    fleet = Fleet(tmp_path_factory.mktemp(broker), broker)
    try:
        fleet.start()
        fleet.submit()
        fleet.wait_serving()
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[[str], Fleet]]:
    """Makes a fleet that has not been started, for a test of its own."""
    made: list[Fleet] = []

    def make(kind: str) -> Fleet:
        folder = tmp_path / f"fleet-{len(made)}"
        folder.mkdir()
        made.append(Fleet(folder, kind))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()
