"""Quantised models are made once, whole, whoever asks and however many ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus.operator import Context

models = pytest.importorskip("read_signs.models")


RACER = """
import sys, time
from pathlib import Path
from read_signs.models import quantised

source, cache = Path(sys.argv[1]), Path(sys.argv[2])

def make_slowly(name, source, target):
    with (source.parent / "made").open("a") as log:
        log.write("x")
    target.write_bytes(b"half")
    time.sleep(0.5)
    target.write_bytes(b"half and half")

while not (source.parent / "go").exists():
    time.sleep(0.001)
assert quantised("detect", source, cache, make_slowly).read_bytes() == b"half and half"
"""


def make(name: str, source: Path, target: Path) -> None:
    target.write_bytes(b"int8")


def test_processes_that_race_share_one_model_and_never_see_half_of_it(
    tmp_path: Path, examples: Path
) -> None:
    source, cache = tmp_path / "model.onnx", tmp_path / "cache"
    source.write_bytes(b"model")
    command = [sys.executable, "-c", RACER, str(source), str(cache)]
    racers = [subprocess.Popen(command, cwd=examples / "read-signs") for _ in range(3)]
    (tmp_path / "go").touch()
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"


def test_a_maker_that_dies_leaves_nothing_that_looks_like_a_model(tmp_path: Path) -> None:
    source, cache = tmp_path / "model.onnx", tmp_path / "cache"
    source.write_bytes(b"model")

    def die(name: str, source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        models.quantised("detect", source, cache, die)
    assert not list(cache.rglob("*.onnx"))
    assert models.quantised("detect", source, cache, make).is_file()


def test_another_source_model_gets_a_file_of_its_own(tmp_path: Path) -> None:
    made = set()
    for content in (b"one", b"two"):
        source = tmp_path / "model.onnx"
        source.write_bytes(content)
        made.add(models.quantised("detect", source, tmp_path / "cache", make))
    assert len(made) == 2


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="fp32 or int8"):
        models.load_model("detect", "fp16", Context(cache_dir=str(tmp_path)))


def test_a_failed_quantisation_says_why(tmp_path: Path) -> None:
    source = tmp_path / "broken.onnx"
    source.write_bytes(b"no model")
    with pytest.raises(RuntimeError, match="model of detect could not be quantised: "):
        models.quantised("detect", source, tmp_path / "cache")
