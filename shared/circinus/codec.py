"""How values travel between operators: msgpack, with numpy arrays as an extension type.

numpy is imported only when an array is met, so that an agent without it can pass values on. An
array is an extension of code 1 that holds msgpack ``[dtype, shape]`` followed by its bytes in C
order. Nothing is ever unpickled.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from circinus.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["dumps", "join", "loads", "plain"]

ARRAY = 1
LARGE = 4096
_BIN32 = struct.Struct(">BI")  # msgpack: bin 32
# JSON of a larger array helps nobody; msgpack carries it.
MAX_JSON_ELEMENTS = 100_000
# Kinds that numpy can rebuild from raw bytes: no objects, no structures.
_KINDS = "biufcSUmM"


def dumps(value: Any) -> bytes:
    """`value` as bytes.

    Raises:
        InvalidInput: If it holds something msgpack cannot carry.
    """
    if type(value) is bytes and len(value) > LARGE:
        # One copy; msgspec grows its buffer step by step and copies at each.
        return _BIN32.pack(0xC6, len(value)) + value
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"an output cannot travel: {error}",
            remedy="use bytes, str, numbers, lists, maps and numpy arrays",
        ) from None


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value in `data`; arrays are writable copies.

    Raises:
        InvalidInput: If `data` is malformed.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"malformed value: {error}") from None


def join(parts: Mapping[str, bytes]) -> bytes:
    """The map of these encoded values, encoded, without decoding any of them."""
    return _encoder.encode({name: msgspec.Raw(data) for name, data in parts.items()})


def plain(data: bytes) -> Any:
    """The value in `data` with arrays as nested lists (large ones as a summary), without numpy.

    For JSON: what this returns, `msgspec.json.encode` can write.
    """
    try:
        return _plain_decoder.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"malformed value: {error}") from None


def _default(value: Any) -> Any:
    if type(value).__module__.partition(".")[0] == "numpy":
        import numpy as np

        if isinstance(value, np.ndarray):
            return msgspec.msgpack.Ext(ARRAY, _array_bytes(value))
        if isinstance(value, np.generic):
            return value.item()
    raise TypeError(f"{type(value).__name__} is not supported")


def _array_bytes(array: NDArray[Any]) -> bytearray:
    import numpy as np

    if array.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {array.dtype} is not supported")
    head = _encoder.encode([array.dtype.str, list(array.shape)])
    out = bytearray(len(head) + array.nbytes)
    out[: len(head)] = head
    # One copy straight into place, whatever the memory order of the source.
    target = np.frombuffer(out, array.dtype, array.size, len(head)) if array.size else None
    if target is not None:
        target.reshape(array.shape)[...] = array
    return out


class _Head(msgspec.Struct, array_like=True):
    dtype: str
    shape: list[int]


_head_decoder = msgspec.msgpack.Decoder(_Head)


def _split(data: memoryview) -> tuple[_Head, memoryview]:
    """Dtype and shape, and the bytes behind them."""
    raw = bytes(data[:512])
    count = _head_length(raw)
    head = _head_decoder.decode(raw[:count])
    if any(n < 0 for n in head.shape) or len(head.shape) > 32:
        raise ValueError("an array of impossible shape")
    return head, data[count:]


def _head_length(raw: bytes) -> int:
    """Length of the msgpack ``[str, [int, ...]]`` at the start of `raw`."""
    if len(raw) < 3 or raw[0] != 0x92 or not 0xA0 <= raw[1] <= 0xBF:
        raise ValueError("an array without head")
    position = 2 + (raw[1] & 0x1F)
    if position >= len(raw):
        raise ValueError("an array without shape")
    if raw[position] == 0xDC and position + 3 <= len(raw):
        dimensions, position = int.from_bytes(raw[position + 1 : position + 3], "big"), position + 3
    else:
        dimensions, position = raw[position] & 0x0F, position + 1
    for _ in range(dimensions):
        if position >= len(raw):
            raise ValueError("an array with a broken shape")
        position += {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(raw[position], 1)
    return position


def _array(code: int, data: memoryview) -> Any:
    import numpy as np

    if code != ARRAY:
        raise ValueError(f"unknown extension {code}")
    head, body = _split(data)
    dtype: np.dtype[Any] = np.dtype(head.dtype)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {head.dtype}")
    if math.prod(head.shape) * dtype.itemsize != len(body):
        raise ValueError("an array whose size does not match its shape")
    # A copy, so that an operator may write into its input.
    return np.frombuffer(bytearray(body), dtype).reshape(head.shape)


# Formats that memoryview.cast knows, by numpy's little-endian names.
_FORMATS = {"f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q"} | {
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?",
}  # fmt: skip


def _plain_array(code: int, data: memoryview) -> Any:
    if code != ARRAY:
        return {"extension": code, "bytes": len(data)}
    head, body = _split(data)
    count = math.prod(head.shape)
    letter = _FORMATS.get(head.dtype[1:])
    summary = {"dtype": head.dtype, "shape": head.shape}
    if letter is None or head.dtype[0] == ">" or not 0 < count <= MAX_JSON_ELEMENTS:
        return summary
    flat = memoryview(bytes(body)).cast(letter)  # type: ignore[call-overload]
    if len(flat) != count:
        return summary
    return _nest(flat.tolist(), head.shape)


def _nest(flat: list[Any], shape: list[int]) -> Any:
    if not shape:
        return flat[0]
    for size in reversed(shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat


_encoder = msgspec.msgpack.Encoder(enc_hook=_default)
_decoder = msgspec.msgpack.Decoder(ext_hook=_array)
_plain_decoder = msgspec.msgpack.Decoder(ext_hook=_plain_array)
