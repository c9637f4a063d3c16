"""What benchmarks ask of the values of their options: each is a ``type=`` of argparse."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["at_least", "file_to_write", "fraction", "part", "positive", "several"]


def at_least(least: int) -> Callable[[str], int]:
    """A whole number that is not below `least`."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {least}, not {text!r}")
        return value

    return integer


def fraction(text: str) -> float:
    """Above 0 and at most 1."""
    if not 0 < _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text!r}")
    return float(text)


def part(text: str) -> float:
    """From 0 to 1."""
    if not 0 <= _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {text!r}")
    return float(text)


def positive(text: str) -> float:
    """Above 0, and not infinite."""
    if not 0 < _number(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text!r}")
    return float(text)


def several(one: Callable[[str], Any], *, empty: bool = False) -> Callable[[str], tuple[Any, ...]]:
    """Values of one kind with commas between, the same twice once; none only if `empty`."""

    def values(text: str) -> tuple[Any, ...]:
        if not text and empty:
            return ()
        return tuple(dict.fromkeys(one(word.strip()) for word in text.split(",")))

    return values


def file_to_write(text: str) -> Path:
    """A file that can be written: found out before a long run and not after it.

    What is there stays as it is; a file that is not there is made.
    """
    path = Path(text)
    try:
        path.open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: {error.strerror}") from None
    return path


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
