"""What sinks and subscribers do to results, and never to whoever hands them over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circinus import codec
from circinus.messages import SinkSpec
from circinus_agent.runtime.outcome import ResultEvent
from circinus_agent.runtime.sinks import Sinks, event_json

MQTT = SinkSpec(kind="mqtt")


def result(output: Any = b"1") -> ResultEvent:
    return ResultEvent(
        query="q",
        plan="p",
        lead="a",
        request=1,
        step="s",
        payload=codec.dumps(output),
        elapsed_ms=1.0,
    )


def given(publish: Callable[[str, bytes], bool], *events: ResultEvent) -> Sinks:
    """Sinks that took these events for MQTT."""

    async def take() -> Sinks:
        sinks = Sinks(publish, Path())
        for event in events:
            sinks.take(event, MQTT)
        return sinks

    return asyncio.run(take())


@pytest.mark.parametrize("key", [None, True, (1, 2)])
def test_an_output_that_json_does_not_have_is_told_as_such(key: Any) -> None:
    line = json.loads(event_json(result({key: 1})))
    assert "JSON" in line["output"]["error"]
    assert line["query"] == "q"


def test_an_output_that_json_has_is_written_as_it_is() -> None:
    assert json.loads(event_json(result({"a": [1, b"x"]})))["output"] == {"a": [1, "eA=="]}


def test_a_subscriber_that_raises_is_passed_over_and_counted() -> None:
    heard: list[ResultEvent] = []

    def broken(event: ResultEvent) -> None:
        raise RuntimeError("gone")

    async def tell() -> Sinks:
        sinks = Sinks(None, Path())
        sinks.subscribe("q", broken)
        sinks.subscribe("q", heard.append)
        sinks.tell(result())
        return sinks

    sinks = asyncio.run(tell())
    assert len(heard) == 1
    assert sinks.dropped["result that a subscriber failed on"] == 1


def test_a_publisher_that_raises_loses_that_result_alone() -> None:
    def publish(query: str, event: bytes) -> bool:
        raise RuntimeError("out of order")

    sinks = given(publish, result())
    assert sinks.dropped["result that could not be published"] == 1
    assert sinks.troubles(0.0) == {"q": "results are lost: out of order"}


def test_a_result_that_the_broker_did_not_get_is_lost() -> None:
    sinks = given(lambda query, event: False, result(), result())
    assert sinks.dropped["result without broker"] == 2
    assert "broker" in sinks.troubles(0.0)["q"]


def test_a_result_that_was_sent_is_not_lost() -> None:
    sinks = given(lambda query, event: True, result())
    assert not sinks.dropped
    assert not sinks.troubles(0.0)
