"""Small matters of a process: waiting, ending in order, addresses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil

__all__ = ["address_towards", "emptied", "end_children", "ended", "first", "within"]

logger = logging.getLogger(__name__)

# A batch under way may end; what does not end by then is killed.
SHUTDOWN_S = 8.0


async def first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait for the first; raise what it raised."""
    running = [asyncio.create_task(wait, name="wait") for wait in waits]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def within(work: Coroutine[Any, Any, object], what: str) -> None:
    """A step of the shutdown; none may hold up the others."""
    try:
        await asyncio.wait_for(work, SHUTDOWN_S)
    except asyncio.TimeoutError:
        logger.warning("%s did not end within %.0f s", what, SHUTDOWN_S)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel and wait for the end."""
    task.cancel()
    await asyncio.wait({task})


def end_children() -> None:
    """Whatever still runs was started here and must not outlive the agent."""
    for child in psutil.Process().children(recursive=True):
        logger.warning("process %d had to be killed", child.pid)
        with contextlib.suppress(psutil.Error):
            child.kill()


def emptied(folder: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def address_towards(host: str, port: int) -> str:
    """This machine's address on the way to `host`; nothing is sent."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
