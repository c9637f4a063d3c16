"""A small fleet that serves, and what happens to it when parts of it fail."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import malformed
import psutil
import pytest
from aiomqtt import Client as Mqtt
from fleet import HANG_TIMEOUT_S, Fleet, eventually

from circinus import topics

pytestmark = pytest.mark.timeout(180)


MALFORMED = "circinus_malformed_messages_total"
IGNORED = "circinus_ignored_messages_total"
DROPPED = "circinus_device_dropped_total"


class Load:
    """Posts to a query, one request after another, until it is told to stop."""

    def __init__(self, fleet: Fleet, query: str) -> None:
        self._fleet, self._query = fleet, query
        self._stop = threading.Event()
        self.answers: list[int] = []
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:  # noqa: PYI034 - Self is of 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(self._fleet.post(self._query, b"one")[0])
            except OSError:
                self.answers.append(0)

    def more(self, count: int) -> Callable[[], bool]:
        """True once so many further requests were answered well."""
        before = self.answers.count(200)
        return lambda: self.answers.count(200) >= before + count


def test_a_request_over_http_gets_its_result(serving: Fleet) -> None:
    status, answer = serving.post("steady", b"three")
    assert status == 200
    assert answer in (5, 10)


def test_a_folder_is_replayed_and_scored(serving: Fleet) -> None:
    def scored() -> bool:
        measured = serving.query("steady", 30)["measured"] or {}
        return measured.get("scored", 0) > 0 and measured["accuracy"] is not None

    eventually(scored, 20, "requests of the folder scored against its labels")


def test_an_unknown_query_is_answered_and_not_hung(serving: Fleet) -> None:
    status, _ = serving.post("nobody", b"x")
    assert status == 404


def test_an_operator_that_raises_fails_its_requests_with_the_cause(serving: Fleet) -> None:
    with Load(serving, "steady") as load:
        status, answer = serving.post("fragile", b"raise")
        assert status >= 500
        assert "told to raise" in str(answer)
        eventually(load.more(5), 10, "the other query going on")
    assert set(load.answers) == {200}
    eventually(lambda: serving.post("fragile", b"fine")[0] == 200, 20, "the operator back")


def test_a_killed_operator_fails_its_requests_and_comes_back(serving: Fleet) -> None:
    with Load(serving, "steady") as load:
        status, answer = serving.post("fragile", b"die")
        assert status >= 500
        assert "killed" in str(answer)
        eventually(lambda: serving.post("fragile", b"fine")[0] == 200, 30, "the operator back")
        eventually(load.more(5), 10, "the other query going on")
    assert set(load.answers) == {200}


def test_a_hung_operator_fails_its_requests_with_the_cause_and_comes_back(serving: Fleet) -> None:
    with Load(serving, "steady") as load:
        status, answer = serving.post("fragile", b"hang")
        assert status >= 500
        assert f"no answer within {HANG_TIMEOUT_S} s" in str(answer)
        eventually(load.more(5), 10, "the other query going on")
        eventually(lambda: serving.post("fragile", b"fine")[0] == 200, 30, "the operator back")
    assert set(load.answers) == {200}


async def _flood(fleet: Fleet, sent: Mapping[str, Sequence[bytes]]) -> None:
    # 3.1.1 is what both brokers speak.
    async with Mqtt("127.0.0.1", fleet.broker_port, timeout=30) as mqtt:
        for topic, payloads in sent.items():
            for payload in payloads:
                await mqtt.publish(topic, payload, qos=1)


def _send(fleet: Fleet, sent: Mapping[str, Sequence[bytes]]) -> None:
    """Publish to a fleet that goes on serving all the while."""
    with Load(fleet, "steady") as load:
        asyncio.run(asyncio.wait_for(_flood(fleet, sent), 60))
        eventually(load.more(20), 20, "serving going on")
    assert set(load.answers) == {200}
    assert fleet.client.get("/healthz")["status"] == "ok"


def _counted(fleet: Fleet, metric: str, count: int, **labels: str) -> None:
    eventually(
        lambda: fleet.metric(metric, **labels) == count, 10, f"{count} in {metric} of {labels}"
    )


def _no_traceback(fleet: Fleet, name: str) -> None:
    # An operator's own traceback belongs there: another test made it raise.
    lines = fleet.log(name).splitlines()
    assert not [line for line in lines if "Traceback" in line and "fragile-" not in line]


def test_malformed_messages_to_the_coordinator_are_counted_logged_once_and_ignored(
    serving: Fleet,
) -> None:
    device = topics.DeviceTopics("cam-1")
    before = {d["id"]: d["reported"] for d in serving.client.get("/v1/devices")["devices"]}
    _send(serving, {getattr(device, leaf): bad for leaf, bad in malformed.UP.items()})
    for leaf, bad in malformed.UP.items():
        _counted(serving, MALFORMED, len(bad), device="cam-1", leaf=leaf)
        told = [x for x in serving.log("coordinator").splitlines() if f"malformed {leaf}" in x]
        assert len(told) == 1, told  # once, and not for each message
    _no_traceback(serving, "coordinator")
    after = {d["id"]: d["reported"] for d in serving.client.get("/v1/devices")["devices"]}
    assert after == before


def test_malformed_messages_to_an_agent_are_counted_logged_once_and_ignored(
    serving: Fleet,
) -> None:
    device = topics.DeviceTopics("cam-1")
    sent = {
        "malformed desired": (device.desired, malformed.DESIRED),
        "malformed command": (device.command, malformed.COMMAND),
        "malformed coordinator status": (topics.COORDINATOR_STATUS, malformed.COORDINATOR),
        "unexpected topic": (device.all_down.replace("+", "nonsense"), malformed.NONSENSE),
    }
    _send(serving, dict(sent.values()))
    for cause, (_, bad) in sent.items():
        _counted(serving, DROPPED, len(bad), device="cam-1", cause=cause)
        told = [line for line in serving.log("cam-1").splitlines() if f"{cause} ignored" in line]
        assert len(told) == 1, told
    _no_traceback(serving, "cam-1")


def test_oversized_messages_are_counted_logged_once_and_ignored(serving: Fleet) -> None:
    device = topics.DeviceTopics("cam-1")
    large = [malformed.OVERSIZED] * 2
    _send(serving, {device.telemetry: large, device.reported: large, device.desired: large})
    _counted(serving, IGNORED, 4, cause="oversized message")
    _counted(serving, DROPPED, 2, device="cam-1", cause="oversized message")
    for name, topic in (
        ("coordinator", device.telemetry),
        ("coordinator", device.reported),
        ("cam-1", device.desired),
    ):
        told = [x for x in serving.log(name).splitlines() if f"{topic}: ignored a payload" in x]
        assert len(told) == 1, told
        _no_traceback(serving, name)


def test_a_killed_coordinator_is_not_missed_and_resumes_without_probing(serving: Fleet) -> None:
    plans = serving.client.get("/v1/plans")["plans"]
    samples = {
        (row["operator"], row["device_class"], str(row["config"])): row["samples"]
        for row in serving.client.get("/v1/profiles")["operators"]
    }
    with Load(serving, "steady") as load:
        serving.kill("coordinator")
        eventually(load.more(20), 15, "serving without a coordinator")
        serving.start_coordinator()
        serving.wait_serving(30)
        eventually(load.more(20), 15, "serving with the coordinator back")
    assert set(load.answers) == {200}

    def same(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
        return [(row["query"], row["assignment"]["plan"]) for row in rows]  # type: ignore[index]

    assert same(serving.client.get("/v1/plans")["plans"]) == same(plans)
    again = {
        (row["operator"], row["device_class"], str(row["config"])): row["samples"]
        for row in serving.client.get("/v1/profiles")["operators"]
    }
    assert again == samples
    eventually(
        lambda: (serving.query("steady", 3)["measured"] or {}).get("completed"),
        20,
        "telemetry reaching the new coordinator",
    )


def _telemetry_flows(fleet: Fleet) -> None:
    before = fleet.finished("steady")
    eventually(lambda: fleet.finished("steady") > before, 20, "telemetry of served requests")


def test_a_killed_broker_of_the_coordinators_is_back_and_all_agree_within_ten_seconds(
    serving: Fleet,
) -> None:
    """Mosquitto is a child, which the coordinator starts again by itself.

    The embedded broker lives in the coordinator: whoever kills the one kills the other, so that
    here SIGKILL goes to the coordinator, and the test starts it again.
    """
    with Load(serving, "steady") as load:
        if serving.broker == "embedded":
            serving.kill("coordinator")
            eventually(load.more(20), 15, "serving without a broker")
            serving.start_coordinator()
        else:
            child = serving.broker_process()
            assert child is not None
            child.kill()
            eventually(
                lambda: serving.broker_process() not in (None, child), 10, "another Mosquitto"
            )
        back = time.monotonic()
        eventually(lambda: serving.agreed(back), 10, "everything reconnected and told the same")
        _telemetry_flows(serving)
        eventually(load.more(20), 15, "serving with the broker back")
    assert set(load.answers) == {200}


@pytest.fixture
def external(make_fleet: Callable[[str], Fleet]) -> Fleet:
    fleet = make_fleet("external")
    fleet.start()
    fleet.submit()
    fleet.wait_serving()
    return fleet  # stopped by make_fleet


@pytest.mark.needs_mosquitto
def test_a_killed_broker_of_somebody_elses_is_not_missed_and_all_agree_within_ten_seconds(
    external: Fleet,
) -> None:
    with Load(external, "steady") as load:
        external.kill("broker")
        eventually(load.more(20), 15, "serving without a broker")
        external.start_broker()
        back = time.monotonic()
        eventually(lambda: external.agreed(back), 10, "everything reconnected and told the same")
        _telemetry_flows(external)
    assert set(load.answers) == {200}


def test_agents_leave_no_orphans_however_they_end(make_fleet: Callable[[str], Fleet]) -> None:
    fleet = make_fleet("embedded")
    fleet.start()
    fleet.submit()
    fleet.wait_serving()
    asked, killed = fleet.workers("cam-1"), fleet.workers("box-1")
    assert asked
    assert killed
    process = fleet.running["cam-1"].process
    process.send_signal(signal.SIGTERM)
    fleet.kill("box-1")
    assert process.wait(15) == 0, fleet.log("cam-1")
    _, alive = psutil.wait_procs([*asked, *killed], timeout=5)
    assert not alive
