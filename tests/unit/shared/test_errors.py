"""What errors say of themselves."""

from __future__ import annotations

from circinus.errors import NoData


def test_what_is_not_there_is_said_as_it_was_put() -> None:
    assert str(NoData("there is no query 'gate'")) == "there is no query 'gate'"
