"""Queries admitted in each of several orders, the best outcome kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from circinus_coordinator.planning.baselines.admission import Admission, Course
from circinus_coordinator.planning.baselines.orders import Footprint, Order, arranged
from circinus_coordinator.planning.baselines.report import Standing, judged
from circinus_coordinator.planning.catalogue import Catalogue

__all__ = ["best_of", "better", "footprints"]


def footprints(courses: Mapping[str, Course]) -> dict[str, Footprint]:
    """What each query takes by its first choice; queries without a plan are left out."""
    return {
        name: Footprint(usd=float(course.entries.usd[0]), load=float(course.entries.load[0]))
        for name, course in courses.items()
        if len(course.entries)
    }


def best_of(
    catalogue: Catalogue,
    courses: Mapping[str, Course],
    orders: Sequence[Order],
    enough: Callable[[], bool],
) -> tuple[Standing, int]:
    """The best outcome by goodput, then cost, and the plans evaluated in all orders.

    Args:
        catalogue: Compiled queries.
        courses: By query.
        orders: To try, the first one in any case.
        enough: True to try no more of them.
    """
    prints = footprints(courses)
    queries = [q for q in catalogue.scenario.queries if q.id in prints]
    best: Standing | None = None
    evaluated = 0
    for order in orders:
        admission = Admission(catalogue)
        for query in arranged(queries, order, prints):
            admission.serve(courses[query.id])
        evaluated += admission.evaluations
        stands = judged(catalogue, admission.admitted)
        best = stands if best is None else better(best, stands)
        if enough():
            break
    assert best is not None
    return best, evaluated


def better(old: Standing, new: Standing) -> Standing:
    """The one of more goodput, or as much for less; the first of equals.

    Rounding in one does not decide over the other.
    """
    a, b = new[1], old[1]
    if abs(a.goodput_rps - b.goodput_rps) > 1e-9 * max(1.0, b.goodput_rps):
        return new if a.goodput_rps > b.goodput_rps else old
    return new if a.deployment.total < b.deployment.total * (1 - 1e-9) else old
