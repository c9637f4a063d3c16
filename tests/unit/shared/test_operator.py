"""The operator SDK."""

from __future__ import annotations

import pytest

from circinus import InvalidInput, Knob, Operator
from circinus.operator import knobs_of, load_object, load_operator


class Blur(Operator):
    radius = Knob(1.0, 2.0)
    mode = Knob("fast", "good")


class Wide(Blur):
    width = Knob(3, affects_accuracy=False)


def test_a_knob_reads_as_the_instances_value_and_defaults_to_the_first() -> None:
    blur = Blur({"radius": 2.0})
    assert (blur.radius, blur.mode) == (2.0, "fast")


def test_an_int_serves_as_a_float_but_text_does_not() -> None:
    assert Blur({"radius": 2}).radius == 2.0
    with pytest.raises(InvalidInput, match="takes float"):
        Blur({"radius": "2"})


def test_true_is_no_int() -> None:
    with pytest.raises(InvalidInput, match="takes int"):
        Wide({"width": True})


def test_a_value_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"does not take 3.0 \(one of: 1.0, 2.0\)"):
        Blur({"radius": 3})


def test_a_knob_with_a_default_alone_takes_any_value_of_its_type() -> None:
    assert Wide({"width": 7}).width == 7


def test_an_unknown_knob_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="its knobs: radius, mode"):
        Blur({"radios": 1.0})


def test_knobs_are_inherited_in_order_of_declaration() -> None:
    assert list(knobs_of(Wide)) == ["radius", "mode", "width"]
    assert not knobs_of(Wide)["width"].affects_accuracy


def test_knob_values_share_a_type() -> None:
    with pytest.raises(TypeError, match="one type"):
        Knob(1, "a")  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nowhere.at_all:X", "cannot import"),
        ("circinus.errors:Nothing", "has no 'Nothing'"),
        ("circinus.errors:InvalidInput", "not a subclass"),
        ("no-such-entry-point", "no operator 'no-such-entry-point' is installed"),
        ("a:", "form module:name"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(ref: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load_operator(ref)


def test_nested_attributes_are_found() -> None:
    assert load_object("circinus.operator:Operator.setup") is Operator.setup
