"""Planners to compare with: what is done today, behind the same interface.

Each is judged by the evaluator every planner is judged by, gets the same profiles, capacities
and SLOs, and comes twice: first come first served, and (``@best``) in the best of the admission
orders of `orders`. Sources, and what differs from them, are in docs/baselines.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from circinus_coordinator.planning.baselines.bayesian import Bayesian
from circinus_coordinator.planning.baselines.exact import Exact
from circinus_coordinator.planning.baselines.heuristics import Heuristic
from circinus_coordinator.planning.baselines.menu import Preference
from circinus_coordinator.planning.baselines.orders import BEST

__all__ = ["BASELINES"]


def _twice(make: Callable[..., Any], name: str, **parameters: Any) -> dict[str, Any]:
    """The baseline first come first served, and in its best order."""
    return {
        name: make(name=name, **parameters),
        f"{name}@best": make(name=f"{name}@best", orders=BEST, **parameters),
    }


BASELINES: dict[str, Any] = {
    **_twice(Heuristic, "best-accuracy", preference=Preference.MOST_ACCURATE, beam=256),
    **_twice(Heuristic, "cheapest-first"),
    **_twice(Heuristic, "all-device", tier="device"),
    **_twice(Heuristic, "all-edge", tier="edge"),
    **_twice(Heuristic, "all-cloud", tier="cloud"),
    **_twice(Bayesian, "bayesian-50", budget=50),
    **_twice(Bayesian, "bayesian-50-shared", budget=50, share_classes=True),
    **_twice(Bayesian, "bayesian-200", budget=200),
    **_twice(Bayesian, "bayesian-200-shared", budget=200, share_classes=True),
    "exact": Exact(name="exact"),
}
"""Every baseline by name; each is a `plan.Planner`."""
