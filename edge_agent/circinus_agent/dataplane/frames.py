"""What agents say to each other: a msgpack header followed by the raw payload.

Layout: 4 bytes little-endian header length, the header, the payload to the end. The payload is
an output as the operator encoded it (`circinus.codec`); agents pass it on without a look.
"""

from __future__ import annotations

import enum
import struct

import msgspec

from circinus.errors import InvalidInput

__all__ = ["MAX_FRAME_BYTES", "PROTOCOL", "Frame", "Hop", "Kind", "Span", "decode", "encode"]

PROTOCOL = 1
# A 4K camera picture as a raw array is 25 MB; anything above is refused at the socket.
MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("<I")


class Kind(str, enum.Enum):
    """What a frame is for."""

    HELLO = "hello"  # first in each direction: who is speaking
    WORK = "work"  # an output for steps on the receiving device
    DONE = "done"  # to the lead: a last step's result, or why the request failed
    PULL = "pull"  # from the lead: feed your source's next input into this request
    ECHO = "echo"  # answered at once with `REPLY`: round trip, link probe
    REPLY = "reply"


class Span(msgspec.Struct, array_like=True, frozen=True):
    """What one step took; `wait_ms` in the queue, `service_ms` in the operator."""

    step: str
    device: str
    wait_ms: float
    service_ms: float
    batch: int = 1
    usd: float = 0.0


class Hop(msgspec.Struct, array_like=True, frozen=True):
    """Bytes of the output of `producer` sent over `link`, written ``from>to``."""

    producer: str
    link: str
    size_bytes: int


class Frame(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The header of a frame; `payload` travels behind it.

    Attributes:
        device: hello: the speaker's name.
        request: Counts the lead's requests (work, done, pull) or echoes (echo, reply).
        producer: Step whose output the payload is; empty for a source's input.
        steps: work: steps that take it; pull: the source operator to feed.
        budget_ms, remaining_ms: The request's deadline (or the default) counted from its start,
            and what was left of it when the frame was sent.
        want: The lead wants the result's payload in the done frame.
        ok, cause: done: how it ended; a cause is ``kind: detail``.
    """

    kind: Kind
    protocol: int = PROTOCOL
    device: str = ""
    query: str = ""
    plan: str = ""
    request: int = 0
    producer: str = ""
    steps: tuple[str, ...] = ()
    budget_ms: float = 0.0
    remaining_ms: float = 0.0
    want: bool = False
    ok: bool = True
    cause: str | None = None
    spans: tuple[Span, ...] = ()
    hops: tuple[Hop, ...] = ()
    payload: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """The frame as one binary message."""
    payload = frame.payload
    header = _encoder.encode(msgspec.structs.replace(frame, payload=b"") if payload else frame)
    return b"".join((_LENGTH.pack(len(header)), header, payload))


def decode(data: bytes) -> Frame:
    """The frame in a binary message.

    Raises:
        InvalidInput: If it is malformed or speaks a newer protocol.
    """
    if len(data) < _LENGTH.size:
        raise InvalidInput("frame too short")
    (length,) = _LENGTH.unpack_from(data)
    end = _LENGTH.size + length
    if end > len(data):
        raise InvalidInput("frame ends within its header")
    try:
        frame = _decoder.decode(memoryview(data)[_LENGTH.size : end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"malformed frame: {error}") from None
    if frame.protocol > PROTOCOL:
        raise InvalidInput(
            f"frame of protocol {frame.protocol}; this agent speaks {PROTOCOL}",
            remedy="upgrade this agent",
        )
    if end == len(data):
        return frame
    return msgspec.structs.replace(frame, payload=data[end:])
