"""What placing a template takes, in the terms of real machines."""

from __future__ import annotations

from dataclasses import dataclass

from circinus_coordinator.planning.decomposition.classes import QueryClass

__all__ = ["Recipe", "recipe"]

_MEGABIT_PER_BYTE = 8e-6
Instance = tuple[str, object, int]
"""(implementation, config, batch): what is shared on a machine by all who use it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A template taken apart; positions are those of the layout.

    Attributes:
        compute: For each position used: [(resource column, seconds per request), ...].
        instances: For each position used: [(instance, MB), ...].
        workers: Each step: (position, instance, worker seconds per request, stateful).
        moves: (position, position, megabits per request).
    """

    compute: dict[int, list[tuple[int, float]]]
    instances: dict[int, list[tuple[Instance, float]]]
    workers: list[tuple[int, Instance, float, bool]]
    moves: list[tuple[int, int, float]]


def recipe(kind: QueryClass, options: tuple[int, ...]) -> Recipe:
    """Take a plan of the class apart."""
    programme = kind.programme
    slot = [int(s.slot[o]) for s, o in zip(programme.steps, options, strict=True)]
    size = [float(s.size[o]) for s, o in zip(programme.steps, options, strict=True)]
    device = {name: k for k, name in enumerate(programme.devices)}
    source = programme.query.source
    compute: dict[int, dict[int, float]] = {}
    instances: dict[int, dict[Instance, float]] = {}
    workers: list[tuple[int, Instance, float, bool]] = []
    moves: list[tuple[int, int, float]] = []
    for k, step in enumerate(programme.steps):
        option, at = options[k], slot[k]
        row = step.rows[option]
        use = compute.setdefault(at, {})
        for r, seconds in enumerate(step.compute[option].tolist()):
            if seconds > 0:
                use[r] = use.get(r, 0.0) + seconds
        key: Instance = (step.implementation, row.config, row.batch)
        held = instances.setdefault(at, {})
        held[key] = max(held.get(key, 0.0), row.memory_mb)
        workers.append((at, key, float(step.mean[option]) / 1e3 / row.batch, step.stateful))
        if k in programme.entry:
            moves.append((device[source[step.name]], at, programme.entry[k][1]))
        moves += [(slot[need], at, size[need]) for need in step.needs]
        if programme.exits is not None and programme.last_use[k] == k:
            moves.append((at, device[source[programme.pipeline.sources[0]]], size[k]))
    return Recipe(
        compute={at: list(use.items()) for at, use in compute.items()},
        instances={at: list(held.items()) for at, held in instances.items()},
        workers=workers,
        moves=[(a, b, moved * _MEGABIT_PER_BYTE) for a, b, moved in moves if a != b and moved > 0],
    )
