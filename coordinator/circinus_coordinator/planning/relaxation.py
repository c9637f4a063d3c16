"""What would admit a query, and how it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from circinus.decision import Relaxation, ResourcePrice

__all__ = ["USD", "Charge", "Explanation", "round_down", "round_up", "worded"]

USD = "USD per 1,000 requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a request pays for a resource.

    Attributes:
        resource: Which, and what it is worth.
        amount: Core-seconds, accelerator-seconds or megabits per request.
        value: Their worth, in requests of weight 1.
    """

    resource: ResourcePrice
    amount: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of a query, and why.

    Attributes:
        query: Its id.
        share: Share of its traffic that is served.
        binding: The constraint in the way: ``latency``, ``accuracy``, ``cost``,
            ``no profile``, ``not connected``, or a resource (``cores of edge-1``). For a query
            served in full the SLO with the least slack, None without SLOs.
        reason: A sentence for people.
        relaxation: The cheapest change found that would admit the rest, if any.
        relaxations: The same for programs: all of them together.
        weight: What a request of it is worth.
        price: What the resources are worth that a request takes by the plan it has or would
            have, in the same unit; None where nobody priced them. Above `weight`: others make
            more of them.
        charges: What the price is made of, dearest first.
    """

    query: str
    share: float
    binding: str | None
    reason: str
    relaxation: str | None = None
    relaxations: tuple[Relaxation, ...] = ()
    weight: float | None = None
    price: float | None = None
    charges: tuple[Charge, ...] = ()


def worded(relaxations: Sequence[Relaxation]) -> str | None:
    """The changes as a sentence; None without any."""
    parts = [_words(r) for r in relaxations]
    return f"needs {' and '.join(parts)}" if parts else None


def _words(r: Relaxation) -> str:
    amount = _told(r.amount or 0.0)
    where = r.devices[0] if r.devices else ""
    if r.what == "link":
        way = f"between {r.devices[0]} and {r.devices[-1]}"
        if r.amount is not None:
            return f"{amount} Mbit/s more {way}"
        trip = "" if r.rtt_ms is None else f", round trip at most {_told(r.rtt_ms)} ms"
        return f"a link {way} of {_told(r.to or 0.0)} Mbit/s{trip}"
    if r.what == "accuracy":
        return "no accuracy floor" if r.to is None else f"an accuracy floor of at most {r.to:.4g}"
    known = {
        "latency": f"{amount} ms more latency",
        "cost": f"{amount} more {USD}",
        "memory": f"{amount} MB more on {where}",
        "uplink": f"{amount} Mbit/s more uplink on {where}",
        "profile": f"a profile of {r.operator} on {where}",
        "speed": f"{r.operator} to run {_told(r.to or 1.0)} times as fast on {where}",
        "placement": f"{r.operator} allowed in the tier of {where}",
        "backward": "data allowed inwards along the tiers",
        "weight": "a weight above 0",
        "rate": "a rate above 0",
    }
    name = "core" if r.what == "cores" and r.amount == 1 else r.what
    return known.get(r.what, f"{amount} more {name} on {where}")


def _told(amount: float) -> str:
    return f"{amount:.0f}" if amount >= 1e4 else f"{amount:.4g}"


def round_down(amount: float) -> float:
    """Four significant digits, rounded down: a floor of that much must be met."""
    if amount <= 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(amount)) - 3)
    return float(f"{math.floor(amount / digit + 1e-9) * digit:.4g}")


def round_up(amount: float) -> float:
    """Four significant digits, rounded up: the relaxation must suffice."""
    if amount <= 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(amount)) - 3)
    return float(f"{math.ceil(amount / digit - 1e-9) * digit:.4g}")
