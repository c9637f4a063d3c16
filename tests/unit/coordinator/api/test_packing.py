import io
import tarfile
from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus.scenario import Submission, decode_submission
from circinus_coordinator.api.packing import pack, with_artifacts


def folder(root: Path, name: str = "inputs") -> Path:
    target = root / name
    (target / "sub").mkdir(parents=True)
    (target / "b.txt").write_text("b")
    (target / "sub" / "a.txt").write_text("a")
    return target


def submission(dataset: str, inputs: str) -> Submission:
    return decode_submission(
        f"""
circinus: 1
pipelines:
  p:
    operators: {{a: {{}}}}
    input_bytes: 1
    accuracy: {{dataset: {dataset}, metric: "m:f"}}
queries:
  - {{id: q, pipeline: p, source: d, rate_rps: 1, input: {{kind: folder, path: {inputs}}}}}
""".encode(),
        name="s.yaml",
    )


def test_the_same_files_pack_into_the_same_bytes(tmp_path: Path) -> None:
    first, second = folder(tmp_path, "one"), folder(tmp_path, "two")
    (second / "b.txt").touch()
    assert pack(first) == pack(second)


def test_an_archive_holds_every_file_under_its_relative_name(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(folder(tmp_path)))) as archive:
        assert archive.getnames() == ["b.txt", "sub/a.txt"]


def test_a_relative_folder_becomes_an_artifact_packed_once(tmp_path: Path) -> None:
    folder(tmp_path)
    stored: list[bytes] = []

    def put(data: bytes) -> str:
        stored.append(data)
        return "ab" * 32

    packed = with_artifacts(submission("inputs", "./inputs"), tmp_path, put)
    assert len(stored) == 1
    assert packed.queries[0].input.path == "sha256:" + "ab" * 32
    task = packed.pipelines["p"].accuracy
    assert task is not None
    assert task.dataset == "sha256:" + "ab" * 32


def test_an_absolute_folder_and_an_artifact_stay(tmp_path: Path) -> None:
    given = submission("sha256:" + "cd" * 32, "/on/the/device")
    assert with_artifacts(given, tmp_path, lambda _: "") == given


def test_a_missing_folder_is_named_with_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        with_artifacts(submission("nowhere", "/x"), tmp_path, lambda _: "", name="s.yaml")
    assert (caught.value.file, caught.value.key) == ("s.yaml", "pipelines.p.accuracy.dataset")
