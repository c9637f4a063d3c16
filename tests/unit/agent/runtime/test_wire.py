from __future__ import annotations

import pytest

from circinus_agent.runtime import wire


def stream(*messages: tuple[list[bytes | dict[str, bytes]], int]) -> bytes:
    return b"".join(b"".join(wire.pack_batch(n, payloads)) for payloads, n in messages)


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_messages_are_cut_the_same_however_the_bytes_come(step: int) -> None:
    batches = [([b"x" * 300, {"l": b"", "r": b"yy"}], 1), ([b""], 2)]
    data = stream(*batches)
    parser, found = wire.Parser(), []
    for i in range(0, len(data), step):
        for header, body in parser.feed(data[i : i + step]):
            batch = wire.to_child.decode(header)
            assert isinstance(batch, wire.Batch)
            parts = [
                {k: bytes(v) for k, v in p.items()} if isinstance(p, dict) else bytes(p)
                for p in wire.split_batch(batch.sizes, body)
            ]
            found.append((parts, batch.number))
    assert found == batches


def test_an_impossible_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="no message"):
        list(wire.Parser().feed(b"\xff" * 16))
