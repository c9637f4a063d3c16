"""What lines cost jobs, one line after another, and those that come after them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from circinus_coordinator.planning.lives import Kind

__all__ = ["NOTHING", "NO_SPELL", "Delay", "Spell", "endless", "longer", "piled"]


@dataclass(frozen=True, slots=True)
class Delay:
    """What the lines cost a request.

    Attributes:
        mean, second: First (ms) and second (ms²) moment of the wait, with those who do not.
        chance: That it waits at all.
        held: How much longer a worker is taken per job, ms.
        lines: Of each line how long a job waits in it where nothing piles up, ms.
    """

    mean: float
    second: float
    chance: float
    held: float
    lines: tuple[float, ...] = ()

    @property
    def variance(self) -> float:
        """Of the wait, ms²."""
        return max(self.second - self.mean * self.mean, 0.0)


NOTHING = Delay(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Spell:
    """What a line costs a job, before anything piles up; moments as in `Delay`.

    Attributes:
        chance, mean, second: Of waiting for others.
        twin_chance, twin_mean, twin_second: What its twins, let in before it, add.
        held: Mean wait of a job that a worker takes up while requests pile up before it.
    """

    chance: float = 0.0
    mean: float = 0.0
    second: float = 0.0
    twin_chance: float = 0.0
    twin_mean: float = 0.0
    twin_second: float = 0.0
    held: float = 0.0

    def then(self, other: Spell) -> Spell:
        """This and another one, in a row."""
        return Spell(
            1 - (1 - self.chance) * (1 - other.chance),
            self.mean + other.mean,
            self.second + other.second + 2 * self.mean * other.mean,
            1 - (1 - self.twin_chance) * (1 - other.twin_chance),
            self.twin_mean + other.twin_mean,
            self.twin_second + other.twin_second + 2 * self.twin_mean * other.twin_mean,
            self.held + other.held,
        )


NO_SPELL = Spell()


def longer(kind: Kind, spell: Spell) -> Kind:
    """The kind as those see it who stand in a line before the one where it waits."""
    extra = spell.held
    if extra <= 0 or kind.rate <= 0 or kind.busy <= 0:
        return kind
    mean = kind.busy / kind.rate
    # The wait varies as it does for any job.
    square = (spell.second + spell.twin_second) * extra / max(spell.mean + spell.twin_mean, extra)
    variance = kind.scv * mean**2 + max(square - extra**2, 0.0)
    ratio = 1 + extra / mean
    return replace(
        kind, busy=kind.busy * ratio, load=kind.load * ratio, scv=variance / (mean + extra) ** 2
    )


def piled(spell: Spell, kind: Kind, lines: tuple[float, ...]) -> Delay:
    """With the requests that pile up. Twins every request has."""
    mean = spell.mean + spell.twin_mean
    if mean <= 0:  # their chance alone may be more than rounding
        return NOTHING
    service = kind.busy / kind.rate if kind.rate > 0 else 0.0
    load = kind.load * (1 + spell.held / service if service > 0 else 1.0)
    if load >= 1:
        return endless(lines)
    # Short spells leave no pile but longer service; a quarter, by comparison with simulation.
    lasting = 1 - min(1.0, spell.held / mean) / 4
    more = 1 + lasting * load / (1 - load)
    return Delay(
        spell.mean * more + spell.twin_mean,
        spell.second * more + spell.twin_second,
        min(1.0, spell.chance * more + spell.twin_chance),
        spell.held,
        lines,
    )


def endless(lines: tuple[float, ...]) -> Delay:
    """Of a job that never gets on."""
    return Delay(math.inf, math.inf, 1.0, math.inf, lines)
