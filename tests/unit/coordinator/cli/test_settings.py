from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus_coordinator.cli.coordinator import parse_broker
from circinus_coordinator.cli.settings import load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "coordinator.toml"
    path.write_text(text)
    return path


def test_paths_in_the_file_are_relative_to_it_and_flags_win(tmp_path: Path) -> None:
    path = write(tmp_path, 'store = "data"\nfleet = "fleet.yaml"\nseed = 7\n')
    settings = load_settings(path, {"fleet": Path("/elsewhere/fleet.yaml")})
    assert settings.store == tmp_path / "data"
    assert settings.fleet == Path("/elsewhere/fleet.yaml")
    assert settings.seed == 7


def test_tables_reach_nested_settings(tmp_path: Path) -> None:
    path = write(tmp_path, 'store="d"\nfleet="f"\n[profiling]\nbatches = [1, 4]\n')
    assert load_settings(path, {}).profiling.batches == (1, 4)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('store="d"\nfleet="f"\nsede = 1\n', "sede"),
        ('store="d"\nfleet="f"\n[profiling]\nmin_sample = 1\n', "profiling.min_sample"),
        ('store="d"\nfleet="f"\nseed = "one"\n', "seed"),
        ('store="d"\nfleet="f"\nbroker = 3\n', "broker"),
        ('fleet="f"\n', "store"),
        ('store="d"\nfleet="f"\nwindow_s = -1.0\n', "window_s"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidInput) as caught:
        load_settings(path, {})
    assert (caught.value.file, caught.value.key) == (str(path), key)


def test_a_broker_url_names_host_port_and_login() -> None:
    broker = parse_broker("mqtt://me:p%40ss@10.0.0.5:2883")
    assert (broker.host, broker.port, broker.username, broker.password) == (
        "10.0.0.5",
        2883,
        "me",
        "p@ss",
    )


@pytest.mark.parametrize("text", ["http://x", "mqtt://", "mosquito", "mqtt://x:port"])
def test_what_is_no_broker_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no broker"):
        parse_broker(text)
