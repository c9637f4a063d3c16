"""Scenarios made up from a seed: fleets, pipelines, profiles and queries of any size."""

from circinus_coordinator.generation.families import FAMILIES
from circinus_coordinator.generation.generate import generate
from circinus_coordinator.generation.series import read_arrivals, read_bandwidth

__all__ = ["FAMILIES", "generate", "read_arrivals", "read_bandwidth"]
