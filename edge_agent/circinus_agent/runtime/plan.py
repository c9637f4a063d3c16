"""A route as one device sees it, with everything precomputed that a request asks for."""

from __future__ import annotations

from collections.abc import Mapping

from circinus.errors import InvalidInput
from circinus.messages import Route, RouteStep

__all__ = ["DEFAULT_BUDGET_S", "Plan", "Targets"]

# A request without deadline must end some time.
DEFAULT_BUDGET_S = 60.0

Targets = tuple[tuple[str, tuple[str, ...]], ...]
"""Devices with the steps on each that take an output."""


class Plan:
    """One route.

    Attributes:
        steps: By name.
        sources: Operators that need no other, with the device where each one's input starts.
        sinks: Steps that no other needs: the request is done when all of them are.
        devices: Every device the route touches.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.steps: dict[str, RouteStep] = {step.name: step for step in route.steps}
        for step in route.steps:
            for need in step.needs:
                if need not in self.steps:
                    raise InvalidInput(f"step {step.name} needs {need!r}, which is not there")
        self.sources: Mapping[str, str] = {
            step.name: route.sources.get(step.name, route.lead)
            for step in route.steps
            if not step.needs
        }
        needed = {need for step in route.steps for need in step.needs}
        self.sinks = frozenset(name for name in self.steps if name not in needed)
        self.devices = frozenset(
            (route.lead, *self.sources.values(), *(step.device for step in route.steps))
        )
        self._targets = {name: self._consumers(name) for name in self.steps}

    @property
    def key(self) -> tuple[str, str]:
        """Query and plan."""
        return self.route.query, self.route.plan

    @property
    def budget_s(self) -> float:
        """The deadline, or the default."""
        deadline_ms = self.route.deadline_ms
        return DEFAULT_BUDGET_S if deadline_ms is None else deadline_ms / 1e3

    def targets(self, producer: str) -> Targets:
        """Who takes the output of a step."""
        return self._targets[producer]

    def entry(self, source: str) -> Targets:
        """Who takes the input of a source operator: itself, wherever it runs."""
        return ((self.steps[source].device, (source,)),)

    def _consumers(self, name: str) -> Targets:
        found: dict[str, list[str]] = {}
        for step in self.route.steps:
            if name in step.needs:
                found.setdefault(step.device, []).append(step.name)
        return tuple((device, tuple(steps)) for device, steps in found.items())
