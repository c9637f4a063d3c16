from __future__ import annotations

import json
from pathlib import Path

import pytest

from circinus import codec
from circinus.errors import InvalidInput
from circinus_agent.runtime.folder import Arrivals, load_folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_files_come_sorted_over_and_over_with_their_labels(tmp_path: Path) -> None:
    labels = json.dumps({"a": ["STOP"]}).encode()
    write(tmp_path, {"b": b"2", "a": b"1", ".hidden": b"", "labels.json": labels})
    folder = load_folder(tmp_path, "decode")
    taken = [folder.take() for _ in range(3)]
    assert [t.name for t in taken] == ["a", "b", "a"]
    assert codec.loads(taken[0].payload) == b"1"
    assert taken[0].label is not None
    assert codec.loads(taken[0].label) == ["STOP"]
    assert taken[1].label is None


def test_a_source_operator_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "left", {"x": b"L"})
    write(tmp_path, {"y": b"R"})
    assert [load_folder(tmp_path, s).take().name for s in ("left", "right")] == ["x", "y"]


def test_what_does_not_fit_in_memory_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {name: bytes(40) for name in "abc"})
    assert [i.name for i in load_folder(tmp_path, "s", max_bytes=100).inputs] == ["a", "b"]


@pytest.mark.parametrize(
    "files", [{}, {"labels.json": b"{}"}, {"a": b"", "labels.json": b"[1]"}, {"labels.json": b"{"}]
)
def test_an_unusable_folder_is_invalid_input(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path / "in", files)
    with pytest.raises(InvalidInput):
        load_folder(tmp_path / "in", "s")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere"):
        load_folder(tmp_path / "nowhere", "s")


def test_poisson_gaps_have_the_mean_and_depend_on_the_name_alone() -> None:
    def gaps(name: str) -> list[float]:
        arrivals = Arrivals("poisson", name)
        return [arrivals.gap(50.0) for _ in range(4000)]

    assert sum(gaps("q1")) / 4000 == pytest.approx(0.02, rel=0.05)
    assert gaps("q1") == gaps("q1") != gaps("q2")


def test_uniform_gaps_are_all_the_same() -> None:
    assert {Arrivals("uniform", "q").gap(4.0) for _ in range(5)} == {0.25}
