"""Who finds room once everybody else is settled is taken in before refusals are explained."""

from __future__ import annotations

import pytest

from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.latecomers import joined, latecomers
from circinus_coordinator.planning.placed import place


def two(build, profile, second_rps: float):
    """Two queries of 10 ms a request on the two cores of the `pi`."""
    asked = {"pipeline": "p", "source": "pi"}
    return build(
        pipeline={"operators": {"a": {"tiers": ["device"]}}},
        profiles=[profile("a", "small", 10)],
        queries=[
            {"id": "first", **asked, "rate_rps": 100},
            {"id": "second", **asked, "rate_rps": second_rps},
        ],
    )


@pytest.mark.parametrize(("second_rps", "comes"), [(50, True), (70, False)])
def test_who_fits_as_it_is_comes_and_who_does_not_stays_away(
    build, profile, second_rps, comes
) -> None:
    scenario = two(build, profile, second_rps)
    catalogue, (first, second) = Catalogue(scenario), scenario.queries
    step = plan(scenario, effort=MaxIterations(1)).assignments[0].plan
    served = [(place(catalogue, first, step), 1.0)]
    found = latecomers(catalogue, served, [second])
    assert [placed.query.id for placed, _ in found.assigned] == ["first", "second"][: 1 + comes]
    assert (second.id in found.within) is not comes


def test_more_of_a_plan_that_a_query_has_is_added_to_its_share(build, profile) -> None:
    scenario = two(build, profile, 50)
    catalogue, query = Catalogue(scenario), scenario.queries[0]
    placed = place(catalogue, query, plan(scenario, effort=MaxIterations(1)).assignments[0].plan)
    assert joined([(placed, 0.25)], [(placed, 0.5)]) == [(placed, 0.75)]
