"""Runs coordinator and API together until a signal comes."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
from typing import TYPE_CHECKING

from circinus_coordinator.api.app import listen, serve
from circinus_coordinator.cli.output import say
from circinus_coordinator.daemon import Coordinator

if TYPE_CHECKING:
    from circinus_coordinator.daemon import Settings

__all__ = ["run_coordinator"]


async def run_coordinator(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InvalidInput: If a port is taken or the settings are wrong; nothing is started then.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # First, so that a taken port is found before there is a broker or an open store.
    sock = listen(host, port)
    try:
        host, port = sock.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if settings.api_url is None:
            settings = dataclasses.replace(settings, api_url=url)
        await _serve(Coordinator(settings), sock, url, stop)
    finally:
        sock.close()


async def _serve(
    coordinator: Coordinator, sock: socket.socket, url: str, stop: asyncio.Event
) -> None:
    async with coordinator:
        runner = await serve(coordinator, sock)
        try:
            broker_host, broker_port = coordinator.broker_address
            say(f"API {url}, broker {broker_host}:{broker_port}, store {coordinator.store_id}")
            await _until(stop, coordinator)
        finally:
            await runner.cleanup()


async def _until(stop: asyncio.Event, coordinator: Coordinator) -> None:
    """Wait for the signal, or for the coordinator to fail."""
    tasks = {
        asyncio.create_task(stop.wait(), name="signal"),
        asyncio.create_task(coordinator.wait(), name="coordinator"),
    }
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
