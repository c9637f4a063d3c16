"""The profiler benchmark: its measured table, the worlds made of it, and its options."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import profiler
from benchmarks._profiler import measure
from benchmarks._profiler.generated import generated
from benchmarks._profiler.measured import Measured, measured
from benchmarks._profiler.table import DATA, load
from benchmarks._profiler.world import CLASSES

HELLO = Path(__file__).parents[2] / "examples" / "hello"


@pytest.fixture(scope="module")
def world() -> Measured:
    return measured(3, load(DATA / "read-signs"))


@pytest.mark.parametrize(
    ("name", "vectors", "nodes", "best"),
    [
        ("read-signs", 72, 3 + 18 + 36 + 72 + 72, 0.85),
        ("find-documents", 81, 3 + 9 + 27 + 81, 0.75),
    ],
)
def test_a_shipped_table_has_every_config_vector_and_says_on_what(
    name: str, vectors: int, nodes: int, best: float
) -> None:
    table = load(DATA / name)
    assert table.scores.shape == (vectors, 500)
    assert table.latency_ms.shape == (nodes, 500)
    assert table.manifest["machine"]["packages"]["onnxruntime"]
    assert best < table.scores[(table.configs == 0).all(axis=1)].mean() <= 1


def test_operators_of_read_signs_had_their_core_for_themselves() -> None:
    table = load(DATA / "read-signs")
    assert table.latency_ms.mean() == pytest.approx(table.core_ms.mean(), rel=0.005)


def test_calls_of_find_documents_cost_what_the_operator_asks_for_them() -> None:
    table = load(DATA / "find-documents")
    calls = np.array([5, 2, 0])[table.configs[:, -1]]
    assert np.allclose(table.price_usd[table.paths].sum(axis=1).mean(axis=1), 2e-4 * calls)


def hello(target: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert measure.main([str(HELLO / "hello.yaml"), str(HELLO / "texts"), str(target), *more]) == 0


def test_a_chain_is_measured_into_a_table_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello(tmp_path / "hello", monkeypatch)
    table = load(tmp_path / "hello")
    assert table.configs.tolist() == [[0, 0], [0, 1]]
    assert table.paths.tolist() == [[0, 1], [0, 2]]  # the common beginning ran once
    assert table.scores[0].tolist() == [1.0, 1.0, 1.0]
    assert (table.scores[1] < 0.9).all()


def test_a_table_that_lacks_a_vector_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello(tmp_path / "part", monkeypatch, "--vectors", "1")
    with pytest.raises(ValueError, match="1 of 2 config vectors"):
        load(tmp_path / "part")


def test_a_stream_replays_blocks_in_the_order_they_were_taken(world: Measured) -> None:
    part = len(CLASSES) - 1  # the first operator on the measured machine itself
    stream, _ = world.part_samples(0, part, 0, 200)
    more, _ = world.part_samples(0, part, 40, 300)
    assert (stream[40:] == more[:160]).all()
    blocks = world.table.latency_ms[world.nodes[part]].reshape(-1, world.table.block)
    for block in stream.reshape(-1, world.table.block):
        assert (blocks == block).all(axis=1).any()


def test_a_plan_runs_all_its_operators_on_the_same_inputs(world: Measured) -> None:
    plan = int(np.flatnonzero((world.menu.vector == 0) & (world.places == 2).all(axis=1))[0])
    together = world.plan_ms(0, plan, 0, 100)
    for k, part in enumerate(world.menu.parts[plan].tolist()):
        assert (together[k] == world.part_samples(0, part, 0, 100)[0]).all()


def test_a_slower_machine_is_the_measured_one_times_a_factor(world: Measured) -> None:
    slow, _ = world.part_samples(0, 0, 0, 50)
    fast, _ = world.part_samples(0, 2, 0, 50)
    assert np.median(slow / fast) == pytest.approx(world.factors[0], rel=0.01)


def test_time_spent_waiting_is_the_same_on_a_slower_machine() -> None:
    world = measured(3, load(DATA / "find-documents"))
    judge = len(world.nodes) - len(world.factors) * 3  # the first config of the last operator
    slow, _ = world.part_samples(0, judge, 0, 50)
    fast, _ = world.part_samples(0, judge + 2, 0, 50)
    assert fast.mean() < slow.mean() < fast.mean() + 10


def test_what_is_true_of_a_plan_is_its_whole_table(world: Measured) -> None:
    for plan in range(0, len(world.plan_usd), 97):
        at = float(world.usual_ms[plan])
        assert world.in_time(plan, at) == pytest.approx(0.95, abs=0.003)


def test_samples_of_a_generated_world_are_the_same_every_time() -> None:
    one, two = (generated(1).plan_ms(0, 5, 3, 9) for _ in range(2))
    assert one.shape == (generated(1).menu.parts.shape[1], 6)
    assert (one == two).all()


@pytest.mark.parametrize(
    "options",
    [
        ["--queries", "0"],
        ["--workers", "0"],
        ["--seeds", "-1"],
        ["--worlds", "mars"],
        ["--json", "no/such/folder/rows.json"],
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_runs(options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        profiler.main(options)
    assert stopped.value.code == 2


def test_rows_of_all_families_of_worlds_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.json"
    options = ["--seeds", "1", "--queries", "1", "--large-seeds", "0", "--workers", "1"]
    assert profiler.main([*options, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    assert {row["worlds"] for row in rows} == {"generated", "read-signs", "find-documents"}
    assert all(row["device_s"] > 0 for row in rows)
    assert "1 read-signs worlds" in capsys.readouterr().out
