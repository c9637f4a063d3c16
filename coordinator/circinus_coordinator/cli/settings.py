"""The coordinator's settings: one TOML file, mapped strictly onto `Settings`; flags win."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from circinus import _documents as documents
from circinus.errors import InvalidInput
from circinus_coordinator.daemon import Settings

# In the standard library from 3.11 on; not imported by name, or the type checker (3.10) would
# ask for stubs of the one and lines of the other.
tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

__all__ = ["load_settings"]

# Paths in the file are relative to the file.
PATHS = ("store", "fleet")
FLAGS = {"store": "--data", "fleet": "--fleet"}


def load_settings(file: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Read the settings.

    Args:
        file: The TOML file; None where flags say it all.
        overrides: Values that win over the file's.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    name = str(file) if file else None
    values = _read(file) if file else {}
    try:
        if file:
            for key in PATHS:
                if isinstance(values.get(key), str):
                    values[key] = str(file.absolute().parent / values[key])
        values.update({key: str(value) for key, value in overrides.items()})
        for key in PATHS:
            if key not in values:
                raise InvalidInput(
                    "is missing", key=key, remedy=f"give {FLAGS[key]}, or add it to --config FILE"
                )
        built: Settings = _build(Settings, values, "")
    except InvalidInput as error:
        raise error.within(file=name) from None
    return built


def _read(file: Path) -> dict[str, Any]:
    data = documents.read(file)
    try:
        values: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
        return values
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8 text (byte {error.start})", file=str(file)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"is not valid TOML: {error}", file=str(file)) from None


def _build(kind: Any, values: Any, prefix: str) -> Any:
    """An instance of the dataclass `kind`, with no key it does not know."""
    if not isinstance(values, dict):
        raise InvalidInput("must be a table", key=prefix, remedy=f"write [{prefix}]")
    types = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    made: dict[str, Any] = {}
    for key, value in values.items():
        where = f"{prefix}.{key}" if prefix else key
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise InvalidInput("unknown key", key=where, remedy=remedy)
        if dataclasses.is_dataclass(types[key]):
            made[key] = _build(types[key], value, where)
        elif types[key] is Path and isinstance(value, str):
            made[key] = Path(value).expanduser()
        else:
            made[key] = _converted(value, types[key], where)
    try:
        return kind(**made)
    except InvalidInput as error:
        raise error.within(key=prefix or None) from None


def _converted(value: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), key=where) from None
