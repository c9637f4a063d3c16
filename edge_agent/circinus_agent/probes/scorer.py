"""The child that scores outputs: ``python -m circinus_agent.probes.scorer METRIC``.

The metric is the user's code and may import anything, so it does not run in the agent. Frames on
stdin and stdout: 4 bytes little-endian length, then msgpack. Asked ``[outputs, label, agreed]``,
`outputs` being the encoded outputs of the last steps by name; `label` a value of labels.json, or
where `agreed` is not None the outputs to agree with, encoded in the same way. Answers
``[score, None]`` or ``[None, cause]``; first of all an answer that says whether the metric was
found. Ends with its standard input.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import msgspec

from circinus import codec
from circinus.errors import InvalidInput
from circinus.operator import load_object

__all__ = ["main"]

# Added to its niceness: no score is so urgent that what is served beside it should wait.
NICE = 10


def main(metric: str) -> None:
    """Answer until the standard input ends."""
    # What the metric prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        score = load_object(metric)
        if not callable(score):
            raise InvalidInput(f"{metric} is no function")
    except Exception as error:  # noqa: BLE001 - the user's module may raise anything
        _answer(answers, None, f"metric: {error}")
        return
    _answer(answers, 0.0, None)
    while (question := _read(sys.stdin.buffer)) is not None:
        outputs, label, agreed = question
        try:
            wanted = label if agreed is None else _value(agreed)
            _answer(answers, _checked(score, _value(outputs), wanted), None)
        except Exception as error:  # noqa: BLE001 - told to the coordinator, who tells the user
            _answer(answers, None, f"metric: {type(error).__name__}: {error}")


def _value(outputs: Mapping[str, bytes]) -> Any:
    """The result as the user sees it: the last step's output; of several, a map by name."""
    decoded = {name: codec.loads(payload) for name, payload in outputs.items()}
    return next(iter(decoded.values())) if len(decoded) == 1 else decoded


def _checked(score: Callable[[Any, Any], Any], output: Any, label: Any) -> float:
    value = float(score(output, label))
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"a score lies in [0, 1], not {value!r}")
    return value


def _read(stream: BinaryIO) -> Any:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return msgspec.msgpack.decode(stream.read(int.from_bytes(head, "little")))


def _answer(stream: BinaryIO, score: float | None, cause: str | None) -> None:
    body = msgspec.msgpack.encode([score, cause])
    stream.write(len(body).to_bytes(4, "little") + body)
    stream.flush()


if __name__ == "__main__":
    os.nice(NICE)
    main(sys.argv[1])
