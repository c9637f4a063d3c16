"""Settings of an agent: one TOML file, overridden by flags, mapped onto a frozen dataclass."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from circinus import _checks as check
from circinus.errors import InvalidInput

if TYPE_CHECKING:
    from circinus.messages import Emulation

__all__ = [
    "AgentConfig",
    "BrokerConfig",
    "DataPlaneConfig",
    "EmulatedLink",
    "EmulationConfig",
    "load_config",
]

T = TypeVar("T")

# A settings file is a page of text; anything larger is a mistake, not settings.
MAX_CONFIG_BYTES = 1 << 20
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


def load_config(file: str | Path | None, overrides: Mapping[str, Any] | None = None) -> AgentConfig:
    """Read the settings.

    Args:
        file: The TOML file; None where flags say it all.
        overrides: Values that win over the file's, by dotted key (``broker.port``); None values
            are left out. `path` adds to the file's list.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    name = str(file) if file is not None else None
    document = _read(Path(file)) if file is not None else {}
    base = Path(file).resolve().parent if file is not None else Path.cwd()
    try:
        if isinstance(document.get("path"), list):
            document["path"] = [_below(base, entry) for entry in document["path"]]
        if isinstance(document.get("state_dir"), str):
            document["state_dir"] = _below(base, document["state_dir"])
        for key, value in (overrides or {}).items():
            if value is not None:
                _put(document, key, value)
        for key in ("device", "device_class", "tier", "state_dir"):
            if key not in document:
                raise InvalidInput(
                    "is missing",
                    key=key,
                    remedy=f"add it to the file or give --{_FLAGS[key]}",
                )
        return _agent(document)
    except InvalidInput as error:
        raise error.within(file=name) from None


_FLAGS = {"device": "device", "device_class": "class", "tier": "tier", "state_dir": "state"}


def _read(file: Path) -> dict[str, Any]:
    # In the standard library from 3.11 on; tomli is the same code before.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}", file=str(file), remedy="check --config"
        ) from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise InvalidInput("is too large for settings", file=str(file), remedy="check --config")
    try:
        return dict(toml.loads(raw.decode()))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"is not UTF-8 (byte {error.start})", file=str(file), remedy="save it as UTF-8"
        ) from None
    except (toml.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"is not TOML: {error}", file=str(file), remedy="see devices/ for examples"
        ) from None


def _put(document: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a value; lists are added to, so that flags extend the file's."""
    *tables, leaf = dotted.split(".")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise InvalidInput("must be a table", key=table, remedy=f"write [{table}]")
    if isinstance(value, (list, tuple)) and isinstance(document.get(leaf), list):
        document[leaf] = [*document[leaf], *value]
    else:
        document[leaf] = value


def _below(base: Path, entry: Any) -> Any:
    """Paths in a file are relative to the file, as users expect them."""
    return str(base / Path(entry).expanduser()) if isinstance(entry, str) else entry


def _agent(document: dict[str, Any]) -> AgentConfig:
    values = dict(document)
    if "broker" in values:
        values["broker"] = _part(BrokerConfig, values["broker"], "broker")
    if "data_plane" in values:
        values["data_plane"] = _part(DataPlaneConfig, values["data_plane"], "data_plane")
    if "emulate" in values:
        emulate = _table(values["emulate"], "emulate")
        if "links" in emulate:
            emulate["links"] = tuple(
                _part(EmulatedLink, link, f"emulate.links[{position}]")
                for position, link in enumerate(_list(emulate["links"], "emulate.links"))
            )
        values["emulate"] = _part(EmulationConfig, emulate, "emulate")
    if "path" in values:
        values["path"] = tuple(_list(values["path"], "path"))
    if "state_dir" in values:
        values["state_dir"] = Path(_text(str(values["state_dir"]), "state_dir")).expanduser()
    return _part(AgentConfig, values, None)


def _part(cls: Callable[..., T], document: Any, key: str | None) -> T:
    """Build `cls` from a table, refusing unknown keys and wrong types."""
    values = _table(document, key or "")
    known = {f.name: str(f.type) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name, value in values.items():
        where = f"{key}.{name}" if key else name
        if name not in known:
            raise InvalidInput("is no setting", key=where, remedy=f"known: {', '.join(known)}")
        _typed(value, known[name], where)
    try:
        return cls(**values)
    except InvalidInput as error:
        raise error.within(key=key) from None


def _typed(value: Any, annotation: str, where: str) -> None:
    """Check scalars by their annotation; nested values were checked when they were built."""
    wanted = annotation.partition(" | ")[0]
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    if wanted == "bool" and not isinstance(value, bool):
        raise InvalidInput(f"must be true or false, not {value!r}", key=where)
    if wanted in kinds and (isinstance(value, bool) or not isinstance(value, kinds[wanted])):
        names = {"str": "text in quotes", "int": "a whole number", "float": "a number"}
        raise InvalidInput(f"must be {names[wanted]}, not {value!r}", key=where)
    if annotation == "tuple[str, ...]" and not all(isinstance(item, str) for item in value):
        raise InvalidInput("must be a list of texts in quotes", key=where)


def _table(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput("must be a table", key=key, remedy=f"write [{key}]")
    return dict(value)


def _list(value: Any, key: str) -> Iterable[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("must be a list", key=key)
    return value


def _text(value: str, key: str) -> str:
    if not value or "\0" in value:
        raise InvalidInput("must not be empty", key=key)
    return value


def _port(value: int, key: str, *, lowest: int) -> None:
    if not lowest <= value <= 65535:
        raise InvalidInput(f"{value} is no port", key=key, remedy=f"{lowest} to 65535")
