from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from circinus import codec
from circinus.errors import InvalidInput

ARRAYS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.arange(12, dtype=np.uint8).reshape(3, 4).T,
    np.arange(6, dtype=">i4"),
    np.array(2.5),
    np.zeros((0, 3), np.int64),
    np.array([["a", "bcd"]]),
    np.array([True, False]),
    np.zeros((70_000,), np.float16),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_an_array_survives_the_round_trip(array: np.ndarray) -> None:
    back = codec.loads(codec.dumps({"x": [array]}))["x"][0]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)


def test_a_received_array_may_be_written_to() -> None:
    back = codec.loads(codec.dumps(np.zeros(3)))
    back[0] = 1
    assert back[0] == 1


@pytest.mark.parametrize("size", [0, 10, codec.LARGE, codec.LARGE + 1, 1 << 20])
def test_bytes_of_any_size_survive_the_round_trip(size: int) -> None:
    assert codec.loads(codec.dumps(b"x" * size)) == b"x" * size


def test_numpy_scalars_become_numbers() -> None:
    assert codec.loads(codec.dumps({"a": np.float32(2.5), "b": np.int64(3)})) == {"a": 2.5, "b": 3}


@pytest.mark.parametrize("value", [object(), 1 << 70, np.array([object()]), {1, object()}])
def test_what_cannot_travel_is_refused_with_a_remedy(value: object) -> None:
    with pytest.raises(InvalidInput, match="use bytes, str, numbers"):
        codec.dumps(value)


@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b"\x92",
        b"\x92\xa3<f4\x91\x05" + bytes(3),  # shorter than its shape says
        b"\x92\xa2|O\x91\x01" + bytes(8),  # objects
        b"\x92\xa3<f4\xdc\xff\xff",  # a shape that is not there
        b"\x92\xa3zzz\x91\x01" + bytes(4),
    ],
)
def test_a_forged_array_is_refused(extension: bytes) -> None:
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(codec.ARRAY, extension))
    with pytest.raises(InvalidInput):
        codec.loads(data)


def test_join_gives_what_encoding_the_map_would() -> None:
    parts = {"a": codec.dumps(b"x" * 9000), "b": codec.dumps([1, None])}
    assert codec.loads(codec.join(parts)) == {"a": b"x" * 9000, "b": [1, None]}


def test_plain_shows_arrays_as_lists() -> None:
    assert codec.plain(codec.dumps({"a": np.array([[1, 2], [3, 4]], np.int16)})) == {
        "a": [[1, 2], [3, 4]]
    }


def test_plain_summarises_what_json_should_not_carry() -> None:
    large = np.zeros(codec.MAX_JSON_ELEMENTS + 1, np.uint8)
    assert codec.plain(codec.dumps(large)) == {"dtype": "|u1", "shape": [len(large)]}


def test_an_agent_without_numpy_can_show_arrays() -> None:
    data = codec.dumps(np.arange(3))
    program = (
        f"import sys; sys.modules['numpy'] = None\n"
        f"from circinus import codec; print(codec.plain({data!r}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert out.stdout.strip() == "[0, 1, 2]"
