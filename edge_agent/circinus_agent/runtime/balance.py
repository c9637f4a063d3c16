"""Shares made into a sequence: smooth weighted round robin."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Balance"]

REFUSED = ""


class Balance:
    """Picks plans in proportion to their shares, as evenly spread as can be.

    Each pick adds every share to its plan's credit and takes the plan with most credit, which
    pays for all (the scheme of nginx's upstream round robin). What the shares leave over of 1
    is a plan of its own: refusal.
    """

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}
        self._credit: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Sum of the shares."""
        return sum(self._shares.values())

    def set(self, shares: Mapping[str, float]) -> None:
        """Use these shares from now on; plans that stay keep their credit."""
        self._shares = {plan: max(0.0, share) for plan, share in shares.items()}
        self._credit = {plan: self._credit.get(plan, 0.0) for plan in (*self._shares, REFUSED)}

    def pick(self, *, refuse: bool) -> str | None:
        """The next plan; None where it is refused.

        Args:
            refuse: Whether what the shares leave over is refused, or was never generated.
        """
        shares = dict(self._shares)
        if refuse:
            # Shares of 0.1 ten times make 0.9999999: no reason to refuse anybody.
            left = 1.0 - self.total
            shares[REFUSED] = left if left > 1e-6 else 0.0
        total = sum(shares.values())
        if total <= 0:
            return None
        for plan, share in shares.items():
            self._credit[plan] += share
        chosen = max(shares, key=lambda plan: self._credit[plan])
        self._credit[chosen] -= total
        return chosen or None
