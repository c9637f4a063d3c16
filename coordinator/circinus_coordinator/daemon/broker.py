"""The broker the coordinator speaks to: one that is there, or one it starts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from circinus.mqtt import BrokerAddress
from circinus_coordinator.daemon.settings import BrokerSettings

__all__ = ["open_broker"]


async def open_broker(
    settings: BrokerSettings, folder: Path, stack: contextlib.AsyncExitStack
) -> BrokerAddress:
    """Where the broker is; one that is started here is stopped with `stack`."""
    if settings.host is not None:
        return BrokerAddress(
            host=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password,
        )
    raise NotImplementedError(f"no broker to start in {folder} for {stack}")
