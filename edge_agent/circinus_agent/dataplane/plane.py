"""The data plane's facade."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol

import aiohttp
from aiohttp import web

from circinus.errors import InvalidInput, Transient
from circinus.messages import LinkEmulation, LinkMeasurement, Peer
from circinus_agent.dataplane.connection import HEARTBEAT_S, Connection
from circinus_agent.dataplane.dialling import Dialler, dial
from circinus_agent.dataplane.emulation import ShapedLink
from circinus_agent.dataplane.frames import MAX_FRAME_BYTES, Frame
from circinus_agent.dataplane.http import MAX_BODY_BYTES, Requests, routes

if TYPE_CHECKING:
    from circinus_agent.dataplane.connection import Socket

__all__ = ["DataPlane", "Handler"]

logger = logging.getLogger(__name__)

SHUTDOWN_S = 1.0
ECHO_PINGS = 3


class Handler(Requests, Protocol):
    """What the data plane needs of the runtime (`Runtime` is one)."""

    def on_frame(self, device: str, frame: Frame) -> None:
        """A work, done or pull frame of `device` came in."""
        ...

    def on_disconnected(self, device: str) -> None:
        """The last connection to `device` is gone."""
        ...


class DataPlane:
    """Connections to other agents, and the HTTP interface.

    Args:
        device: Name of this device.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        links: Emulated links: delays of what this device sends.
    """

    def __init__(
        self, device: str, *, host: str, port: int, links: Sequence[LinkEmulation] = ()
    ) -> None:
        self.device = device
        self._host = host
        self._port = port
        self._links = {link.peer: link for link in links}
        self._shaped: dict[str, ShapedLink] = {}
        self._handler: Handler | None = None
        self._dropped: Counter[str] = Counter()
        self._connections: dict[str, list[Connection]] = {}
        self._diallers: dict[str, Dialler] = {}
        self._peers: dict[str, Peer] = {}
        self._bandwidths: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._background: set[asyncio.Task[None]] = set()

    # ---- life -------------------------------------------------------------------------------

    def attach(self, handler: Handler) -> None:
        """Hand frames and HTTP requests to `handler`."""
        self._handler = handler

    async def start(self) -> None:
        """Listen.

        Raises:
            InvalidInput: If the port is taken, naming it and how to choose another.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.get("/v1/peer", self._accept),
                web.get("/healthz", self._health),
                *routes(lambda: self._handler),
            ]
        )
        # Cancelled handlers: a client that hangs up must not keep a stream going.
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise _cannot_listen(self._host, self._port, error) from None
        self._runner = runner

    async def close(self) -> None:
        """Close every connection and stop listening."""
        await asyncio.gather(*(d.stop() for d in self._diallers.values()))
        self._diallers.clear()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        everyone = [c for connections in self._connections.values() for c in connections]
        await asyncio.gather(*(c.close() for c in everyone))
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._runner is not None and self._runner.addresses:
            return int(self._runner.addresses[0][1])
        return self._port

    # ---- peers ------------------------------------------------------------------------------

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """Dial these (where they have a URL), and drop connections we dialled to others."""
        self._peers = {peer.device: peer for peer in peers if peer.device != self.device}
        for device, dialler in list(self._diallers.items()):
            if self._peers.get(device) != dialler.peer:
                del self._diallers[device]
                self._spawn(dialler.stop(), f"hang up {device}")
        for device, peer in self._peers.items():
            if peer.url is not None and device not in self._diallers:
                self._diallers[device] = Dialler(peer, self._client(), self._serve)

    def connected(self, device: str) -> bool:
        """Whether frames can be sent to `device` now."""
        return device in self._connections

    def send(self, device: str, frame: Frame) -> bool:
        """See `Transport.send`."""
        connections = self._connections.get(device)
        # The newest: an older one may be half dead, and nobody has noticed yet.
        return connections is not None and connections[-1].send(frame)

    def rtt_ms(self, device: str) -> float | None:
        """Smallest round trip of the last pings, emulated delay included."""
        connections = self._connections.get(device)
        return connections[-1].rtt_ms if connections else None

    def transit_ms(self, device: str, size_bytes: int) -> float:
        """Half a round trip, plus the time on the line where its bandwidth is known."""
        line_ms = 0.0
        link = self._links.get(device)
        bandwidth_mbps = link.bandwidth_mbps if link else self._bandwidths.get(device)
        if bandwidth_mbps:
            line_ms = size_bytes * 8 / bandwidth_mbps / 1e3
        return (self.rtt_ms(device) or 0.0) / 2 + line_ms

    def link_measurements(self) -> list[LinkMeasurement]:
        """Every peer as it is now."""
        return [
            LinkMeasurement(peer=name, connected=self.connected(name), rtt_ms=self.rtt_ms(name))
            for name in sorted({*self._peers, *self._connections})
        ]

    def dropped(self) -> dict[str, int]:
        """Frames dropped, by cause."""
        return dict(self._dropped)

    async def echo(
        self, peer: Peer, payload_bytes: int, *, timeout_s: float = 10.0
    ) -> tuple[float, float]:
        """Probe a link: an empty echo, then one with a payload that is answered by nothing.

        A peer that is not connected is dialled for the while.

        Returns:
            (rtt_ms, seconds): the empty round trip, and that of the payload one way; so the
            bandwidth is ``payload_bytes * 8 / (seconds - rtt_ms / 1e3)`` bit/s.

        Raises:
            Transient: If the peer cannot be reached or does not answer in time.
        """
        connections = self._connections.get(peer.device)
        if connections:
            return await self._probe(connections[-1], payload_bytes, timeout_s)
        if peer.url is None:
            raise Transient(f"{peer.device} has not dialled in")
        try:
            socket = await asyncio.wait_for(dial(self._client(), peer.url), timeout_s)
        except asyncio.TimeoutError:
            raise Transient(f"{peer.url} did not answer within {timeout_s:g} s") from None
        serving = self._spawn(self._serve(socket, peer.device), f"probe {peer.device}")
        try:
            connection = await self._appears(peer.device, serving, timeout_s)
            return await self._probe(connection, payload_bytes, timeout_s)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _probe(
        self, connection: Connection, payload_bytes: int, timeout_s: float
    ) -> tuple[float, float]:
        rtt_ms = min([await connection.ping(timeout_s) for _ in range(ECHO_PINGS)])
        seconds = await connection.echo(bytes(payload_bytes), timeout_s)
        line_s = seconds - rtt_ms / 1e3
        if line_s > 0:
            self._bandwidths[connection.device] = payload_bytes * 8e-6 / line_s
        return rtt_ms, seconds

    async def _appears(
        self, device: str, serving: asyncio.Task[None], timeout_s: float
    ) -> Connection:
        """The connection that `serving` is setting up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while device not in self._connections:
            if serving.done() or loop.time() > until:
                error = serving.exception() if serving.done() else None
                raise Transient(f"no connection to {device}: {error or 'timeout'}")
            await asyncio.wait([serving], timeout=0.005)
        return self._connections[device][-1]

    # ---- connections ------------------------------------------------------------------------

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=MAX_FRAME_BYTES, heartbeat=HEARTBEAT_S
        )
        await socket.prepare(request)
        try:
            await self._serve(socket, None)
        except (Transient, InvalidInput) as error:
            if not self._dropped["malformed greeting"]:
                logger.warning("connection from %s: %s (told once)", request.remote, error)
            self._dropped["malformed greeting"] += 1
        return socket

    async def _serve(self, socket: Socket, expected: str | None) -> None:
        """Run a connection to its end."""
        connection = Connection(
            self.device,
            socket,
            shaping=self._shaping,
            on_frame=self._on_frame,
            dropped=self._dropped,
        )
        try:
            device = await connection.greet()
            if expected not in (None, device):
                raise InvalidInput(f"who answers there is {device}, not {expected}")
        except BaseException:
            await connection.close()
            raise
        connections = self._connections.setdefault(device, [])
        connections.append(connection)
        logger.info("connected to %s", device)
        try:
            await connection.run()
        finally:
            connections.remove(connection)
            if not connections:
                del self._connections[device]
                logger.info("connection to %s ended", device)
                if self._handler is not None:
                    self._handler.on_disconnected(device)

    def _on_frame(self, device: str, frame: Frame) -> None:
        if self._handler is None:
            self._dropped["frame before start"] += 1
        else:
            self._handler.on_frame(device, frame)

    def _shaping(self, device: str) -> ShapedLink | None:
        """One per peer, not per connection: it is the same wire."""
        link = self._links.get(device)
        if link is None:
            return None
        if device not in self._shaped:
            self._shaped[device] = ShapedLink(link)
        return self._shaped[device]

    async def _health(self, _request: web.Request) -> web.Response:
        peers = {m.peer: m.connected for m in self.link_measurements()}
        return web.json_response({"ok": True, "device": self.device, "peers": peers})

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    def _spawn(self, coroutine: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _cannot_listen(host: str, port: int, error: OSError) -> InvalidInput:
    if error.errno == errno.EADDRINUSE:
        problem = f"port {port} on {host} is taken"
    else:
        problem = f"cannot listen on {host}:{port}: {error.strerror or error}"
    return InvalidInput(
        problem, key="data_plane.port", remedy="choose another with --listen HOST:PORT; 0 is any"
    )
