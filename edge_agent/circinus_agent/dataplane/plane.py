"""The data plane's facade."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from circinus.messages import LinkEmulation, LinkMeasurement, Peer
from circinus_agent.dataplane.frames import Frame

__all__ = ["DataPlane", "Handler"]


class Handler(Protocol):
    """What the data plane needs of the runtime (`Runtime` is one)."""

    def on_frame(self, device: str, frame: Frame) -> None:
        """A work, done or pull frame of `device` came in."""
        ...

    def on_disconnected(self, device: str) -> None:
        """The last connection to `device` is gone."""
        ...

    async def submit(
        self, query: str, inputs: bytes | Mapping[str, bytes], deadline_ms: float | None = None
    ) -> Any:
        """See `Runtime.submit`."""
        ...

    def subscribe(self, query: str, callback: Callable[[Any], None]) -> Callable[[], None]:
        """See `Runtime.subscribe`."""
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
        raise NotImplementedError

    def attach(self, handler: Handler) -> None:
        """Hand frames and HTTP requests to `handler`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Listen.

        Raises:
            InvalidInput: If the port is taken, naming it and how to choose another.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection and stop listening."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The port that is listened on."""
        raise NotImplementedError

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """Dial these (where they have a URL), and drop connections we dialled to others."""
        raise NotImplementedError

    def connected(self, device: str) -> bool:
        """Whether frames can be sent to `device` now."""
        raise NotImplementedError

    def send(self, device: str, frame: Frame) -> bool:
        """See `Transport.send`."""
        raise NotImplementedError

    def rtt_ms(self, device: str) -> float | None:
        """Smallest round trip of the last pings, emulated delay included."""
        raise NotImplementedError

    def transit_ms(self, device: str, size_bytes: int) -> float:
        """Half a round trip, plus the time on the line where its bandwidth is known."""
        raise NotImplementedError

    async def echo(
        self, peer: Peer, payload_bytes: int, *, timeout_s: float = 10.0
    ) -> tuple[float, float]:
        """Probe a link: an empty echo, then one with a payload that is answered by nothing.

        Returns:
            (rtt_ms, seconds): the empty round trip, and that of the payload one way; so the
            bandwidth is ``payload_bytes * 8 / (seconds - rtt_ms / 1e3)`` bit/s.

        Raises:
            Transient: If the peer cannot be reached or does not answer in time.
        """
        raise NotImplementedError

    def link_measurements(self) -> list[LinkMeasurement]:
        """Every peer as it is now."""
        raise NotImplementedError

    def dropped(self) -> dict[str, int]:
        """Frames dropped, by cause."""
        raise NotImplementedError
