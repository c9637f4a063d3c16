"""Messages, topics and histograms."""

from __future__ import annotations

import random

import msgspec
import pytest

from circinus import messages as m
from circinus.errors import InvalidInput
from circinus.histogram import Histogram
from circinus.topics import DeviceTopics, split_up

BODY = m.DesiredBody(instances=[m.InstanceSpec(key="k", run="a:B", config={"side": 320})])


def test_a_command_is_told_by_its_tag() -> None:
    cancel = m.CancelProbe(request_id="r", boot_id="b", session=1, probe="p", targets=[2])
    assert m.decode(m.encode(cancel), m.AnyCommand) == cancel


def test_unknown_fields_are_ignored_and_newer_schemas_refused() -> None:
    status = m.Status(device="d", boot_id="b", session=1, online=True)
    raw = msgspec.json.decode(m.encode(status))
    assert m.decode(msgspec.json.encode({**raw, "new": 1}), m.Status) == status
    with pytest.raises(InvalidInput, match="schema 2"):
        m.decode(msgspec.json.encode({**raw, "schema": 2}), m.Status)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_a_malformed_payload_is_invalid_input_and_nothing_worse(payload: bytes) -> None:
    with pytest.raises(InvalidInput, match="malformed"):
        m.decode(payload, m.Desired)


@pytest.mark.parametrize("figure", [-1, 2**53, 2**63 - 1, 2**63])
@pytest.mark.parametrize(
    ("message", "field"),
    [
        (m.Status(device="d", boot_id="b", session=1, online=True), "session"),
        (
            m.Reported(device="d", boot_id="b", version=1, hash="", phase="idle", refused="no"),
            "version",
        ),
        (m.ProbeSamples(device="d", request_id="r", seq=1, target=0), "seq"),
        (m.Telemetry(device="d", boot_id="b", seq=1, uptime_s=1.0), "seq"),
    ],
)
def test_no_device_counts_to_where_a_store_ends(
    message: m.Message, field: str, figure: int
) -> None:
    raw = msgspec.json.decode(m.encode(message))
    assert m.decode(msgspec.json.encode({**raw, field: 2**53 - 1}), type(message))
    with pytest.raises(InvalidInput, match=field):
        m.decode(msgspec.json.encode({**raw, field: figure}), type(message))


def test_an_oversized_payload_is_not_even_parsed() -> None:
    with pytest.raises(InvalidInput, match="too many"):
        m.decode(b"[" * (m.MAX_MESSAGE_BYTES + 1), m.Desired)


def test_the_hash_follows_the_content_and_survives_the_wire() -> None:
    desired = m.Desired(device="d", store="s", version=1, hash=m.body_hash(BODY), body=BODY)
    received = m.decode(m.encode(desired), m.Desired)
    assert m.body_hash(received.body) == received.hash
    assert m.body_hash(m.DesiredBody()) != received.hash


def test_instances_are_shared_by_config_whatever_its_order() -> None:
    one = m.instance_key("a:B", {"x": 1, "y": 2}, 1)
    assert one == m.instance_key("a:B", {"y": 2, "x": 1}, 1)
    assert one != m.instance_key("a:B", {"x": 1, "y": 2}, 2)


def test_topics_of_a_device() -> None:
    topics = DeviceTopics("pi-1")
    assert topics.status == "circinus/v1/d/pi-1/up/status"
    assert split_up(topics.telemetry) == ("pi-1", "telemetry")
    assert split_up(topics.desired) is None
    with pytest.raises(InvalidInput):
        DeviceTopics("a/+")


def test_a_histograms_quantiles_lie_within_one_percent() -> None:
    draw = random.Random(1)
    values = sorted(draw.lognormvariate(3, 1) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for q in (0.01, 0.5, 0.95, 0.999):
        assert histogram.quantile(q) == pytest.approx(values[int(q * 5000) - 1], rel=0.0101)
    assert histogram.mean == pytest.approx(sum(values) / 5000, rel=0.01)
    assert histogram.below(values[2499]) == pytest.approx(0.5, abs=0.02)


def test_what_came_since_an_earlier_state_is_their_difference() -> None:
    histogram = Histogram()
    histogram.add(5)
    earlier = Histogram(histogram.counts)
    histogram.add(500)
    assert histogram.since(earlier).total == 1
    assert histogram.since(earlier).quantile(0.5) == pytest.approx(500, rel=0.01)


def test_an_empty_histogram_knows_nothing() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean is None
