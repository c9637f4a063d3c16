from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus.scenario import decode_scenario
from circinus_coordinator.demo import inputs
from circinus_coordinator.demo.classes import load_classes
from circinus_coordinator.demo.fleet import MACHINES, agent_flags, emulation_lines, fleet_file
from circinus_coordinator.demo.run import Options, run_demo


def test_the_fleet_file_is_a_scenario_with_the_catalogues_prices() -> None:
    catalogue = load_classes()
    fleet = decode_scenario(fleet_file(catalogue), name="fleet.yaml")
    for machine in MACHINES:
        assert fleet.device_classes[machine.device_class] == (
            catalogue[machine.device_class].device_class
        )
    assert len(fleet.links) == 3


def test_everything_emulated_is_said() -> None:
    catalogue = load_classes()
    text = "\n".join(emulation_lines(catalogue))
    assert "EMULATED" in text
    assert max(map(len, text.splitlines())) <= 80
    for machine in MACHINES:
        assert machine.id in text
        flags = agent_flags(machine, catalogue)
        assert flags.count("--link") == 2
        assert f"{flags[flags.index('--slowdown') + 1]}x slower" in text


def test_a_folder_serves_one_demo_at_a_time(tmp_path: Path) -> None:
    with (
        inputs.locked(tmp_path, fresh=False),
        pytest.raises(InvalidInput, match="another demo"),
        inputs.locked(tmp_path, fresh=False),
    ):
        pass


def test_fresh_removes_what_a_demo_made_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "ports.json").touch()
    (tmp_path / "mine.txt").touch()
    with inputs.locked(tmp_path, fresh=True):
        assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", ".lock"}


def test_pictures_of_ones_own_may_lack_labels(tmp_path: Path) -> None:
    (tmp_path / "a.JPG").touch()
    assert inputs.pictures(tmp_path, tmp_path) == (tmp_path.resolve(), False)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no pictures"):
        inputs.pictures(tmp_path, tmp_path)


def test_a_folder_that_is_not_there_is_refused_before_anything_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "check_extras", lambda: None)
    with pytest.raises(InvalidInput, match="there is no folder"):
        run_demo(Options(images=tmp_path / "none", data=tmp_path / "data"))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "data").exists()


def test_the_submission_takes_input_size_and_folder_from_the_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "my-pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"x" * 10)
    (folder / "b.jpg").write_bytes(b"x" * 20)
    (folder / "labels.json").write_text("{}")
    asked = inputs.submission(folder)
    (pipeline,) = asked.pipelines.values()
    assert list(pipeline.input_bytes.values()) == [15.0]
    assert pipeline.accuracy is not None
    assert pipeline.accuracy.dataset == "my-pictures"
    assert {query.input.path for query in asked.queries} == {"my-pictures"}
