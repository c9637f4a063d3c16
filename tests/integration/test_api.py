"""The API over a real socket, with a coordinator that answers from memory."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from circinus.errors import InvalidInput, NoData, Transient
from circinus.scenario import decode_scenario, decode_submission, encode_submission
from circinus_coordinator.api.app import listen, parse_address, serve
from circinus_coordinator.api.client import Client
from circinus_coordinator.api.endpoints import (
    ENDPOINTS,
    MAX_ARTIFACT_BYTES,
    MAX_SUBMISSION_BYTES,
    MAX_YAML_BYTES,
)
from circinus_coordinator.api.openapi import openapi_document
from circinus_coordinator.daemon import ProfileFilter

_FAKES = Path(__file__).parents[1] / "unit" / "coordinator" / "api" / "fakes.py"
_spec = importlib.util.spec_from_file_location("api_fakes", _FAKES)
assert _spec
assert _spec.loader
fakes = importlib.util.module_from_spec(_spec)
sys.modules["api_fakes"] = fakes
_spec.loader.exec_module(fakes)

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]

SUBMISSION = b"""
circinus: 1
pipelines: {p: {operators: {a: {}}, input_bytes: 1}}
queries: [{id: gate, pipeline: p, source: pi-1, rate_rps: 1}]
"""


class Api:
    def __init__(self, coordinator: Any, runner: web.AppRunner, port: int) -> None:
        self.coordinator, self.runner, self.port = coordinator, runner, port
        self.base = f"http://127.0.0.1:{port}"
        self.client = Client(self.base)

    async def call(self, function: Any, *arguments: Any) -> Any:
        """A call of the synchronous client, off the loop that has to answer it."""
        return await asyncio.wait_for(asyncio.to_thread(function, *arguments), 10)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    coordinator = fakes.FakeCoordinator(folder=tmp_path)
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    runner = await serve(coordinator, sock)
    yield Api(coordinator, runner, port)
    await runner.cleanup()


async def test_queries_carry_promised_and_measured(api: Api) -> None:
    rows = (await api.call(api.client.get, "/v1/queries"))["queries"]
    assert [row["id"] for row in rows] == ["gate", "never"]
    assert rows[0]["promised"]["latency_ms"] == 80.0
    assert rows[0]["measured"]["p95_ms"] == 75.0
    assert rows[1]["binding"] == "latency"


async def test_a_window_reaches_the_monitor(api: Api) -> None:
    row = await api.call(api.client.get, "/v1/queries/gate?window_s=7")
    assert row["measured"]["seconds"] == 7.0


async def test_a_bad_window_is_refused_by_name(api: Api) -> None:
    with pytest.raises(InvalidInput) as caught:
        await api.call(api.client.get, "/v1/queries?window_s=soon")
    assert caught.value.key == "window_s"


async def test_an_unknown_query_is_no_data(api: Api) -> None:
    for path in ("/v1/queries/nope", "/v1/explain/nope"):
        with pytest.raises(NoData, match="nope"):
            await api.call(api.client.get, path)


async def test_what_is_not_there_is_said_once(api: Api) -> None:
    with pytest.raises(NoData) as caught:
        await api.call(api.client.get, "/v1/queries/nope")
    assert str(caught.value) == "there is no query 'nope': it was not submitted"


@pytest.mark.parametrize(
    "path",
    ["/v1/devices", "/v1/plans", "/v1/profiles", "/v1/progress", "/v1/explain/gate", "/healthz"],
)
async def test_reading_answers_a_json_object(api: Api, path: str) -> None:
    assert isinstance(await api.call(api.client.get, path), dict)


async def test_profiles_are_chosen_by_the_query(api: Api) -> None:
    await api.call(api.client.get, "/v1/profiles?pipeline=signs&device_class=pi5")
    assert api.coordinator.wanted == ProfileFilter(pipeline="signs", device_class="pi5")


async def test_a_scenario_and_a_decision_appear_with_the_first_planning(api: Api) -> None:
    for path in ("/v1/scenario", "/v1/decision"):
        with pytest.raises(NoData):
            await api.call(api.client.get, path)
    api.coordinator.planned = fakes.scenario()
    sent = await api.call(api.client.get_bytes, "/v1/scenario")
    assert decode_scenario(sent) == api.coordinator.planned
    assert (await api.call(api.client.get, "/v1/decision"))["planner"] == "greedy"


async def test_a_submission_in_yaml_is_taken_in(api: Api) -> None:
    answer = await api.call(api.client.post, "/v1/queries", SUBMISSION, "application/yaml")
    assert answer["queries"] == ["gate"]
    assert api.coordinator.submitted[0].queries[0].id == "gate"


async def test_a_submission_is_not_read_in_the_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def decode(*arguments: Any, **more: Any) -> Any:
        threads.append(threading.current_thread())
        return decode_submission(*arguments, **more)

    monkeypatch.setattr("circinus_coordinator.api.endpoints.decode_submission", decode)
    await api.call(api.client.post, "/v1/queries", SUBMISSION, "application/yaml")
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_yaml_is_limited_more_than_json(api: Api) -> None:
    yaml = SUBMISSION + b" " * MAX_YAML_BYTES
    with pytest.raises(InvalidInput, match="too many for YAML"):
        await api.call(api.client.post, "/v1/queries", yaml, "application/yaml")
    same = encode_submission(decode_submission(SUBMISSION)) + b" " * MAX_YAML_BYTES
    answer = await api.call(api.client.post, "/v1/queries", same)
    assert answer["queries"] == ["gate"]


async def test_the_cpu_metric_says_what_it_is_a_part_of(api: Api) -> None:
    page = (await api.call(api.client.get_bytes, "/metrics")).decode()
    assert "circinus_device_cpu_percent CPU use of the whole device, percent of all" in page


async def test_a_query_may_name_a_pipeline_that_is_there(api: Api) -> None:
    alone = b"circinus: 1\nqueries: [{id: yard, pipeline: p, source: pi-1, rate_rps: 1}]"
    answer = await api.call(api.client.post, "/v1/queries", alone, "application/yaml")
    assert answer["queries"] == ["yard"]
    assert api.coordinator.submitted[0].queries[0].source == {"a": "pi-1"}


async def test_a_pipeline_that_is_nowhere_is_refused(api: Api) -> None:
    alone = SUBMISSION.replace(b"pipeline: p,", b"pipeline: q,")
    with pytest.raises(InvalidInput, match="unknown pipeline 'q'"):
        await api.call(api.client.post, "/v1/queries", alone)


async def test_pipelines_read_as_a_submission(api: Api) -> None:
    found = decode_submission(await api.call(api.client.get_bytes, "/v1/pipelines"))
    assert list(found.pipelines) == ["p"]


async def test_a_dry_run_takes_in_nothing(api: Api) -> None:
    answer = await api.call(api.client.post, "/v1/queries?dry_run=1", SUBMISSION)
    assert answer["dry_run"]
    assert not api.coordinator.submitted


async def test_a_dry_run_checks_against_the_fleet(api: Api) -> None:
    api.coordinator.planned = fakes.scenario()
    elsewhere = SUBMISSION.replace(b"pi-1", b"pi-9")
    with pytest.raises(InvalidInput) as caught:
        await api.call(api.client.post, "/v1/queries?dry_run=1", elsewhere)
    assert caught.value.key == "queries[0].source"


async def test_a_bad_submission_is_refused_with_key_and_remedy(api: Api) -> None:
    wrong = SUBMISSION.replace(b"rate_rps", b"rate_rsp")
    with pytest.raises(InvalidInput) as caught:
        await api.call(api.client.post, "/v1/queries", wrong)
    assert caught.value.key == "queries[0].rate_rsp"
    assert "rate_rps" in (caught.value.remedy or "")
    assert not api.coordinator.submitted


async def test_a_submission_larger_than_allowed_is_refused_unread(api: Api) -> None:
    async with ClientSession() as session:
        headers = {"Content-Length": str(MAX_SUBMISSION_BYTES + 1)}
        request = (
            "POST /v1/queries HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {headers['Content-Length']}\r\n\r\n"
        )
        assert session
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(request.encode())
        status = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        await writer.wait_closed()
    assert b" 413 " in status


async def test_withdraw_names_the_query(api: Api) -> None:
    assert await api.call(api.client.delete, "/v1/queries/gate") == {"withdrawn": "gate"}
    assert api.coordinator.withdrawn == ["gate"]


async def test_an_artifact_comes_back_under_its_hash(api: Api) -> None:
    data = b"model" * 50_000
    sha256 = await api.call(api.client.put_artifact, data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert await api.call(api.client.get_bytes, f"/v1/artifacts/{sha256}") == data


async def test_an_artifact_with_another_hash_is_refused(api: Api) -> None:
    async with ClientSession() as session:
        url = f"{api.base}/v1/artifacts/{'0' * 64}"
        async with session.put(url, data=b"other") as answer:
            assert answer.status == 422
            assert "sha256" in (await answer.json())["error"]


async def test_an_artifact_larger_than_allowed_is_refused(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"PUT /v1/artifacts HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {MAX_ARTIFACT_BYTES}9"
    writer.write(f"{head}\r\n\r\n".encode())
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    assert b" 413 " in status


async def test_a_name_that_is_no_hash_reaches_no_file(api: Api) -> None:
    with pytest.raises(InvalidInput, match="no sha256"):
        await api.call(api.client.get, "/v1/artifacts/..%2f..%2fetc%2fpasswd")


async def read_events(api: Api, count: int, headers: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with (
        ClientSession() as session,
        session.get(f"{api.base}/v1/events", headers=headers) as stream,
    ):
        async for line in stream.content:
            if line.startswith(b": connected"):
                api.coordinator.queue.put_nowait(fakes.change(3))
                api.coordinator.queue.put_nowait(fakes.change(4))
            if line.startswith(b"data:"):
                found.append(json.loads(line[5:]))
            if len(found) == count:
                return found
    return found


async def test_events_stream_as_they_happen(api: Api) -> None:
    events = await asyncio.wait_for(read_events(api, 2, {}), 10)
    assert [event["seq"] for event in events] == [3, 4]


async def test_events_resume_from_the_log_without_repeating(api: Api) -> None:
    api.coordinator.log = [fakes.change(n) for n in (1, 2, 3)]
    events = await asyncio.wait_for(read_events(api, 3, {"Last-Event-ID": "1"}), 10)
    assert [event["seq"] for event in events] == [2, 3, 4]


async def test_a_long_absence_is_resumed_from_page_by_page(api: Api) -> None:
    api.coordinator.log = [fakes.change(n) for n in range(1, 2502)]
    events = await asyncio.wait_for(read_events(api, 2500, {"Last-Event-ID": "1"}), 10)
    assert [event["seq"] for event in events] == list(range(2, 2502))


async def test_a_watcher_that_leaves_leaves_no_traceback(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n\r\n".encode())
    await reader.readuntil(b": connected")
    writer.transport.abort()
    while not api.coordinator.unsubscribed:  # until the server has heard of it
        api.coordinator.queue.put_nowait(fakes.change(3))
        await asyncio.sleep(0.01)
    await asyncio.wait_for(api.runner.cleanup(), 10)
    assert [record.getMessage() for record in caplog.records if record.levelno >= 30] == []


async def test_a_bug_is_hidden_from_the_client_and_kept_in_the_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.coordinator.broken = True
    with pytest.raises(Transient, match="internal error"):
        await api.call(api.client.get, "/v1/devices")
    assert "a secret bug" in caplog.text


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}], ids=["host", "origin"]
)
async def test_what_a_web_page_could_send_is_refused(api: Api, headers: dict[str, str]) -> None:
    async with (
        ClientSession() as session,
        session.get(f"{api.base}/v1/devices", headers=headers) as answer,
    ):
        assert answer.status == 403


async def test_metrics_hold_promised_and_measured_latency(api: Api) -> None:
    page = (await api.call(api.client.get_bytes, "/metrics")).decode()
    assert 'circinus_query_promised_latency_seconds{query="gate"} 0.08' in page
    assert 'circinus_query_latency_seconds{quantile="0.95",query="gate"} 0.075' in page
    assert 'circinus_device_online{device="pi-1",tier="device"} 1.0' in page


async def test_metrics_count_what_is_ignored(api: Api) -> None:
    page = (await api.call(api.client.get_bytes, "/metrics")).decode()
    assert 'circinus_malformed_messages_total{device="pi-1",leaf="telemetry"} 4.0' in page
    assert 'circinus_ignored_messages_total{cause="oversized message"} 2.0' in page
    assert 'circinus_device_dropped_total{cause="malformed command",device="pi-1"} 3.0' in page


async def test_every_endpoint_of_the_document_is_routed(api: Api) -> None:
    document = await api.call(api.client.get, "/openapi.json")
    assert document == json.loads(json.dumps(openapi_document(ENDPOINTS)))
    async with ClientSession() as session:
        for path, operations in document["paths"].items():
            async with session.options(api.base + path.format(id="x", sha256="x")) as answer:
                allowed = {verb.lower() for verb in answer.headers["Allow"].split(",")}
            assert set(operations) <= allowed, path


async def test_an_unknown_path_is_answered_in_the_form_of_errors(api: Api) -> None:
    with pytest.raises(NoData, match="Not Found"):
        await api.call(api.client.get, "/v2/devices")


async def test_a_taken_port_is_named_with_the_flag_that_changes_it(api: Api) -> None:
    with pytest.raises(InvalidInput) as caught:
        listen("127.0.0.1", api.port)
    assert str(api.port) in str(caught.value)
    assert "--api" in str(caught.value)


async def test_nobody_listening_is_transient_and_says_what_to_do(api: Api) -> None:
    await api.runner.cleanup()
    with pytest.raises(Transient, match="circinus coordinator"):
        await api.call(api.client.get, "/v1/devices")


@pytest.mark.parametrize("text", ["0.0.0.0:80", "example.org:80", "127.0.0.1", "127.0.0.1:99999"])
async def test_only_loopback_addresses_are_listened_on(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_address(text)
