"""The metric and the matching behind it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

metric = pytest.importorskip("read_signs.metric")
signs = pytest.importorskip("read_signs.signs")

texts = st.lists(st.sampled_from(["EXIT", "EXIT 12", "GATE A1", "TAXI", "exit"]), max_size=5)


@given(texts, texts)
def test_a_score_is_symmetric_and_between_0_and_1(a: list[str], b: list[str]) -> None:
    assert 0 <= metric.sign_score(a, b) == metric.sign_score(b, a) <= 1


@given(texts, st.randoms())
def test_agreement_with_oneself_is_perfect_in_any_order(a: list[str], random: Any) -> None:
    shuffled = random.sample(a, len(a))
    assert metric.sign_score(shuffled, a) == 1


@given(texts)
def test_a_sign_nobody_put_up_never_helps(a: list[str]) -> None:
    assert metric.sign_score([*a, "MUSEUM"], a) < 1


def test_outputs_of_the_pipeline_and_labels_by_hand_compare() -> None:
    output = [{"sign": "GATE A1", "text": "GATEA1", "score": 0.9}, {"sign": "TAXI"}]
    assert metric.sign_score(output, ["gate a1", "Taxi"]) == 1
    assert metric.sign_score(output, ["gate a1"]) == pytest.approx(2 / 3)
    assert metric.sign_score(output, output) == 1


@pytest.mark.parametrize(
    ("read", "sign"),
    [
        ("EXlT", "EXIT"),
        ("NOENTRY", "NO ENTRY"),
        ("gate.b8", "GATE B8"),
        ("QWRTZ", None),
        ("", None),
    ],
)
def test_a_text_becomes_the_nearest_known_sign_if_one_is_near(read: str, sign: str | None) -> None:
    assert signs.nearest_sign(read, signs.known_signs()) == sign


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_the_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    d = signs.edit_distance
    assert d(a, b) == d(b, a) >= abs(len(a) - len(b))
    assert (d(a, b) == 0) == (a == b)
    assert d(a, c) <= d(a, b) + d(b, c)


def test_every_known_sign_is_nearest_to_itself() -> None:
    known = signs.known_signs()
    assert [signs.nearest_sign(sign, known) for sign in known] == list(known)
