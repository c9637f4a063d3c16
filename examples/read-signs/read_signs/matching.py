"""The last operator of the pipeline. It sees text only, so its process loads no image library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from circinus.operator import Operator
from read_signs.signs import known_signs, nearest_sign, squeeze

__all__ = ["Match"]


class Match(Operator):
    """List of lines -> list of signs: ``sign``, ``known``, ``text``, ``score``, ``box``.

    A line near no known sign stays what was read, if it was read with some certainty.
    """

    MIN_SCORE = 0.5
    MIN_LETTERS = 2

    def process(self, batch: Sequence[list[dict[str, Any]]]) -> Sequence[Any]:
        return [[sign for line in lines if (sign := self._match(line))] for lines in batch]

    def _match(self, line: dict[str, Any]) -> dict[str, Any] | None:
        text = line["text"]
        known = nearest_sign(text, known_signs())
        if known is None and (
            line["score"] < self.MIN_SCORE or len(squeeze(text)) < self.MIN_LETTERS
        ):
            return None
        return {**line, "sign": known or text.strip(), "known": known is not None}
