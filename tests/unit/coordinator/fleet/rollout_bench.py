"""Decisions and devices for tests of the rollout."""

from __future__ import annotations

from collections.abc import Mapping

from circinus.messages import (
    Desired,
    InstanceSpec,
    Peer,
    Reported,
    Route,
    RouteStep,
    instance_key,
)
from circinus_coordinator.fleet import PlannedRoute, Publish, Rollout, Snapshot
from circinus_coordinator.fleet.rollout import Instruction

Target = dict[str, tuple[PlannedRoute, ...]]


def route(
    query: str, devices: str, *, config: int = 0, share: float = 1.0, replicas: int = 1
) -> PlannedRoute:
    """A chain with one operator on each of the devices, named by single letters."""
    steps, instances = [], {}
    for i, device in enumerate(devices):
        settings = {"x": config, "i": i}
        key = instance_key("m:Op", settings, 1)
        steps.append(
            RouteStep(name=f"s{i}", device=device, instance=key, needs=[f"s{i - 1}"] if i else [])
        )
        spec = InstanceSpec(key=key, run="m:Op", config=settings, replicas=replicas)
        instances.setdefault(device, []).append(spec)
    return PlannedRoute(
        route=Route(
            query=query, plan=f"{query}{devices}{config}", share=share, active=True,
            lead=devices[0], sources={"s0": devices[0]}, steps=steps, rate_rps=1.0,
        ),
        instances=instances,
        artifacts={},
    )  # fmt: skip


def target(*routes: PlannedRoute) -> Target:
    found: Target = {}
    for planned in routes:
        found[planned.route.query] = (*found.get(planned.route.query, ()), planned)
    return found


def dial(a: str, b: str) -> tuple[str, Peer]:
    return min(a, b), Peer(device=max(a, b), url=f"ws://{max(a, b)}")


class Bench:
    """A rollout with devices that report when told to."""

    def __init__(
        self, online: str = "abc", *, snapshot: Snapshot | None = None, now: float = 0.0
    ) -> None:
        self.now = now
        self.rollout = Rollout(store="s", timeout_s=60, drain_s=1, snapshot=snapshot, now=now)
        self.log: list[Instruction] = []
        self.wire: dict[str, Desired] = dict(self.rollout.snapshot.documents)
        self.versions: dict[str, int] = {d: v.version for d, v in self.wire.items()}
        self.boots = dict.fromkeys(online, "boot")
        self.online(online)

    def take(self, instructions: list[Instruction]) -> list[Instruction]:
        for order in instructions:
            if isinstance(order, Publish):
                desired = order.desired
                assert desired.version > self.versions.get(desired.device, 0)
                self.versions[desired.device] = desired.version
                self.wire[desired.device] = desired
        self.log += instructions
        return instructions

    def online(self, devices: str) -> None:
        boots = {device: self.boots.setdefault(device, "boot") for device in devices}
        self.take(self.rollout.on_devices(boots, dial, self.now))

    def decide(self, name: str, wanted: Mapping[str, tuple[PlannedRoute, ...]]) -> None:
        self.take(self.rollout.decide(name, wanted, self.now))

    def report(self, device: str, phase: str = "converged", **changes: object) -> None:
        desired = self.wire[device]
        values: dict[str, object] = {
            "device": device, "boot_id": self.boots[device], "version": desired.version,
            "hash": desired.hash, "phase": phase,
        }  # fmt: skip
        message = Reported(**{**values, **changes})  # type: ignore[arg-type]
        self.take(self.rollout.on_reported(message, self.now))

    def converge(self, devices: str) -> None:
        for device in devices:
            if device in self.wire:
                self.report(device)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.rollout.on_tick(self.now))

    def finish(self, devices: str = "abc") -> None:
        for _ in range(6):
            self.converge(devices)
            self.wait(1.0)

    def plans(self, device: str) -> dict[str, bool]:
        """Plan to active."""
        if device not in self.wire:
            return {}
        return {r.plan: r.active for r in self.wire[device].body.routes}
