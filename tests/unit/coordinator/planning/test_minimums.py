"""Minimum shares of tenants: kept where they can be, and said where they cannot."""

from __future__ import annotations

import pytest

from circinus.decision import decode_decision, encode_decision
from circinus.errors import InvalidInput
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.minimums import minimums

WEIGHTS = {"a": 1, "b": 2, "c": 9}
ALONE = 2 * 0.8 / 0.05  # requests per second that the only machine serves


@pytest.fixture
def shared(build, profile):
    """Queries of three tenants on one machine, each of which could fill it."""

    def make(least, *, many=15, rate_rps=12.0, queueing=False, **query):
        queries = [
            {
                "id": f"q{k}",
                "pipeline": "p",
                "source": "pi",
                "rate_rps": rate_rps * 15 / many,
                "tenant": name,
                "weight": WEIGHTS[name],
                "slo": {"latency_ms": 400},
                **query,
            }
            for k in range(many)
            for name in ["abc"[k % 3]]
        ]
        return build(
            queueing=queueing,
            devices=[{"id": "pi", "class": "small", "tier": "device"}],
            links=[],
            profiles=[profile("a", "small", 50)],
            queries=queries,
            tenants={name: {"min_share": share} for name, share in least.items()},
        )

    return make


def _shares(decision):
    return {told.tenant: told.share for told in decision.tenants}


def test_without_minimums_the_dearest_take_all(shared) -> None:
    decision = plan(shared({}))
    assert decision.tenants == ()
    assert decision.goodput_rps == pytest.approx(9 * ALONE)


@pytest.mark.parametrize("queueing", [False, True])
def test_minimums_are_kept_and_no_more(shared, queueing) -> None:
    decision = plan(shared({"a": 0.2, "b": 0.3}, queueing=queueing), effort=MaxIterations(2))
    assert _shares(decision) == pytest.approx({"a": 0.2, "b": 0.3}, rel=1e-3)
    assert all(told.kept and told.attainable for told in decision.tenants)
    left = 0.2 * 1 + 0.3 * 2 + 0.5 * 9
    assert decision.goodput_rps == pytest.approx(left * ALONE, rel=0.1 if queueing else 1e-3)
    assert decision.bound_rps == pytest.approx(9 * ALONE)


@pytest.mark.parametrize("splittable", [True, False])
def test_at_large_they_are_kept_as_well(shared, splittable) -> None:
    least = {"a": 0.2, "b": 0.3}
    decision = plan(shared(least, many=450, splittable=splittable))
    assert all(told.kept for told in decision.tenants)
    assert decision.goodput_rps >= (0.2 * 1 + 0.3 * 2 + 0.45 * 9) * ALONE


def test_of_copies_that_stay_whole_as_many_are_reserved_as_it_takes(shared) -> None:
    """Tenant a is to have 6.4 of 32 requests/s: 6 of its ten copies, of 1.2 requests/s each."""
    decision = plan(shared({"a": 0.2}, many=3, rate_rps=0.24, count=10, splittable=False))
    mine = sum(a.share for a in decision.assignments if a.query == "q0")
    assert mine == pytest.approx(0.6)
    assert decision.tenants[0].kept


def test_minimums_that_exclude_each_other_are_said_to(shared) -> None:
    decision = plan(shared({"a": 0.8, "b": 0.9}))
    told = {one.tenant: one for one in decision.tenants}
    assert told["b"].kept
    assert not told["a"].kept
    assert not told["a"].attainable
    assert "short of the 80.0% promised: no plan keeps it" in str(told["a"])


def test_a_tenant_without_queries_is_promised_nothing_it_lacks(shared) -> None:
    told = plan(shared({"nobody": 1.0})).tenants[0]
    assert (told.reach_rps, told.share, told.kept) == (0.0, 1.0, True)


def test_reach_is_what_a_tenant_has_alone(shared) -> None:
    found = minimums(market(Catalogue(shared({"a": 0.5, "c": 0.5}))))
    assert found.reach_rps == pytest.approx([ALONE, 9 * ALONE])
    assert found.missing_rps == pytest.approx([0, 0])


def test_the_tenants_come_back_from_a_file(shared) -> None:
    decision = plan(shared({"a": 0.2}))
    assert decode_decision(encode_decision(decision)).tenants == decision.tenants


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_part(shared, share) -> None:
    with pytest.raises(InvalidInput, match=r"tenants\.a\.min_share"):
        shared({"a": share})
