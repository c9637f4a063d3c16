"""The list of known signs, and the nearest of them to a text as it was read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files

__all__ = ["edit_distance", "known_signs", "nearest_sign", "squeeze"]

# Of the letters of a known sign, at most this part may have been misread. Above it, different
# signs of the packaged list begin to be taken for one another.
TOLERANCE = 0.34


@cache
def known_signs() -> tuple[str, ...]:
    """The packaged list, in upper case."""
    text = files("read_signs").joinpath("signs.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@lru_cache(4096)
def squeeze(text: str) -> str:
    """`text` in upper case with letters and digits only: recognisers lose spaces and dots."""
    folded = unicodedata.normalize("NFKC", text).upper()
    return "".join(c for c in folded if c.isalnum())


def nearest_sign(text: str, signs: Sequence[str]) -> str | None:
    """The entry of `signs` nearest to `text`, or None if none is near; the first of equals."""
    read = squeeze(text)
    best, best_distance = None, 1_000_000
    for sign in signs:
        wanted = squeeze(sign)
        limit = int(TOLERANCE * len(wanted))
        if abs(len(wanted) - len(read)) > limit:
            continue
        distance = edit_distance(read, wanted)
        if distance <= limit and distance < best_distance:
            best, best_distance = sign, distance
    return best


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, char_a in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, char_b in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (char_a != char_b))
    return row[-1]
