"""One WebSocket connection to another agent, dialled or accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from circinus.errors import InvalidInput, Transient
from circinus_agent.dataplane.emulation import ShapedLink
from circinus_agent.dataplane.frames import MAX_FRAME_BYTES, Frame, Kind, decode, encode

__all__ = ["HEARTBEAT_S", "Connection"]

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    # Generic only for type checkers, in all releases of aiohttp that will do.
    Socket = aiohttp.ClientWebSocketResponse[Any] | web.WebSocketResponse[Any]

HELLO_TIMEOUT_S = 5.0
HEARTBEAT_S = 10.0
PING_EVERY_S = 2.0
# The smallest of these is the round trip; larger ones queued behind a picture.
PINGS = 8
# A peer that is this far behind will not make any deadline.
MAX_QUEUED_BYTES = 64 << 20
CLOSE_TIMEOUT_S = 2.0


class Connection:
    """Frames over one socket, both ways.

    Args:
        me: This device.
        shaping: The emulated link to a device, if there is one.
        on_frame: Called with each work, done and pull frame.
        dropped: Counts what is dropped, by cause.
    """

    def __init__(
        self,
        me: str,
        socket: Socket,
        *,
        shaping: Callable[[str], ShapedLink | None],
        on_frame: Callable[[str, Frame], None],
        dropped: Counter[str],
    ) -> None:
        self.device = ""
        self._me = me
        self._socket = socket
        self._shaping = shaping
        self._on_frame = on_frame
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._link: ShapedLink | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._echoes: dict[int, asyncio.Future[float]] = {}
        self._echo = 0
        self._rtts: deque[float] = deque(maxlen=PINGS)
        self._open = False

    @property
    def rtt_ms(self) -> float | None:
        """Smallest round trip of the last pings."""
        return min(self._rtts) if self._rtts else None

    async def greet(self) -> str:
        """Exchange names; returns the other's.

        Raises:
            InvalidInput: If it does not speak our language.
            Transient: If it says nothing.
        """
        hello = encode(Frame(kind=Kind.HELLO, device=self._me))
        try:
            await asyncio.wait_for(self._socket.send_bytes(hello), HELLO_TIMEOUT_S)
            message = await asyncio.wait_for(self._socket.receive(), HELLO_TIMEOUT_S)
        except (asyncio.TimeoutError, ConnectionError, RuntimeError) as error:
            raise Transient(f"no greeting: {str(error) or 'timeout'}") from None
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise Transient("the connection closed before the greeting")
        frame = decode(message.data)
        if frame.kind is not Kind.HELLO or not frame.device:
            raise InvalidInput("the first frame is no greeting")
        self.device = frame.device
        self._link = self._shaping(self.device)
        self._open = True
        return self.device

    async def run(self) -> None:
        """Serve the connection until it ends."""
        name = f"{self._me} - {self.device}"
        tasks = [
            asyncio.create_task(self._write(), name=f"write {name}"),
            asyncio.create_task(self._ping(), name=f"ping {name}"),
        ]
        try:
            await self._read()
        finally:
            self._open = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for waiting in self._echoes.values():
                if not waiting.done():
                    waiting.set_exception(Transient(f"lost the connection to {self.device}"))
                    waiting.exception()  # nobody may be waiting any more
            await self.close()

    async def close(self) -> None:
        """Close the socket; `run` ends."""
        self._open = False
        with contextlib.suppress(asyncio.TimeoutError, ConnectionError, RuntimeError):
            await asyncio.wait_for(self._socket.close(), CLOSE_TIMEOUT_S)

    def send(self, frame: Frame) -> bool:
        """Queue a frame; False where it cannot be sent."""
        if not self._open:
            return False
        data = encode(frame)
        size = len(data)
        if size > MAX_FRAME_BYTES:
            self._dropped["frame too large to send"] += 1
            return False
        if self._queued_bytes + size > MAX_QUEUED_BYTES:
            self._dropped["frame for a slow peer"] += 1
            return False
        when = 0.0 if self._link is None else self._link.arrival(self._loop.time(), size)
        self._queue.append((when, data))
        self._queued_bytes += size
        self._wake.set()
        return True

    async def echo(self, payload: bytes, timeout_s: float) -> float:
        """Send `payload` and wait for the (empty) reply; returns seconds.

        Raises:
            Transient: If there is none in time.
        """
        self._echo += 1
        number = self._echo
        answer: asyncio.Future[float] = self._loop.create_future()
        self._echoes[number] = answer
        started = self._loop.time()
        try:
            if not self.send(Frame(kind=Kind.ECHO, request=number, payload=payload)):
                raise Transient(f"no connection to {self.device}")
            return await asyncio.wait_for(answer, timeout_s) - started
        except asyncio.TimeoutError:
            raise Transient(f"{self.device} did not answer within {timeout_s:g} s") from None
        finally:
            del self._echoes[number]

    async def ping(self, timeout_s: float = HEARTBEAT_S) -> float:
        """One round trip in ms, remembered.

        Raises:
            Transient: If there is no answer.
        """
        rtt_ms = await self.echo(b"", timeout_s) * 1e3
        self._rtts.append(rtt_ms)
        return rtt_ms

    # ---- tasks ------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            when, data = self._queue.popleft()
            if when > 0.0 and (delay := when - self._loop.time()) > 0.0:
                # Never early; up to a millisecond late, which is how the loop's timers are rounded.
                await asyncio.sleep(delay)
            self._queued_bytes -= len(data)
            try:
                await self._socket.send_bytes(data)
            except (ConnectionError, RuntimeError):
                await self.close()  # the reader notices
                return

    async def _ping(self) -> None:
        while True:
            try:
                await self.ping()
            except Transient as error:
                logger.warning("%s", error)
                await self.close()
                return
            # Several at first, so that the round trip is known when requests come.
            await asyncio.sleep(PING_EVERY_S if len(self._rtts) >= 3 else 0.05)

    async def _read(self) -> None:
        socket = self._socket
        binary = aiohttp.WSMsgType.BINARY
        while True:
            message = await socket.receive()
            if message.type is not binary:
                if message.type is aiohttp.WSMsgType.ERROR:
                    self._complain(f"{message.data}")
                elif message.type is aiohttp.WSMsgType.TEXT:
                    self._complain("text, not binary")
                return
            try:
                frame = decode(message.data)
            except InvalidInput as error:
                self._complain(str(error))
                return
            if frame.kind is Kind.ECHO:
                self.send(Frame(kind=Kind.REPLY, request=frame.request))
            elif frame.kind is Kind.REPLY:
                waiting = self._echoes.get(frame.request)
                if waiting is not None and not waiting.done():
                    waiting.set_result(self._loop.time())
            elif frame.kind is not Kind.HELLO:
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        try:
            self._on_frame(self.device, frame)
        except Exception:
            # A fault in what one frame set off must not end the connection that all share.
            if not self._dropped["frame that failed here"]:
                logger.exception("a frame of %s failed (told once)", self.device)
            self._dropped["frame that failed here"] += 1

    def _complain(self, problem: str) -> None:
        if not self._dropped["malformed frame"]:
            logger.warning("connection to %s closed: %s (told once)", self.device, problem)
        self._dropped["malformed frame"] += 1
