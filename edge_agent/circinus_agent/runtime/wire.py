"""What the agent and an operator's process say to each other over two pipes.

A message is 8 bytes (little-endian lengths of header and body), a msgpack header, and a body of
payloads back to back. Both ends are this one release, so there is no version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from circinus.operator import KnobValue

__all__ = [
    "BROKEN",
    "Batch",
    "BatchDone",
    "Init",
    "ItemDone",
    "Parser",
    "Ready",
    "StartFailed",
    "pack_batch",
    "pack_done",
    "pack_header",
    "split_batch",
]

PREFIX = struct.Struct("<II")
# A child whose bytes make no sense is killed; no real message is larger.
MAX_MESSAGE_BYTES = 1 << 30
BROKEN = "its process wrote something that is no message"


class Init(msgspec.Struct, tag="init", kw_only=True, array_like=True):
    """First message to the child: what to run and where."""

    run: str
    config: dict[str, KnobValue]
    paths: list[str]
    threads: int
    providers: list[str]
    cache_dir: str
    device_class: str
    slowdown: float
    realtime: bool
    nice: int = 0


class Ready(msgspec.Struct, tag="ready", kw_only=True, array_like=True):
    """The operator is set up."""

    memory_mb: float
    version: str
    stateful: bool
    fan_out: bool
    per_item: bool


class StartFailed(msgspec.Struct, tag="failed", kw_only=True, array_like=True):
    """It could not be set up; the process ends. `final`: nor could another."""

    cause: str
    final: bool = False


class Batch(msgspec.Struct, tag="batch", array_like=True):
    """Sizes of the payloads that follow: of a join, one per upstream step."""

    number: int
    sizes: list[int | dict[str, int]]


class ItemDone(msgspec.Struct, array_like=True):
    """One output's size, or the error in its place."""

    size: int
    error: str | None
    usd: float


class BatchDone(msgspec.Struct, tag="done", array_like=True):
    """Results of a batch in order; `compute_s` as `BatchResult` has it.

    `unspent_ms`: emulated time that was not waited for, as in probes.
    """

    number: int
    items: list[ItemDone]
    compute_s: float
    memory_mb: float
    unspent_ms: float = 0.0


ToChild = Init | Batch
ToAgent = Ready | StartFailed | BatchDone

_encoder = msgspec.msgpack.Encoder()
to_child = msgspec.msgpack.Decoder(ToChild)
to_agent = msgspec.msgpack.Decoder(ToAgent)


def pack_header(message: msgspec.Struct, body_bytes: int = 0) -> bytes:
    """Lengths and header of a message whose body has `body_bytes`."""
    header = _encoder.encode(message)
    return PREFIX.pack(len(header), body_bytes) + header


def pack_batch(number: int, payloads: Sequence[bytes | Mapping[str, bytes]]) -> list[bytes]:
    """A batch as buffers to be written one after another; payloads are not copied."""
    parts: list[bytes] = [b""]
    sizes: list[int | dict[str, int]] = []
    total = 0
    for payload in payloads:
        if isinstance(payload, bytes):
            parts.append(payload)
            sizes.append(len(payload))
            total += len(payload)
        else:
            parts.extend(payload.values())
            sizes.append({name: len(data) for name, data in payload.items()})
            total += sum(map(len, payload.values()))
    parts[0] = pack_header(Batch(number, sizes), total)
    return parts


def pack_done(done: BatchDone, payloads: Sequence[bytes]) -> list[bytes]:
    """Results as buffers to be written one after another."""
    return [pack_header(done, sum(map(len, payloads))), *payloads]


def split_batch(
    sizes: Sequence[int | Mapping[str, int]], body: memoryview
) -> Iterator[memoryview | dict[str, memoryview]]:
    """The payloads in a batch's body."""
    position = 0
    for size in sizes:
        if isinstance(size, int):
            yield body[position : position + size]
            position += size
        else:
            parts = {}
            for name, length in size.items():
                parts[name] = body[position : position + length]
                position += length
            yield parts


class Parser:
    """Cuts a stream of bytes into (header, body)."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[tuple[memoryview, memoryview]]:
        """Messages that are complete with `chunk`; views live until the next call.

        Raises:
            ValueError: If a length is beyond all reason.
        """
        buffer = self._buffer
        data: bytes | bytearray
        if buffer:
            buffer += chunk
            data = buffer
        else:
            data = chunk  # most messages come whole: no copy
        start = 0
        view = memoryview(data)
        while len(data) - start >= PREFIX.size:
            header, body = PREFIX.unpack_from(data, start)
            if header + body > MAX_MESSAGE_BYTES:
                raise ValueError(BROKEN)
            first = start + PREFIX.size
            end = first + header + body
            if end > len(data):
                break
            yield view[first : first + header], view[first + header : end]
            start = end
        if start or data is not buffer:
            self._buffer = bytearray(view[start:])
