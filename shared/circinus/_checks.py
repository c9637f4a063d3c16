"""Validation shared by the model's constructors; every failure is an `InvalidInput`."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable

from circinus.errors import InvalidInput

# Identifiers become MQTT topic levels, file names and URL parts, so none of `/ + # $` nor
# control characters, and no leading dot.
_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}")


def identifier(value: str, key: str) -> str:
    """`value`, if it may serve as topic level, file name and URL part."""
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidInput(
            f"{value!r} is not a valid name",
            key=key,
            remedy="use letters, digits and _ . : @ - (at most 128)",
        )
    return value


def positive(value: float, key: str) -> float:
    """`value`, if finite and above zero."""
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(f"must be a number above 0, not {value!r}", key=key)
    return value


def not_negative(value: float, key: str) -> float:
    """`value`, if finite and not below zero."""
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInput(f"must be a number of at least 0, not {value!r}", key=key)
    return value


def fraction(value: float, key: str) -> float:
    """`value`, if within 0 and 1."""
    if not 0 <= value <= 1:
        raise InvalidInput(f"must lie between 0 and 1, not {value!r}", key=key)
    return value


def unique(values: Iterable[Hashable], key: str, what: str) -> None:
    """Raise if a value comes twice."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise InvalidInput(f"{what} {value!r} comes twice", key=key, remedy="ids are unique")
        seen.add(value)
