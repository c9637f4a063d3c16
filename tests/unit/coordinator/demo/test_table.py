"""Tables for terminals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus_coordinator.demo.table import Column, Entry, lay_out, number

COLUMNS = (
    Column(name="query"),
    Column(name="placement and config", wraps=True),
    Column(name="cost", right=True, drop=1),
    Column(name="met", right=True),
)
ROW = Entry(
    cells=("tollgate", "edge-1 decode > cloud-1 detect..match", "0.001189", "98.9%"),
    notes=("the fastest plan takes 139.6 ms, 60 ms are allowed",),
)


def texts(width: int) -> list[str]:
    return [line.text for line in lay_out(COLUMNS, [ROW], width).lines]


def test_a_wide_table_takes_a_line_for_each_row() -> None:
    assert texts(80)[2].split() == " ".join(ROW.cells).split()


@given(st.integers(30, 90))
def test_no_word_is_broken_and_no_line_is_wider_than_asked_for(width: int) -> None:
    lines = texts(width)
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    shown = [cell for column, cell in zip(COLUMNS, ROW.cells, strict=True) if not column.drop]
    assert {word for text in (*shown, *ROW.notes) for word in text.split()} <= words


def test_what_finds_no_place_is_left_out_and_named() -> None:
    found = lay_out(COLUMNS, [ROW], 32)
    assert found.left_out == ["cost"]
    assert "0.001189" not in "".join(line.text for line in found.lines)


def test_a_column_that_finds_no_place_may_stand_below_its_row() -> None:
    columns = (Column(name="id"), Column(name="reason", below=True))
    row = Entry(cells=("gate", "too few cores"))
    assert lay_out(columns, [row], 19).lines[2].text == "gate  too few cores"
    assert [line.text for line in lay_out(columns, [row], 16).lines[2:]] == [
        "gate",
        "  too few cores",
    ]


def test_a_word_wider_than_the_table_sticks_out_whole() -> None:
    assert any("detect..match" in text for text in texts(5))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (0.06512, "0.0651"), (1234.5, "1234"), (1.25e-7, "1.2e-07")],
)
def test_a_number_that_is_not_nothing_never_reads_as_nothing(
    value: float | None, text: str
) -> None:
    assert number(value) == text
