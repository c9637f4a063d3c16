"""The planner: from a scenario to a decision. Pure; knows no clock, file or network."""

from circinus_coordinator.planning.candidates import candidate_placements
from circinus_coordinator.planning.corrections import Rehearse, Shown
from circinus_coordinator.planning.explain import Explanation, explain
from circinus_coordinator.planning.plan import NAME, PLANNERS, Planner, plan
from circinus_coordinator.planning.replanning import Change, Replanner
from circinus_coordinator.planning.stop import MaxIterations, MaxSeconds, Stop

__all__ = [
    "NAME",
    "PLANNERS",
    "Change",
    "Explanation",
    "MaxIterations",
    "MaxSeconds",
    "Planner",
    "Rehearse",
    "Replanner",
    "Shown",
    "Stop",
    "candidate_placements",
    "explain",
    "plan",
]
