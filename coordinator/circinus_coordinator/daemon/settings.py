"""What a coordinator is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from circinus import _checks as check
from circinus.errors import InvalidInput
from circinus_coordinator.profiling import DriftSettings, ProfilingSettings

__all__ = ["BrokerSettings", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Which MQTT broker to speak to.

    Attributes:
        host: Host of a broker that runs already; None to start one on loopback.
        port: Port of that broker, or to start one on; 0 for any free one.
        listen: Address to start one on; devices of other machines need one they can reach.
        kind: ``auto``, ``mosquitto`` or ``embedded``: what to start where `host` is None.
        username: As the coordinator, with a broker that asks for it.
        password: Its password.
    """

    host: str | None = None
    port: int = 1883
    listen: str = "127.0.0.1"
    kind: str = "auto"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("auto", "mosquitto", "embedded"):
            raise InvalidInput(
                f"unknown kind {self.kind!r}",
                key="broker.kind",
                remedy="one of: auto, mosquitto, embedded",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Parameters of a coordinator. Times in seconds.

    Attributes:
        store: Folder of its store; made if it is not there.
        fleet: A scenario file with tiers, device classes, links and ``max_utilisation``.
        api_url: Where agents reach the HTTP API, e.g. ``http://10.0.0.5:8080``; artifacts are
            fetched from ``{api_url}/v1/artifacts/{sha256}``.
        broker: Which broker.
        seed: The planner's.
        liveness_s: A device that has been silent for so long counts as offline.
        grace_s: So long after its loss a device stays in the plans.
        debounce_s: Changes closer together than this lead to one re-planning.
        settle_s: After a start, so long for retained messages to come in before anything is
            planned or probed.
        prepare_timeout_s: A rollout step that takes longer has failed.
        retry_base_s: A decision that failed is tried again after up to so long, then twice...
        retry_cap_s: ...and at last after up to so long.
        drain_s: So long old routes are kept after the switch, for requests on their way.
        window_s: Measurements look back so far.
        profiling: What to probe, and when to stop.
        drift: When a device no longer serves as its profile says, and what follows.
    """

    store: Path
    fleet: Path
    api_url: str | None = None
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    seed: int = 0
    liveness_s: float = 15.0
    grace_s: float = 10.0
    debounce_s: float = 0.3
    settle_s: float = 2.0
    prepare_timeout_s: float = 180.0
    retry_base_s: float = 5.0
    retry_cap_s: float = 300.0
    drain_s: float = 1.0
    window_s: float = 60.0
    profiling: ProfilingSettings = field(default_factory=ProfilingSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)

    def __post_init__(self) -> None:
        for name in (
            "liveness_s", "prepare_timeout_s", "retry_base_s", "retry_cap_s", "window_s",
        ):  # fmt: skip
            check.positive(getattr(self, name), name)
        for name in ("grace_s", "debounce_s", "settle_s", "drain_s"):
            check.not_negative(getattr(self, name), name)
