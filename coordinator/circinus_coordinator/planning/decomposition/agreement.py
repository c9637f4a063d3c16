"""What sources have agreed on before any machines are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.sources import Piece

__all__ = ["Agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Plans of whole queries that pools hold together.

    Attributes:
        pieces: What is served, and how.
        decided: `(units,)` whose demand this is all of; others were not asked.
    """

    pieces: Sequence[Piece] = ()
    decided: npt.NDArray[np.bool_]
