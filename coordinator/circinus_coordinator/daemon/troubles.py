"""What keeps a query that is rolled out from being served as promised."""

from __future__ import annotations

from collections.abc import Iterator

from circinus.messages import Reported, Route
from circinus_coordinator.daemon.core import Core
from circinus_coordinator.fleet import PlannedRoute

__all__ = ["troubles"]


def troubles(core: Core, query: str, now: float) -> list[str]:
    """Sentences for people, the gravest first; none where all is well.

    Devices on its routes that are away or that two agents lay claim to, sources and sinks that
    their agents say do not work, and operators that are down.
    """
    routes = core.rollout.serving().get(query, ())
    found: dict[str, None] = {}
    for device in sorted({name for planned in routes for name in _devices(planned.route)}):
        found.update(dict.fromkeys(_at(core, query, device, routes, now)))
    return list(found)


def _at(
    core: Core, query: str, device: str, routes: tuple[PlannedRoute, ...], now: float
) -> Iterator[str]:
    state = core.registry.get(device)
    if state is None or not state.online:
        yield f"device {device} is not there"
        return
    if warning := state.warning(now):
        yield f"{device}: {warning}"
    telemetry = core.monitor.last(device)
    if telemetry is not None and telemetry.boot_id == state.boot_id:
        cause = telemetry.troubles.get(query)
        if cause:
            yield f"{device}: {cause}"
    reported = core.rollout.reported(device)
    if reported is not None and reported.boot_id == state.boot_id:
        yield from _down(device, routes, reported)


def _down(device: str, routes: tuple[PlannedRoute, ...], reported: Reported) -> Iterator[str]:
    """Steps whose operator has no process."""
    for step in (step for planned in routes for step in planned.route.steps):
        instance = reported.instances.get(step.instance)
        if step.device == device and instance is not None and instance.state == "failed":
            yield f"{device}: {step.name} is down: {instance.cause}"


def _devices(route: Route) -> set[str]:
    return {route.lead, *route.sources.values(), *(step.device for step in route.steps)}
