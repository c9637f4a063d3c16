"""How the planner benchmark runs: judge, limits, files, command line."""

import contextlib
import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__ as front
from benchmarks import planner as benchmark
from benchmarks._planner import running, timebox
from benchmarks._planner.cases import cases, digest
from benchmarks._planner.judging import judge, play
from benchmarks._planner.options import OURS, Options
from benchmarks._planner.timebox import OutOfTime, time_box
from circinus.decision import Decision
from circinus.errors import NoData
from circinus.scenario import Scenario
from circinus_coordinator.cli import bench as command
from circinus_coordinator.cli.app import run
from circinus_coordinator.generation import generate
from circinus_coordinator.planning import PLANNERS, plan
from circinus_coordinator.planning.catalogue import Catalogue


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return generate(queries=6, devices=6, seed=3, contention=1.0)


@pytest.fixture(scope="module")
def decision(scenario: Scenario) -> Decision:
    return plan(scenario, planner="cheapest-first")


def test_the_judge_works_out_goodput_from_plans_and_not_from_claims(
    scenario: Scenario, decision: Decision
) -> None:
    found = judge(Catalogue(scenario), dataclasses.replace(decision, goodput_rps=1e9))
    assert found.goodput_rps == pytest.approx(decision.goodput_rps)
    assert (found.broken, found.overloaded) == (0, 0)
    assert found.usd_hour == pytest.approx(decision.deployment.total)


def test_the_judge_counts_nothing_on_overloaded_machines(
    scenario: Scenario, decision: Decision
) -> None:
    shrunk = dataclasses.replace(scenario, max_utilisation=0.01)
    found = judge(Catalogue(shrunk), decision)
    assert found.overloaded > 0
    assert found.goodput_rps < decision.goodput_rps


def test_the_judge_counts_no_more_of_a_query_than_there_is(
    scenario: Scenario, decision: Decision
) -> None:
    whole = judge(Catalogue(scenario), decision)
    assert whole.overserved == 0
    idle = dataclasses.replace(scenario, queueing=False, max_utilisation=1.0)
    name = min(whole.whole, key=lambda name: whole.whole[name].rate_rps)
    mine = [a for a in decision.assignments if a.query == name]
    found = judge(Catalogue(idle), dataclasses.replace(decision, assignments=(*mine, *mine)))
    assert found.overserved == 1
    assert found.good_rps == pytest.approx(whole.whole[name].rate_rps)


def test_whole_queries_are_those_with_all_their_traffic_good(
    scenario: Scenario, decision: Decision
) -> None:
    first = decision.assignments[0]
    mine = [a for a in decision.assignments if a.query == first.query]
    assert sum(a.share for a in mine) == pytest.approx(1)
    whole = judge(Catalogue(scenario), decision).whole
    usd = sum(a.share * a.estimate.cost_usd_per_1000 for a in mine) / 1000
    assert whole[first.query].usd == pytest.approx(usd)
    half = [dataclasses.replace(a, share=a.share / 2) for a in mine]
    found = judge(Catalogue(scenario), dataclasses.replace(decision, assignments=tuple(half)))
    assert first.query not in found.whole


def test_the_simulators_goodput_is_a_part_of_what_came(
    scenario: Scenario, decision: Decision
) -> None:
    some = play(scenario, decision, requests=500, seed=1)
    assert 0 < some.goodput <= 1
    nothing = play(scenario, Decision(planner="none"), requests=500, seed=1)
    assert (nothing.goodput, nothing.attainment) == (0, 1)
    empty = dataclasses.replace(scenario, queries=())
    assert play(empty, Decision(planner="none"), requests=500, seed=1).goodput == 0


def test_out_of_time_gets_past_those_who_handle_exceptions_and_clears_the_alarm() -> None:
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    before = signal.getsignal(signal.SIGPROF)
    with pytest.raises(OutOfTime), time_box(0.01):
        stubborn()
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert signal.getsignal(signal.SIGPROF) is before


def test_out_of_time_is_said_again_where_python_could_not_raise_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timebox, "_AGAIN_S", 0.02)
    done = []

    class Slow:
        def __del__(self) -> None:
            until = time.process_time() + 0.1
            while time.process_time() < until:
                pass
            done.append("never, the first alarm ends it")

    def tidies_up_too_long() -> None:
        slow = [Slow()]
        slow.clear()  # where an exception is lost, and would be a warning
        while True:
            slow.clear()

    hook = sys.unraisablehook
    with pytest.raises(OutOfTime), time_box(0.01):
        tidies_up_too_long()
    assert not done
    assert sys.unraisablehook is hook


def _bench(monkeypatch: pytest.MonkeyPatch, answer: Any, options: Options) -> Any:
    asked: list[tuple[str, int]] = []

    def planned(scenario: Scenario, *, planner: str, **_: object) -> Decision:
        asked.append((planner, len(scenario.queries)))
        found: Decision = answer(planner, len(scenario.queries))
        return found

    monkeypatch.setattr(running, "plan", planned)
    results = list(running.Bench(options, lambda _: None).run(cases(options)))
    return SimpleNamespace(results=results, asked=asked)


