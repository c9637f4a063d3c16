"""What a query may choose from at its turn, and what is said of a choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.query import Query
from circinus_coordinator.planning.baselines.entries import Entries
from circinus_coordinator.planning.baselines.loaded import Ways
from circinus_coordinator.planning.baselines.tables import Table
from circinus_coordinator.planning.baselines.views import View

__all__ = ["Course", "Probe"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a query may choose from: its class's entries, and who its slots are.

    Attributes:
        needs: `(entries, slots, resources)` seconds per request.
        ways: For estimates at present loads; None where nothing waits.
    """

    query: Query
    table: Table
    view: View
    entries: Entries
    needs: FloatArray
    ways: Ways | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How a plan would do with what is left.

    Attributes:
        fits: It keeps all SLOs and overloads nothing; neighbours are not asked.
        share: Of the query's traffic, with which it was tried last.
        taken: By a request per second, of what is left of machines and links: parts of each,
            added up.
        latency_ms: At the SLO's percentile and the loads it brings.
        overload: Part of the worst resource's capacity that is lacking.
    """

    fits: bool
    latency_ms: float
    overload: float
    share: float
    taken: float
