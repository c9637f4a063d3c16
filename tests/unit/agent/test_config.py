from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from circinus.errors import InvalidInput
from circinus_agent.capabilities import Software, read_hardware
from circinus_agent.cli import build_parser, main, overrides
from circinus_agent.config import AgentConfig, EmulatedLink, load_config
from circinus_agent.daemon.agent import Agent
from circinus_agent.state import StateFolder

toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
ROOT = Path(__file__).parents[3]

FULL = """
device = "pi-1"
device_class = "raspberry-pi-5"
tier = "device"
state_dir = "state"
cache_quota_mb = 500
path = ["operators"]
log_level = "warning"
[broker]
host = "10.0.0.2"
port = 8883
[data_plane]
host = "0.0.0.0"
port = 7401
endpoint = "ws://10.0.0.1:7401"
[runtime]
hang_timeout_s = 90
[emulate]
slowdown = 4
cores = 2
memory_mb = 1000
[[emulate.links]]
peer = "edge-1"
rtt_ms = 20
bandwidth_mbps = 50
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "operators").mkdir()
    made = tmp_path / "agent.toml"
    made.write_text(FULL)
    return made


def load(*arguments: str) -> AgentConfig:
    parsed = build_parser().parse_args(arguments)
    return load_config(parsed.config, overrides(parsed))


def flags(tmp_path: Path, *more: str) -> list[str]:
    return ["--device", "d", "--class", "c", "--tier", "t", "--state", str(tmp_path), *more]


def test_every_key_of_the_file_is_taken(file: Path) -> None:
    config = load("--config", str(file))
    assert (config.device, config.device_class, config.tier) == ("pi-1", "raspberry-pi-5", "device")
    assert (config.broker.host, config.broker.port) == ("10.0.0.2", 8883)
    assert config.data_plane.endpoint == "ws://10.0.0.1:7401"
    assert config.runtime.hang_timeout_s == 90
    assert config.emulate.slowdown == 4
    assert config.emulate.links == (EmulatedLink(peer="edge-1", rtt_ms=20, bandwidth_mbps=50),)
    assert (config.cache_quota_mb, config.log_level) == (500, "warning")


def test_folders_in_the_file_are_relative_to_the_file(file: Path) -> None:
    config = load("--config", str(file))
    assert config.state_dir == file.parent / "state"
    assert config.path == (str(file.parent / "operators"),)


def test_flags_win_over_the_file(file: Path) -> None:
    config = load("--config", str(file), "--device", "pi-2", "--broker", "b:1", "--slowdown", "2")
    assert (config.device, config.broker.host, config.broker.port) == ("pi-2", "b", 1)
    assert config.emulate.slowdown == 2


def test_the_hang_timeout_is_the_runtimes(tmp_path: Path) -> None:
    config = load(*flags(tmp_path, "--hang-timeout", "7.5"))
    agent = Agent(config, StateFolder(tmp_path))
    settings = agent._settings(read_hardware(), Software())
    assert settings.hang_timeout_s == 7.5


def test_a_broker_flag_without_port_leaves_the_files_port(file: Path) -> None:
    assert load("--config", str(file), "--broker", "b").broker.port == 8883


def test_path_flags_add_to_the_files(file: Path, tmp_path: Path) -> None:
    config = load("--config", str(file), "--path", str(tmp_path))
    assert config.path == (str(tmp_path / "operators"), str(tmp_path))


def test_flags_alone_suffice(tmp_path: Path) -> None:
    config = load(*flags(tmp_path, "--link", "edge-1=20,50", "--listen", "127.0.0.1:0"))
    assert config.emulate.links[0].rtt_ms == 20
    assert config.data_plane.port == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('device = "pi-1"', ""), "device: is missing"),
        (('device = "pi-1"', 'device = "a/b"'), "device: "),
        (('device = "pi-1"', "device = 3"), "device: must be text"),
        (("port = 8883", "port = 70000"), "broker.port: 70000"),
        (("port = 8883", "prot = 8883"), "broker.prot: is no setting"),
        (("port = 8883", "port = true"), "broker.port: must be a whole number"),
        (("slowdown = 4", "slowdown = 0.5"), "emulate.slowdown: must be at least 1"),
        (("slowdown = 4", "slowdown = nan"), "emulate.slowdown: "),
        (("rtt_ms = 20", "rtt_ms = -1"), "emulate.links[0].rtt_ms: "),
        (("rtt_ms = 20", "delay = 1"), "emulate.links[0].delay: is no setting"),
        (('path = ["operators"]', 'path = ["nowhere"]'), "path[0]: "),
        (('path = ["operators"]', 'path = "operators"'), "path: must be a list"),
        (("[broker]", "[broker"), "is not TOML"),
        (("ws://10.0.0.1:7401", "10.0.0.1:7401"), "data_plane.endpoint: "),
        (('log_level = "warning"', 'log_level = "loud"'), "log_level: "),
        (("cache_quota_mb = 500", "cache_quota_mb = 0"), "cache_quota_mb: "),
        (("[[emulate.links]]", "[emulate.links]"), "emulate.links: must be a list"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    file: Path, change: tuple[str, str], named: str
) -> None:
    file.write_text(FULL.replace(*change))
    with pytest.raises(InvalidInput) as caught:
        load("--config", str(file))
    assert str(caught.value).startswith(f"{file}: {named}")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('state_dir = "state"', 'stat_dir = "state"'), "stat_dir: is no setting (did you mean st"),
        (("device_class", "class"), "class: is no setting (did you mean device_class?)"),
        (("state_dir", "state"), "state: is no setting (did you mean state_dir?)"),
        (("cache_quota_mb", "cache-quota-mb"), "cache-quota-mb: is no setting (did you mean cache"),
        (("cache_quota_mb = 500", "slowdown = 4"), "slowdown: is no setting (did you mean emulate"),
        (("port = 8883", "prot = 8883"), "broker.prot: is no setting (did you mean port?)"),
        (("port = 8883", "class = 1"), "broker.class: is no setting (known: host, port"),
    ],
)
def test_a_key_that_is_none_says_which_was_meant(
    file: Path, change: tuple[str, str], named: str
) -> None:
    """Also where the one that was meant is missing for it."""
    file.write_text(FULL.replace(*change))
    with pytest.raises(InvalidInput) as caught:
        load("--config", str(file))
    assert str(caught.value).startswith(f"{file}: {named}")


def documented(*, all_of_it: bool) -> str:
    """The file in docs/agent.md; with the keys that are commented out in it, if asked for."""
    text = (ROOT / "docs" / "agent.md").read_text()
    body = text.partition("```toml\n")[2].partition("```")[0]
    return body.replace("\n# ", "\n") if all_of_it else body


def keys(part: Any) -> set[str]:
    """Every setting by dotted key; those of the first link for all links."""
    found = set()
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        value = value[0] if isinstance(value, tuple) and value else value
        if dataclasses.is_dataclass(value):
            found.update(f"{field.name}.{key}" for key in keys(value))
        else:
            found.add(field.name)
    return found


def written(document: dict[str, Any]) -> set[str]:
    found = set()
    for name, value in document.items():
        value = value[0] if isinstance(value, list) and value else value
        inner = written(value) if isinstance(value, dict) else None
        found.update(f"{name}.{key}" for key in inner) if inner else found.add(name)
    return found


def test_the_documented_file_names_every_setting_and_no_other(tmp_path: Path) -> None:
    made = tmp_path / "agent.toml"
    made.write_text(documented(all_of_it=True))
    assert written(toml.loads(made.read_text())) == keys(load("--config", str(made)))


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    made = tmp_path / "agent.toml"
    made.write_text(documented(all_of_it=False))
    first = ("--device", "cam-1", "--class", "raspberry-pi-5", "--tier", "device")
    bare = load(*first, "--state", str(tmp_path / "state"))
    assert load("--config", str(made)) == bare


def test_a_file_that_is_no_text_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        load("--config", str(file))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml: cannot be read"):
        load("--config", "nowhere.toml")


@pytest.mark.parametrize("text", ["", "host:", "host:abc", ":1883"])
def test_a_broker_address_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput):
        load(*flags(tmp_path, "--broker", text))


def test_an_ipv6_address_is_taken(tmp_path: Path) -> None:
    config = load(*flags(tmp_path, "--broker", "[::1]:1884"))
    assert (config.broker.host, config.broker.port) == ("::1", 1884)


def test_bad_settings_exit_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "a/b", "--class", "c", "--tier", "t", "--state", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_emulation_is_reported_only_where_there_is_some(tmp_path: Path) -> None:
    assert load(*flags(tmp_path)).emulate.as_message() is None
    emulation = load(*flags(tmp_path, "--slowdown", "3")).emulate.as_message()
    assert emulation is not None
    assert emulation.slowdown == 3
