import subprocess
import sys
from pathlib import Path

import click
import pytest

from circinus_coordinator.cli import app
from circinus_coordinator.cli.app import COMMANDS, root, run

SCENARIO = """
circinus: 1
device_classes: {pi: {cores: 4, memory_mb: 1000}}
devices: [{id: pi-1, class: pi, tier: device}]
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_listed_exists_under_its_name(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.name == name


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_a_command_is_cut_nowhere(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = root.get_command(click.Context(root), name)
    if isinstance(command, click.Group):
        assert run([name, "--help"]) == 0
        assert "...\n" not in capsys.readouterr().out.partition("Commands:")[2]


def test_help_imports_no_command() -> None:
    heavy = "{'aiohttp', 'rich', 'numpy', 'sqlalchemy', 'highspy', 'yaml'}"
    script = (
        "import sys; from circinus_coordinator.cli.app import run; run(['--help']); "
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr.strip() == "[]"


def test_the_help_of_the_agent_calls_it_by_what_was_typed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "circinus_coordinator.cli", "agent", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.startswith("usage: circinus agent ")


def test_a_valid_scenario_is_counted(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "validate", str(scenario)]) == 0
    assert "1 device class, 1 device" in capsys.readouterr().out


def test_json_goes_to_standard_output_alone(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scenario", "validate", "--json", str(scenario)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("{")
    assert captured.err == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"circinus: 2\n", "version 2"),
        (b"circinus: 1\ndevces: []\n", "did you mean 'devices'"),
        (b"circinus: 1\ndevices: [{id: a, class: b, tier: c}]\n", "devices[0].class"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"circinus: [1\n", "not valid YAML"),
        (b"", "is empty"),
        (
            b"a: &a [x, x, x, x, x, x, x, x, x]\n"
            + b"".join(
                f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n".encode()
                for i in range(9)
            ),
            "anchors expand",
        ),
    ],
    ids=["version", "key", "reference", "encoding", "syntax", "empty", "bomb"],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, text: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    assert run(["scenario", "validate", str(path)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert str(path) in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_unknown_command_and_option_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve"]) == 2
    assert run(["scenario", "validate", "--jsn", "x"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_no_coordinator_is_no_result_and_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["devices", "ls", "--api", "127.0.0.1:1"]) == 1
    assert "circinus coordinator" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:0", "http://"])
def test_an_address_that_cannot_be_is_bad_input(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["devices", "ls", "--api", address]) == 2
    assert "is no address" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(app.root, "main", broken)
    with pytest.raises(KeyError):
        run(["plan"])


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app.root, "main", interrupted)
    assert run(["watch"]) == 130


def test_commands_of_later_releases_are_absent() -> None:
    assert not {"doctor", "device"} & set(COMMANDS)
    group = root.get_command(click.Context(root), "scenario")
    assert isinstance(group, click.Group)
    assert set(group.commands) == {"validate", "generate", "export"}
