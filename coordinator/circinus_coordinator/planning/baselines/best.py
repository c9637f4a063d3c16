"""Queries admitted in each of several orders, the best outcome kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from circinus_coordinator.planning.baselines.admission import Admission
from circinus_coordinator.planning.baselines.courses import Course
from circinus_coordinator.planning.baselines.orders import Footprint, Order, arranged
from circinus_coordinator.planning.baselines.report import Standing, judged
from circinus_coordinator.planning.catalogue import Catalogue

__all__ = ["HEADROOMS", "best_of", "better", "footprints"]

# See `Admission`. On 1,000 queries and 100 devices cheapest-first served 0.27, 0.40 and 0.53 of
# demand with 1, 0.85 and 0.7; with 100 queries and 50 devices most with 1.
HEADROOMS = (1.0, 0.7, 0.5)
# Above so many queries only the middle one is tried: a round takes minutes.
_FEW_QUERIES = 2000


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
        orders: To try, the first one in any case and with every headroom, the others with the
            headroom that served the first best.
        enough: True to try no more of them.
    """
    prints = footprints(courses)
    queries = [q for q in catalogue.scenario.queries if q.id in prints]
    evaluated = 0

    def admitted(order: Order, headroom: float) -> Standing:
        nonlocal evaluated
        admission = Admission(catalogue, headroom)
        for query in arranged(queries, order, prints):
            admission.serve(courses[query.id])
        evaluated += admission.evaluations
        return judged(catalogue, admission.admitted)

    headrooms = HEADROOMS if len(queries) <= _FEW_QUERIES else HEADROOMS[1:2]
    if not catalogue.scenario.queueing:
        headrooms = HEADROOMS[:1]
    best, headroom = admitted(orders[0], headrooms[0]), headrooms[0]
    for other in headrooms[1:]:
        if enough():
            break
        found = admitted(orders[0], other)
        if better(best, found) is found:
            best, headroom = found, other
    for order in orders[1:]:
        if enough():
            break
        best = better(best, admitted(order, headroom))
    return best, evaluated


def better(old: Standing, new: Standing) -> Standing:
    """The one of more goodput, or as much for less; the first of equals.

    Rounding in one does not decide over the other.
    """
    a, b = new[1], old[1]
    if abs(a.goodput_rps - b.goodput_rps) > 1e-9 * max(1.0, b.goodput_rps):
        return new if a.goodput_rps > b.goodput_rps else old
    return new if a.deployment.total < b.deployment.total * (1 - 1e-9) else old
