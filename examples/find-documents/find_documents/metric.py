"""How high up the right note stands."""

from __future__ import annotations

from typing import Any

__all__ = ["reciprocal_rank"]


def reciprocal_rank(output: Any, label: Any) -> float:
    """1 for the first place, 1/2 for the second ..., 0 where it is not among the answers.

    A label is the id of the note, or the output of the best config, of which the first is meant.
    """
    wanted = label[0] if isinstance(label, list) else label
    return 1 / (1 + output.index(wanted)) if wanted in output else 0.0
