"""What people are told in words."""

import pytest

from circinus.advice import percent


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (0.0, "0%"),
        (1e-9, "under 1%"),
        (0.004, "under 1%"),
        (0.006, "1%"),
        (0.5, "50%"),
        (0.994, "99%"),
        (0.9994, "over 99%"),
        (1.0, "100%"),
    ],
)
def test_what_is_neither_nothing_nor_all_is_not_told_as_either(part: float, text: str) -> None:
    assert percent(part) == text
