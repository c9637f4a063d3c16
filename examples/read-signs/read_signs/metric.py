"""How well the signs that were read agree with those that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from read_signs.signs import squeeze

__all__ = ["sign_score"]


def sign_score(output: Any, label: Any) -> float:
    """F1 of the signs in `output` against those in `label`; 1 is best.

    Both are lists of signs, each a text or a map with the key ``sign``: a label may be written
    by hand, or be the output of the best config, in which case this is agreement with it. Order
    does not matter, nor do case, spaces and punctuation; the same sign twice counts twice.
    """
    found, wanted = _count(output), _count(label)
    total = found.total() + wanted.total()
    if total == 0:
        return 1.0  # nothing there, and nothing claimed
    return 2 * (found & wanted).total() / total


def _count(signs: Iterable[Any]) -> Counter[str]:
    texts = (s["sign"] if isinstance(s, Mapping) else s for s in signs)
    return Counter(squeeze(str(text)) for text in texts)
