"""What is served goes over to a cheaper plan where that hurts nobody."""

from __future__ import annotations

import pytest

from circinus.decision import Step
from circinus.pipeline import Config
from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.guide import Guide
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import place
from circinus_coordinator.planning.saving import save
from circinus_coordinator.planning.selection import Selection
from circinus_coordinator.planning.solo import all_alone


@pytest.mark.parametrize(("taken", "device"), [(0.0, "box"), (0.9, "srv")])
def test_a_plan_goes_to_the_cheaper_machine_if_there_is_room(build, profile, taken, device) -> None:
    scenario = build(
        queueing=True,
        profiles=[profile("a", "middle", 100), profile("a", "large", 100)],
        queries=[
            {"id": "mover", "pipeline": "p", "source": "pi", "rate_rps": 5,
             "slo": {"latency_ms": 400}},
            {"id": "settled", "pipeline": "p", "source": "pi", "rate_rps": 32,
             "slo": {"latency_ms": 1000}},
        ],
    )  # fmt: skip
    catalogue = Catalogue(scenario)
    found = market(catalogue)
    binder = Binder(found)
    solo = all_alone(found, binder)
    guide = Guide(found, relax(found), binder)
    mover, settled = scenario.queries
    chosen = Selection(catalogue, Ledger(scenario))

    def at(machine: str) -> dict[str, Step]:
        return {"a": Step(device=machine, config=Config({}), batch=1)}

    if taken:
        chosen.admit(place(catalogue, settled, at("box")), taken)
    chosen.admit(place(catalogue, mover, at("srv")), 1.0)
    save(guide, chosen, solo)
    (now,) = chosen.tenants.of("mover")
    assert now.share == 1.0
    assert now.placed.plan["a"].device == device
    assert chosen.share_of("settled") == taken


def test_two_plans_of_a_query_may_become_one(build, profile) -> None:
    scenario = build(
        queueing=True,
        profiles=[profile("a", "middle", 100), profile("a", "large", 100)],
        query={"rate_rps": 5, "slo": {"latency_ms": 400}},
    )
    catalogue = Catalogue(scenario)
    found = market(catalogue)
    binder = Binder(found)
    guide = Guide(found, relax(found), binder)
    chosen = Selection(catalogue, Ledger(scenario))
    (query,) = scenario.queries
    for machine, share in (("srv", 0.5), ("box", 0.3)):
        steps = {"a": Step(device=machine, config=Config({}), batch=1)}
        chosen.admit(place(catalogue, query, steps), share)
    save(guide, chosen, all_alone(found, binder))
    assert [(a.placed.plan["a"].device, a.share) for a in chosen.admitted] == [("box", 0.8)]
