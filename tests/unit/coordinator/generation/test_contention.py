"""The estimate of what fits, and the tables and SLOs it stands on."""

import numpy as np
import pytest

from circinus_coordinator.generation.contention import Group, fraction, plan_uses, scale_for
from circinus_coordinator.generation.families import FAMILIES
from circinus_coordinator.generation.fleet import TIERS, WIFI, build_fleet
from circinus_coordinator.generation.machines import MACHINES, apportion
from circinus_coordinator.generation.profiles import operator_figures
from circinus_coordinator.generation.reference import Path, Plans, Reference
from circinus_coordinator.generation.slos import TEMPLATES, draw_slo
from circinus_coordinator.generation.tables import MAX_ROWS, NOISE, AccuracyTable, accuracy_table
from circinus_coordinator.generation.templates import PipelineTemplate

CLASSES = ("raspberry-pi-5", "edge-server-gpu", "cloud-vm-large")


def tables(seed: int = 1) -> list[tuple[PipelineTemplate, AccuracyTable]]:
    return [
        (p, accuracy_table(p, [operator_figures(f.by_name[n], CLASSES, seed) for n in p.needs], 1))
        for f in FAMILIES.values()
        for p in f.pipelines
    ]


def test_one_pool_is_filled_by_worth() -> None:
    """Weights 3 and 1, each asks for the whole pool: 3 of 4 fit, by hand."""
    groups = [
        Group(rate_rps=10, weight=3, uses=np.array([[0.1]])),
        Group(rate_rps=10, weight=1, uses=np.array([[0.1]])),
    ]
    assert fraction(groups, 1.0) == pytest.approx(0.75, abs=0.01)


def test_plans_on_different_pools_add_up() -> None:
    groups = [Group(rate_rps=40, weight=1, uses=np.array([[0.1, 0.0], [0.0, 0.05]]))]
    assert fraction(groups, 1.0) == pytest.approx(30 / 40, abs=0.03)


def test_the_scale_gives_the_contention_asked_for() -> None:
    groups = [Group(rate_rps=5, weight=w, uses=np.array([[0.1, 0.02 * w]])) for w in (1, 2, 5)]
    for contention in (0.2, 0.5, 0.8):
        assert fraction(groups, scale_for(groups, contention)) == pytest.approx(
            contention, abs=0.02
        )


def test_demand_without_any_plan_does_not_count() -> None:
    groups = [
        Group(rate_rps=10, weight=1, uses=np.array([[0.2]])),
        Group(rate_rps=1000, weight=1, uses=np.zeros((0, 1))),
    ]
    assert fraction(groups, 1.0) == pytest.approx(0.5, abs=0.01)
    assert scale_for(groups[1:], 0.5) == 1.0


def test_accuracy_never_rises_with_losses_beyond_the_noise() -> None:
    for _, table in tables():
        losses = np.stack(
            [op.loss[table.vectors[:, k]] for k, op in enumerate(table.operators)], axis=1
        )
        best = np.argmax(table.mean)
        for other in range(len(table.mean)):
            better = (losses[other] <= losses).all(axis=1)
            assert (table.mean[other] >= table.mean[better] - 6 * NOISE - 1e-3).all()
        assert table.mean[best] > 0.8


def test_tables_are_bounded_also_with_neutral_knobs_spelled_out() -> None:
    for _, table in tables():
        spelled = 1
        for op in table.operators:
            spelled *= int(np.bincount(op.first).max())
        assert 100 <= len(table.mean) <= MAX_ROWS
        assert len(table.mean) * spelled <= 2000


def test_every_config_was_measured_at_least_three_times() -> None:
    for _, table in tables():
        for k, op in enumerate(table.operators):
            counts = np.bincount(table.vectors[:, k], minlength=len(op.configs))
            assert counts[~op.neutral].min() >= 3


@pytest.mark.parametrize("tightness", [0.0, 0.5, 1.0])
def test_the_usual_source_can_meet_every_slo(tightness: float) -> None:
    fleet = build_fleet(50, TIERS[3], 1, None)
    machines = {n: MACHINES[n].device_class("usage") for c in fleet.classes.values() for n in c}  # type: ignore[arg-type]
    reference = Reference(fleet.tiers, fleet.classes, machines, queueing=True)
    for family in FAMILIES.values():
        figures = {op.name: operator_figures(op, tuple(machines), 1) for op in family.operators}
        for pipeline in family.pipelines:
            table = accuracy_table(pipeline, [figures[name] for name in pipeline.needs], 1)
            path = Path(device_class="raspberry-pi-5", access=WIFI)
            plans = reference.plans(pipeline, table, path)
            for template in TEMPLATES:
                slo = draw_slo(template, plans, tightness)
                cap = slo.cost_usd_per_1000
                assert plans.feasible(
                    slo.percentile, slo.latency_ms, slo.accuracy, None if cap is None else cap / 1e3
                ).any()


def test_apportioned_numbers_sum_up() -> None:
    assert apportion(10, (0.5, 0.3, 0.2)) == [5, 3, 2]
    assert apportion(3, (0.8, 0.14, 0.06), least=1) == [1, 1, 1]
    assert sum(apportion(7, (1, 1, 1))) == 7


def test_only_plans_that_others_undercut_are_left_out() -> None:
    one, two = ("cores", "edge", "a"), ("cores", "cloud", "b")
    plans = Plans(
        latency_ms={95.0: np.ones((4, 1))},
        usd=np.array([[1.0], [2.0], [3.0], [4.0]]),
        accuracy=np.ones(1),
        uses={
            one: np.array([[4.0], [1.0], [5.0], [4.0]]),
            two: np.array([[1.0], [4.0], [1.0], [1.0]]),
        },
    )
    kept = plan_uses(plans, np.ones((4, 1), dtype=bool), {one: 10.0, two: 100.0})
    assert kept.tolist() == [[0.4, 0.01], [0.1, 0.04]]
