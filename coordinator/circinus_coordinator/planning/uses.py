"""What a request uses of machines and links under a plan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from circinus.fleet import CORES
from circinus.pipeline import Config
from circinus.scenario import Scenario

__all__ = [
    "LINK",
    "MEMORY",
    "UPLINK",
    "WORKER",
    "InstanceKey",
    "Resource",
    "StepUse",
    "Use",
    "describe",
    "link",
    "planned",
    "taken",
    "wires",
]

WORKER = "worker"
MEMORY = "memory"
LINK = "link"
UPLINK = "uplink"

Resource = tuple[str, ...]
"""("cores", device), (accelerator, device), ("memory", device), ("link", a, b),
("uplink", device), or ("worker", device, instance) for the one worker of a stateful operator."""

InstanceKey = tuple[str, str, Config, int]
"""(device, implementation, config, batch)."""


# A worker that stands in line for an accelerator is taken meanwhile, and is planned to stand there
# about as long as it runs; of 1 and 2, 2 served 10 and 46 % more in two generated scenarios.
_IN_LINE = 2.0


def taken(compute: Mapping[str, float]) -> float:
    """For how long a worker is planned to be taken per job, in services.

    Args:
        compute: What it uses of each resource.
    """
    return _IN_LINE if any(s > 0 for name, s in compute.items() if name != CORES) else 1.0


def describe(resource: Resource) -> str:
    """The resource as people read it: ``cores of edge-1``, ``link edge-1 - pi-2``."""
    if resource[0] == LINK:
        return f"link {resource[1]} - {resource[2]}"
    if resource[0] == WORKER:
        return f"the single {resource[2]} worker of {resource[1]}"
    return f"{resource[0]} of {resource[1]}"


def link(a: str, b: str) -> Resource:
    """The link between two devices."""
    return (LINK, *sorted((a, b)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUse:
    """What one step of a plan uses per request."""

    key: InstanceKey
    service_ms: float
    variance: float
    compute_s: Mapping[str, float]
    memory_mb: float
    stateful: bool
    factors: tuple[float, ...] = (1.0,)  # length of 1, 2, ... requests / of a full batch
    passed: tuple[tuple[float, float], ...] = ()  # stations before: service ms, its scv
    spare_ms: float = math.inf  # until the deadline, when it comes; the least is served first
    twins: tuple[InstanceKey, ...] = ()  # of steps that start there at the same instant, before it
    along: tuple[InstanceKey, ...] = ()  # of the other steps there
    after: tuple[InstanceKey, ...] = ()  # of those there whose outputs it takes

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.key[0]

    @property
    def worker(self) -> Resource:
        """The one worker of its instance, which counts where somebody's operator is stateful."""
        return (WORKER, self.device, _instance_name(self.key))

    @property
    def batch(self) -> int:
        """Requests per batch."""
        return self.key[3]

    @property
    def quickest(self) -> float:
        """The part of a full batch's time that any batch takes at least."""
        return min(self.factors)

    @property
    def erlang_ms(self) -> float:
        """Worker time per request, batches taken as full, ms."""
        return self.service_ms / self.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a plan uses per request: its steps and the bytes it moves."""

    steps: tuple[StepUse, ...]
    bytes_between: tuple[tuple[str, str, float], ...]
    linear: Mapping[Resource, float]
    scv: float
    sent: Mapping[tuple[Resource, float], int]  # by wire and length, ms; at once, as one

    @property
    def wires(self) -> dict[Resource, None]:
        """The wires it sends over, each direction by itself."""
        return dict.fromkeys(wire for wire, _ in self.sent)

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        steps: Iterable[StepUse],
        moves: Iterable[tuple[str, str, float]],
        sent: Mapping[tuple[Resource, float], int],
        scv: float,
    ) -> Use:
        """Sum up the per-second resources of steps and moves; `sent` as it is kept."""
        steps, moves = tuple(steps), tuple(m for m in moves if m[0] != m[1])
        linear: dict[Resource, float] = {}

        def add(resource: Resource, amount: float) -> None:
            if amount > 0:
                linear[resource] = linear.get(resource, 0.0) + amount

        for step in steps:
            for name, seconds in step.compute_s.items():
                add((name, step.device), seconds)
            if step.stateful:
                add(step.worker, step.erlang_ms / 1e3)
        for a, b, size in moves:
            megabits = size * 8e-6
            add(link(a, b), megabits)
            for end in (a, b):
                if scenario.device[end].uplink_mbps is not None:
                    add((UPLINK, end), megabits)
        return cls(
            steps=steps,
            bytes_between=moves,
            linear=linear,
            scv=scv,
            sent=sent,
        )


def wires(scenario: Scenario, a: str, b: str, size: float) -> list[tuple[Resource, float]]:
    """What a transfer of `size` bytes from `a` to `b` occupies, and for how many ms."""
    found = scenario.network.between(a, b)
    if a == b or size <= 0 or found is None or found.bandwidth_mbps <= 0:
        return []
    speeds: list[tuple[Resource, float | None]] = [
        ((LINK, a, b), found.bandwidth_mbps),
        ((UPLINK, a, "out"), scenario.device[a].uplink_mbps),
        ((UPLINK, b, "in"), scenario.device[b].uplink_mbps),
    ]
    return [(wire, size * 8e-3 / mbps) for wire, mbps in speeds if mbps]


def planned(wire: Resource) -> Resource:
    """The resource of a wire, which has but one capacity for both directions."""
    return link(wire[1], wire[2]) if wire[0] == LINK else (UPLINK, wire[1])


def _instance_name(key: InstanceKey) -> str:
    _, implementation, config, batch = key
    return f"{implementation}[{config}]" + (f"x{batch}" if batch > 1 else "")
