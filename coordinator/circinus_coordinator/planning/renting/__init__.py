"""Renting whole machines: which ones, and what nobody can go below."""

from __future__ import annotations

from circinus_coordinator.planning.renting.large import rent_at_large
from circinus_coordinator.planning.renting.propose import Renting, rent, with_cost_bound

__all__ = ["Renting", "rent", "rent_at_large", "with_cost_bound"]
