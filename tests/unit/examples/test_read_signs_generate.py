"""Generated pictures are the same for the same seed, and labelled with what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

generate = pytest.importorskip("read_signs.generate")
np = pytest.importorskip("numpy")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        generate.generate(tmp_path / name, 3, seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_more_pictures_leave_the_first_as_they_were(tmp_path: Path) -> None:
    generate.generate(tmp_path / "few", 2, 7)
    generate.generate(tmp_path / "many", 4, 7)
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    assert {k: v for k, v in many.items() if k in few and k != "labels.json"} == {
        k: v for k, v in few.items() if k != "labels.json"
    }


def test_labels_name_every_picture_and_only_known_signs(tmp_path: Path) -> None:
    generate.generate(tmp_path, 5, 7)
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert set(labels) == {path.name for path in tmp_path.glob("*.jpg")}
    assert all(1 <= len(s) <= 3 and set(s) <= set(generate.known_signs()) for s in labels.values())


def test_signs_hang_inside_the_picture_and_some_upside_down() -> None:
    turned = 0
    for page in generate.pages(30, 7):
        assert page.image.shape == (480, 640, 3)
        assert page.quads.shape == (len(page.signs), 4, 2)
        assert np.all(page.quads >= 0)
        assert np.all(page.quads <= (640, 480))
        turned += int(np.sum(page.quads[:, 0, 0] > page.quads[:, 1, 0]))
    assert 3 < turned < 30
