"""The agent as a process: lock, log, signals, exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from circinus_agent.config import AgentConfig
from circinus_agent.state import StateFolder

__all__ = ["run"]


def run(config: AgentConfig) -> int:
    """Run an agent until SIGTERM or SIGINT; returns the exit code.

    Raises:
        InvalidInput: If the state folder or the port cannot be used.
        LockTaken: If another agent uses the folder.
    """
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    folder = StateFolder(config.state_dir)
    folder.lock()
    try:
        asyncio.run(_until_signalled(config, folder))
    finally:
        folder.unlock()
    return 0


async def _until_signalled(config: AgentConfig, folder: StateFolder) -> None:
    from circinus_agent.daemon.agent import Agent

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Agent(config, folder).run(stop)