def test_who_took_too_long_is_not_asked_for_as_much_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(planner: str, queries: int) -> Decision:
        if planner == "exact" and queries >= 3:
            raise OutOfTime
        return Decision(planner=planner)

    options = Options(
        queries=3,
        seeds=2,
        contentions=(0.5,),
        sizes=(2, 4),
        planners=(OURS, "exact"),
        requests=1,
        time_limit_s=7,
    )
    done = _bench(monkeypatch, answer, options)
    assert [n for name, n in done.asked if name == "exact"] == [2, 3]
    statuses = [r.status for r in done.results if r.planner == "exact"]
    over = "not run: took over 7 s of CPU with 3 queries"
    assert statuses == ["ok", over, over, over]


def test_a_planner_that_declines_is_not_run_for_its_own_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(planner: str, _: int) -> Decision:
        raise NoData("there is nothing here")

    options = Options(queries=2, seeds=1, contentions=(0.5,), sizes=(), planners=("exact",))
    (only,) = _bench(monkeypatch, answer, options).results
    assert only.status == "not run: there is nothing here"
    assert not only.too_long


def test_only_ours_is_planned_again_with_the_decision_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = Options(queries=2, seeds=1, contentions=(0.5,), sizes=(), planners=(OURS, "exact"))
    done = _bench(monkeypatch, lambda name, _: Decision(planner=name), options)
    assert [name for name, _ in done.asked] == [OURS, OURS, "exact"]


@pytest.mark.timeout(900)
def test_the_quick_run_tells_of_every_planner_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--queries", "2", "--sizes", "1", "--requests", "500"]
    benchmark.main(["--quick", "--time-limit", "1", *small, "--out", str(tmp_path)])
    told = capsys.readouterr().out
    document = json.loads((tmp_path / "manifest.json").read_text())
    written = {path.name for path in tmp_path.iterdir()} - {"manifest.json"}
    assert set(document["files"]) == written
    assert {"goodput.png", "pareto.png", "time.png", "rows.csv", "pairs.csv"} <= written
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["planner"] for row in rows} == set(PLANNERS)
    assert all(row["status"] == "ok" or row["status"].startswith("not run: ") for row in rows)
    assert all(name in told for name in PLANNERS)
    assert len(rows) == len(PLANNERS) * len(document["scenarios"])
    with (tmp_path / "pairs.csv").open() as file:
        sizes = {row["queries"] for row in csv.DictReader(file)}
    assert sizes <= {str(s["generator"]["queries"]) for s in document["scenarios"]}
    for scenario in document["scenarios"]:
        assert digest(generate(**scenario["generator"])) == scenario["sha256"]


def _figures(folder: Path) -> list[dict[str, str]]:
    with (folder / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows]


def test_the_same_options_give_the_same_figures_but_for_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        options = ["--quick", "--sizes", "", "--planners", "cheapest-first", "--time-limit", "600"]
        benchmark.main(
            [*options, "--queries", "2", "--requests", "500", "--out", str(tmp_path / name)]
        )
    assert _figures(tmp_path / "one") == _figures(tmp_path / "two")


def test_a_folder_that_cannot_be_made_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert benchmark.main(["--quick", "--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err


def test_bench_passes_options_on_and_stays_in_the_users_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Sequence[str], dict[str, Any]]] = []

    def started(words: Sequence[str], **options: Any) -> SimpleNamespace:
        calls.append((words, options))
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(command.subprocess, "run", started)
    assert run(["bench", "planner", "--seeds", "3", "--out", "x", "--help"]) == 1
    ((words, options),) = calls
    assert list(words)[-6:] == ["planner", "--seeds", "3", "--out", "x", "--help"]
    assert "cwd" not in options


def test_the_checkouts_benchmarks_are_run_wherever_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__main__.py").write_text("raise SystemExit(77)")
    root = Path(__file__).resolve().parents[2]
    words = [command.sys.executable, "-c", command._START, str(root), "planner", "--help"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--contentions" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["planner", "simulator", "--seeds", "3"], "options go to one benchmark"),
        (["simulator", "--seeds", "3"], "takes no options"),
        (["nothing"], "no benchmark 'nothing'"),
    ],
)
def test_wrong_words_are_bad_input(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        front.main(words)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_among_all_benchmarks_the_brief_form_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []
    modules = {
        "benchmarks.planner": SimpleNamespace(
            BRIEF=("--quick",), main=lambda words: asked.append(words) or 1
        ),
        "benchmarks.simulator": SimpleNamespace(main=lambda: {"any": "figures"}),
    }
    monkeypatch.setattr(front.importlib, "import_module", modules.__getitem__)
    assert front.main(["simulator", "planner"]) == 1
    assert front.main(["planner"]) == 1
    assert asked == [("--quick",), []]
