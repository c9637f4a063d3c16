"""What an agent can be told: frozen dataclasses, checked when they are built."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from circinus import _checks as check
from circinus.errors import InvalidInput

if TYPE_CHECKING:
    from circinus.messages import Emulation

__all__ = [
    "AUTO",
    "AgentConfig",
    "BrokerConfig",
    "DataPlaneConfig",
    "EmulatedLink",
    "EmulationConfig",
    "RuntimeConfig",
]

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where the MQTT broker is, and how to prove who we are."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        _text(self.host, "host")
        _port(self.port, "port", lowest=1)
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidInput(
                "a certificate and its key belong together",
                key="cert_file",
                remedy="give both cert_file and key_file",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlaneConfig:
    """Where other agents and HTTP clients reach this one.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        endpoint: ``ws://host:port`` that inner devices dial; ``"auto"`` for the listening
            address itself; None where nobody can dial in (behind NAT).
    """

    host: str = "127.0.0.1"
    port: int = 7400
    endpoint: str | None = None

    def __post_init__(self) -> None:
        _text(self.host, "host")
        _port(self.port, "port", lowest=0)
        if self.endpoint not in (None, AUTO) and not str(self.endpoint).startswith(
            ("ws://", "wss://")
        ):
            raise InvalidInput(
                f"{self.endpoint!r} cannot be dialled",
                key="endpoint",
                remedy='write ws://HOST:PORT, or "auto" for the listening address',
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """How operators are run.

    Attributes:
        hang_timeout_s: A batch that takes longer is taken for a hang: its process is killed and
            started again. Emulated time counts.
    """

    hang_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        check.positive(self.hang_timeout_s, "hang_timeout_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedLink:
    """A link to `peer` whose delay and bandwidth the data plane makes up."""

    peer: str
    rtt_ms: float = 0.0
    bandwidth_mbps: float = 1000.0

    def __post_init__(self) -> None:
        check.identifier(self.peer, "peer")
        check.not_negative(self.rtt_ms, "rtt_ms")
        check.positive(self.bandwidth_mbps, "bandwidth_mbps")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulationConfig:
    """What this device pretends to be; None or 1.0 means the real thing."""

    slowdown: float = 1.0
    cores: float | None = None
    memory_mb: float | None = None
    links: tuple[EmulatedLink, ...] = ()

    def __post_init__(self) -> None:
        if not self.slowdown >= 1.0:
            raise InvalidInput(
                f"must be at least 1, not {self.slowdown!r}",
                key="slowdown",
                remedy="a machine can be made slower, not faster",
            )
        check.positive(self.slowdown, "slowdown")
        if self.cores is not None:
            check.positive(self.cores, "cores")
        if self.memory_mb is not None:
            check.positive(self.memory_mb, "memory_mb")
        check.unique((link.peer for link in self.links), "links", "peer")

    @property
    def active(self) -> bool:
        """True where anything at all is made up."""
        return self != EmulationConfig()

    def as_message(self) -> Emulation | None:
        """As capabilities report it; None where nothing is made up."""
        from circinus.messages import Emulation, LinkEmulation

        if not self.active:
            return None
        return Emulation(
            slowdown=self.slowdown,
            cores=self.cores,
            memory_mb=self.memory_mb,
            links=[
                LinkEmulation(peer=x.peer, rtt_ms=x.rtt_ms, bandwidth_mbps=x.bandwidth_mbps)
                for x in self.links
            ],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """All settings of an agent.

    Attributes:
        device: Identifier of this device in the fleet.
        device_class: Name of its class: devices of one class share their profiles.
        tier: Name of its tier.
        state_dir: Folder for what outlives a restart; made if it is not there.
        cache_quota_mb: Room for fetched artifacts, megabytes (10^6 bytes).
        path: Folders with operators, put on ``sys.path`` of the workers.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        broker: Where the broker is.
        data_plane: Where this agent is reached.
        runtime: How operators are run.
        emulate: What it pretends to be.
    """

    device: str
    device_class: str
    tier: str
    state_dir: Path
    cache_quota_mb: float = 2000.0
    path: tuple[str, ...] = ()
    log_level: str = "info"
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    data_plane: DataPlaneConfig = field(default_factory=DataPlaneConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    emulate: EmulationConfig = field(default_factory=EmulationConfig)

    def __post_init__(self) -> None:
        check.identifier(self.device, "device")
        check.identifier(self.device_class, "device_class")
        check.identifier(self.tier, "tier")
        check.positive(self.cache_quota_mb, "cache_quota_mb")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise InvalidInput(
                f"unknown level {self.log_level!r}",
                key="log_level",
                remedy="one of: debug, info, warning, error",
            )
        for position, folder in enumerate(self.path):
            if not Path(folder).is_dir():
                raise InvalidInput(
                    f"{folder} is no folder",
                    key=f"path[{position}]",
                    remedy="name the folder that holds the operators' modules or packages",
                )


def _text(value: str, key: str) -> str:
    if not value or "\0" in value:
        raise InvalidInput("must not be empty", key=key)
    return value


def _port(value: int, key: str, *, lowest: int) -> None:
    if not lowest <= value <= 65535:
        raise InvalidInput(f"{value} is no port", key=key, remedy=f"{lowest} to 65535")
