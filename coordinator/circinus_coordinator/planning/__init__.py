"""The planner: from a scenario to a decision. Pure; knows no clock, file or network."""

from circinus_coordinator.planning.candidates import candidate_placements
from circinus_coordinator.planning.explain import Explanation, explain
from circinus_coordinator.planning.plan import PLANNERS, Planner, plan
from circinus_coordinator.planning.stop import MaxIterations, MaxSeconds, Stop

__all__ = [
    "PLANNERS",
    "Explanation",
    "MaxIterations",
    "MaxSeconds",
    "Planner",
    "Stop",
    "candidate_placements",
    "explain",
    "plan",
]
