"""Settings from one TOML file, overridden by flags; errors name file, key and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from circinus.errors import InvalidInput
from circinus_agent.config.settings import (
    AgentConfig,
    BrokerConfig,
    DataPlaneConfig,
    EmulatedLink,
    EmulationConfig,
    RuntimeConfig,
)

__all__ = ["load_config"]

T = TypeVar("T")

# A settings file is a page of text; anything larger is a mistake, not settings.
MAX_CONFIG_BYTES = 1 << 20


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
        return _agent(document)
    except InvalidInput as error:
        raise error.within(file=name) from None


# The settings without a default, with their flags.
_FLAGS = {"device": "device", "device_class": "class", "tier": "tier", "state_dir": "state"}

# What one might write in the file who knows the flags.
_MEANT = {
    "class": "device_class",
    "state": "state_dir",
    "listen": "data_plane.host and data_plane.port",
    "endpoint": "data_plane.endpoint",
    "hang_timeout": "runtime.hang_timeout_s",
    "slowdown": "emulate.slowdown",
    "cores": "emulate.cores",
    "memory_mb": "emulate.memory_mb",
    "link": "emulate.links",
    "links": "emulate.links",
}


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
            f"is not TOML: {error}", file=str(file), remedy="docs/agent.md shows every key"
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
    _known(AgentConfig, values, None)  # before what is missing: it may be there, misspelt
    if "broker" in values:
        values["broker"] = _part(BrokerConfig, values["broker"], "broker")
    if "data_plane" in values:
        values["data_plane"] = _part(DataPlaneConfig, values["data_plane"], "data_plane")
    if "runtime" in values:
        values["runtime"] = _part(RuntimeConfig, values["runtime"], "runtime")
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
        folder = values["state_dir"]
        if not isinstance(folder, str) or not folder:
            raise InvalidInput(f"must be a folder in quotes, not {folder!r}", key="state_dir")
        values["state_dir"] = Path(folder).expanduser()
    for key, flag in _FLAGS.items():
        if key not in values:
            raise InvalidInput("is missing", key=key, remedy=f"add it to the file or give --{flag}")
    return _part(AgentConfig, values, None)


def _part(cls: Callable[..., T], document: Any, key: str | None) -> T:
    """Build `cls` from a table, refusing unknown keys and wrong types."""
    values = _table(document, key or "")
    known = _known(cls, values, key)
    for name, value in values.items():
        _typed(value, known[name], f"{key}.{name}" if key else name)
    try:
        return cls(**values)
    except InvalidInput as error:
        raise error.within(key=key) from None


def _known(cls: Callable[..., T], values: Mapping[str, Any], key: str | None) -> dict[str, str]:
    """The annotations of the settings of `cls`; a key that is none of them is refused."""
    known = {f.name: str(f.type) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name in known:
            continue
        word = name.replace("-", "_")
        close = difflib.get_close_matches(word, known, 1)
        meant = _MEANT.get(word) if key is None else None
        meant = meant or (close[0] if close else None)
        raise InvalidInput(
            "is no setting",
            key=f"{key}.{name}" if key else name,
            remedy=f"did you mean {meant}?" if meant else f"known: {', '.join(known)}",
        )
    return known


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
