from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from circinus import codec
from circinus.operator import Operator, Output
from circinus_agent.runtime.worker import evaluate


def operator(process: Callable[[Sequence[Any]], Sequence[Any]], **attributes: Any) -> Operator:
    body = {"process": lambda _, batch: process(batch), **attributes}
    made = type("Made", (Operator,), body)()
    assert isinstance(made, Operator)
    return made


def ends(op: Operator, *inputs: Any) -> list[Any]:
    """Values, or the errors' texts in their place."""
    evaluation = evaluate(op, inputs)
    payloads = iter(evaluation.payloads)
    return [codec.loads(next(payloads)) if i.error is None else i.error for i in evaluation.items]


def double(batch: Sequence[Any]) -> list[Any]:
    return [2 * x for x in batch]


def test_outputs_come_in_order() -> None:
    assert ends(operator(double), 1, 2, 3) == [2, 4, 6]


def test_raising_fails_the_whole_batch_with_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(batch: Sequence[Any]) -> list[Any]:
        raise KeyError("no such sign")

    assert ends(operator(fail), 1, 2) == ["KeyError: 'no such sign'"] * 2
    assert "Traceback" in capsys.readouterr().err


def test_an_exception_in_place_of_an_output_fails_that_request_alone() -> None:
    assert ends(operator(lambda b: [1, ValueError("bad picture")]), 1, 2) == [
        1,
        "ValueError: bad picture",
    ]


def test_an_input_that_is_an_error_never_reaches_the_operator() -> None:
    assert ends(operator(double), 1, ValueError("malformed"), 3) == [2, "ValueError: malformed", 6]


def test_a_wrong_number_of_outputs_fails_the_batch(capsys: pytest.CaptureFixture[str]) -> None:
    (end,) = ends(operator(lambda b: []), 1)
    assert end == "ValueError: process gave 0 outputs for 1 inputs"


def test_an_output_that_cannot_travel_fails_that_request_alone() -> None:
    good, bad = ends(operator(lambda b: [1, object()]), 1, 2)
    assert good == 1
    assert "cannot travel" in bad


def test_per_item_flattens_lists_and_gathers_them_again() -> None:
    seen: list[Any] = []

    def process(batch: Sequence[Any]) -> list[Any]:
        seen.append(list(batch))
        return double(batch)

    assert ends(operator(process, per_item=True), [1, 2], [], [3]) == [[2, 4], [], [6]]
    assert seen == [[1, 2, 3]]


def test_per_item_fails_only_the_request_whose_item_failed() -> None:
    def process(batch: Sequence[Any]) -> list[Any]:
        return [ValueError("odd") if x % 2 else x for x in batch]

    assert ends(operator(process, per_item=True), [2, 3], [4]) == ["ValueError: odd", [4]]


def test_per_item_wants_lists() -> None:
    assert ends(operator(double, per_item=True), [1], 2) == [
        [2],
        "TypeError: a per-item operator takes lists, not int",
    ]


def test_usage_is_priced() -> None:
    op = operator(
        lambda b: [Output(value="hi", usage={"tokens": 10, "calls": 1}), "free"],
        prices_usd={"tokens": 0.002, "calls": 0.1},
    )
    assert [i.usd for i in evaluate(op, [0, 0]).items] == [pytest.approx(0.12), 0.0]


def test_usage_of_items_adds_up_to_their_request() -> None:
    op = operator(
        lambda b: [Output(value=x, usage={"calls": 1}) for x in b],
        prices_usd={"calls": 0.5},
        per_item=True,
    )
    evaluation = evaluate(op, [[1, 2, 3]])
    assert codec.loads(evaluation.payloads[0]) == [1, 2, 3]
    assert evaluation.items[0].usd == 1.5
