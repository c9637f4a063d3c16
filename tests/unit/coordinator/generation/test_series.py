"""Series from files become intensities and bandwidths."""

import json
from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus_coordinator.generation import read_arrivals, read_bandwidth


def written(folder: Path, text: str) -> Path:
    path = folder / "series"
    path.write_text(text)
    return path


def stamps(*seconds: float) -> str:
    rows = [f"2023-11-16 18:{int(s // 60):02d}:{s % 60:010.7f},10,20" for s in seconds]
    return "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])


def test_time_stamps_become_relative_rates_of_windows(tmp_path: Path) -> None:
    """Three requests in the first minute, one in the second; the third is cut off."""
    path = written(tmp_path, stamps(0.5, 10, 20.1234567, 70, 130))
    assert read_arrivals(path) == (0.5, 1.5)


def test_time_stamps_need_not_be_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, stamps(130, 70, 20, 10, 0.5))
    assert read_arrivals(path) == (0.5, 1.5)


def test_counts_of_kinds_add_up_and_copies_count_once(tmp_path: Path) -> None:
    street = {"person": [1, 0, 1, 0], "car": [1, 1, 3, 1]}
    path = written(tmp_path, json.dumps({"a": street, "b": street}))
    assert read_arrivals(path, window_s=2) == (0.75, 1.25)


def test_many_windows_become_32_levels_of_mean_one(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps({"a": {"car": list(range(1000))}}))
    found = read_arrivals(path, window_s=1)
    assert len(found) == 32
    assert list(found) == sorted(found)
    assert sum(found) / 32 == pytest.approx(1, abs=0.01)


def test_bandwidth_is_weighted_by_how_long_it_held(tmp_path: Path) -> None:
    rows = [(0, 40.0), (10, 5.0), (90, 60.0), (100, 80.0)]
    document = {"bandwidth_limits": [{"time": t, "mbps": x} for t, x in rows]}
    path = written(tmp_path, json.dumps(document))
    assert read_bandwidth(path) == (5.0, 5.0, 80.0)


def test_a_single_bandwidth_holds_for_ever(tmp_path: Path) -> None:
    path = written(tmp_path, '{"bandwidth_limits": [{"time": 0, "mbps": 50}]}')
    assert read_bandwidth(path) == (50.0, 50.0, 50.0)


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2", "TIMESTAMP\n", "TIMESTAMP\nyesterday", "{", '{"a": [1]}',
     '{"a": {"b": ["x"]}}', '{"a": {"b": [0, 0]}}'],
)  # fmt: skip
def test_bad_arrivals_name_the_file(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInput) as caught:
        read_arrivals(path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"bandwidth_limits": []}', '{"bandwidth_limits": [{"time": 0}]}',
     '{"bandwidth_limits": [{"time": 0, "mbps": -1}]}', '{"bandwidth_limits": [3]}'],
)  # fmt: skip
def test_bad_bandwidths_name_the_file(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInput) as caught:
        read_bandwidth(path)
    assert caught.value.file == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_bandwidth(tmp_path / "none.json")
    assert caught.value.file == str(tmp_path / "none.json")
