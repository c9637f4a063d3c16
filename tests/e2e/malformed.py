"""Payloads that nobody may take for a message, by the topic they are sent to."""

from __future__ import annotations

from typing import Any

import msgspec

from circinus.messages import (
    MAX_MESSAGE_BYTES,
    SCHEMA,
    CancelProbe,
    Capabilities,
    CommandResult,
    CoordinatorStatus,
    Desired,
    DesiredBody,
    Message,
    ProbeSamples,
    Reported,
    Status,
    Telemetry,
    body_hash,
    encode,
)

DEVICE, BOOT = "cam-1", "nobody"

# More than anybody decodes, and less than the coordinator's own Mosquitto lets through.
OVERSIZED = b" " * (MAX_MESSAGE_BYTES + 1)

NOT_JSON = (b"{", b"\xff" * 100, b"[" * 100_000, b"null", b"[]", b"{}", b'{"type": 3}')


def _changed(message: Message, **fields: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(encode(message)), **fields})


def _versions_of(message: Message, **wrong: Any) -> tuple[bytes, ...]:
    """What is no JSON, of a newer schema, of another type, and wrong in each of these fields."""
    return (
        *NOT_JSON,
        _changed(message, schema=SCHEMA + 98),
        _changed(message, schema="one"),
        _changed(message, type="unheard-of"),
        *(_changed(message, **{name: value}) for name, value in wrong.items()),
    )


UP: dict[str, tuple[bytes, ...]] = {
    "status": _versions_of(
        Status(device=DEVICE, boot_id=BOOT, session=99, online=False),
        device="box-1",
        session="first",
        online=1,
    ),
    "capabilities": _versions_of(
        Capabilities(
            device=DEVICE,
            boot_id=BOOT,
            device_class="small",
            tier="device",
            cores=1,
            memory_mb=1,
            architecture="",
            os="",
            python="",
        ),
        device="box-1",
        cores="four",
        accelerators=[],
        operators=[{}],
    ),
    "reported": _versions_of(
        Reported(device=DEVICE, boot_id=BOOT, version=99, hash="", phase="failed"),
        device="box-1",
        version=1.5,
        instances={"shout": "dead"},
    ),
    "probe": _versions_of(
        ProbeSamples(device=DEVICE, request_id="r", seq=1, target=0),
        device="box-1",
        latency_ms="fast",
        scores=[None],
    ),
    "result": _versions_of(
        CommandResult(device=DEVICE, request_id="r", ok=True), device="box-1", ok="yes", data=[]
    ),
    "telemetry": _versions_of(
        Telemetry(device=DEVICE, boot_id=BOOT, seq=1, uptime_s=1),
        device="box-1",
        seq=None,
        routes=[{"query": "steady"}],
        dropped={"x": "many"},
    ),
}
"""By leaf; each has all that a coordinator subscribes to and reads."""

DESIRED = _versions_of(
    Desired(
        device=DEVICE,
        store="another",
        version=99,
        hash=body_hash(DesiredBody()),
        body=DesiredBody(),
    ),
    version="new",
    body={"routes": [{}]},
    hash=None,
)
COMMAND = _versions_of(
    CancelProbe(request_id="r", boot_id=BOOT, session=1, probe="p"), session="first", targets=[0.5]
)
COORDINATOR = _versions_of(CoordinatorStatus(store="another", online=False), online="no", api=7)
NONSENSE = (b"{}", b"{")
