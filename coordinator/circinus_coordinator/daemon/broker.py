"""The broker the coordinator speaks to: one that is there, or one it starts."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from circinus.messages import MAX_MESSAGE_BYTES
from circinus.mqtt import BrokerAddress
from circinus_coordinator.broker import COORDINATOR_USER, BrokerKind, RunningBroker, start_broker
from circinus_coordinator.daemon.settings import BrokerSettings

__all__ = ["open_broker"]

# What is a little too large to be decoded shall reach who it is for, and be counted and told
# there; much larger ones the broker turns down.
MAX_PAYLOAD_BYTES = 2 * MAX_MESSAGE_BYTES


async def open_broker(
    settings: BrokerSettings, folder: Path, stack: contextlib.AsyncExitStack
) -> tuple[RunningBroker, BrokerAddress]:
    """The broker, and how the coordinator signs on; what is started here ends with `stack`.

    Raises:
        InvalidInput: If the port is taken, or the broker asked for is not installed.
    """
    external = None
    if settings.host is not None:
        external = BrokerAddress(
            host=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password,
        )
    broker = await stack.enter_async_context(
        start_broker(
            data_dir=folder / "broker",
            kind=BrokerKind(settings.kind),
            host=settings.listen,
            port=settings.port,
            external=external,
            max_payload_bytes=MAX_PAYLOAD_BYTES,
        )
    )
    if external is not None:
        return broker, external
    return broker, replace(broker.address, username=COORDINATOR_USER)
