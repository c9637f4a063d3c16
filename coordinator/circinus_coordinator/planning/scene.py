"""A decision at work: what an explanation has to leave as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from circinus.decision import Relaxation
from circinus.scenario import Scenario
from circinus_coordinator.planning.alike import together
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.tenants import Tenant
from circinus_coordinator.planning.uses import Resource
from circinus_coordinator.planning.whatif import applied

__all__ = ["Scene"]


@dataclass(slots=True)
class Scene:
    """Who is served, identical queries as one, and the loads of all of it."""

    catalogue: Catalogue
    ledger: Ledger
    assigned: Sequence[tuple[PlacedPlan, float]]
    at: dict[str | Resource, list[Tenant]] = field(init=False)  # by device and wire

    def __post_init__(self) -> None:
        self.at = {}
        self.assigned = together(self.assigned)[0]
        for placed, share in self.assigned:
            tenant = Tenant(placed, share)
            for where in tenant.places:
                self.at.setdefault(where, []).append(tenant)

    @property
    def scenario(self) -> Scenario:
        """Where it works."""
        return self.catalogue.scenario

    def changed(self, query: str, changes: Iterable[Relaxation]) -> Scene:
        """All that is served, in the scenario with some changes to its fleet."""
        catalogue = Catalogue(applied(self.scenario, query, changes), self.catalogue)
        assigned = [(place(catalogue, p.query, p.plan), share) for p, share in self.assigned]
        return Scene(catalogue, evaluate(catalogue, assigned).ledger, assigned)
