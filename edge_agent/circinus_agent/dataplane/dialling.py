"""Keeping a connection to a peer that we dial."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp

from circinus.errors import InvalidInput, Transient
from circinus.messages import Peer
from circinus_agent.dataplane.backoff import Backoff
from circinus_agent.dataplane.connection import HEARTBEAT_S
from circinus_agent.dataplane.frames import MAX_FRAME_BYTES

__all__ = ["Dialler", "dial"]

if TYPE_CHECKING:
    from circinus_agent.dataplane.connection import Socket

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
FIRST_S, LAST_S = 0.25, 15.0
# A connection that lasted this long was a good one; the next try is quick again.
GOOD_S = 10.0


async def dial(session: aiohttp.ClientSession, url: str) -> Socket:
    """Open a WebSocket to the agent at `url` (``ws://host:port``).

    Raises:
        Transient: If nobody answers.
    """

    async def connect() -> Socket:
        return await session.ws_connect(
            f"{url.rstrip('/')}/v1/peer",
            compress=0,  # pictures and vectors do not shrink, and it costs milliseconds
            max_msg_size=MAX_FRAME_BYTES,
            heartbeat=HEARTBEAT_S,
        )

    try:
        return await asyncio.wait_for(connect(), CONNECT_TIMEOUT_S)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Transient(f"cannot connect to {url}: {str(error) or type(error).__name__}") from None
    except asyncio.TimeoutError:
        raise Transient(f"{url} did not answer within {CONNECT_TIMEOUT_S:g} s") from None


class Dialler:
    """Dials a peer again and again.

    Args:
        serve: Runs a connection on a socket to its end; given the name that must answer.
    """

    def __init__(
        self,
        peer: Peer,
        session: aiohttp.ClientSession,
        serve: Callable[[Socket, str], Awaitable[None]],
    ) -> None:
        assert peer.url is not None
        self.peer = peer
        self._url = peer.url
        self._session = session
        self._serve = serve
        self._told = ""
        self._task = asyncio.create_task(self._run(), name=f"dial {peer.device}")

    async def stop(self) -> None:
        """Close the connection and dial no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        backoff = Backoff(first_s=FIRST_S, last_s=LAST_S)
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                socket = await dial(self._session, self._url)
                self._told = ""
                await self._serve(socket, self.peer.device)
            except (Transient, InvalidInput) as error:
                self._tell(str(error))
            except Exception:
                # Nobody awaits this task: ended, the peer would stay away unseen and for ever.
                logger.exception("peer %s: the connection failed", self.peer.device)
            if loop.time() - started >= GOOD_S:
                backoff.reset()
            # Also after a connection that ended at once: many devices may have lost it together.
            await asyncio.sleep(backoff.next())

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            logger.warning("peer %s: %s", self.peer.device, problem)
            self._told = problem
