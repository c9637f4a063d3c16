"""Start a broker, or reach one that runs."""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from circinus.errors import InvalidInput
from circinus.mqtt import BrokerAddress, Protocol
from circinus_coordinator.broker.mosquitto import BrokerFailed, MosquittoChild, find_mosquitto
from circinus_coordinator.broker.ports import check_free, choose_free

__all__ = ["BrokerFailed", "BrokerKind", "RunningBroker", "find_mosquitto", "start_broker"]

log = logging.getLogger(__name__)

# A free port may be taken by somebody else before the broker listens.
PORT_TRIES = 5


class BrokerKind(enum.Enum):
    """Which broker."""

    AUTO = "auto"
    """Mosquitto where it is installed, else embedded."""
    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBroker:
    """A broker that takes connections."""

    kind: BrokerKind
    address: BrokerAddress
    protocol_versions: tuple[Protocol, ...]
    """What it speaks, best first; of an external one, what it may speak."""
    _pid: Callable[[], int | None] = field(default=lambda: None, repr=False)
    _restarts: Callable[[], int] = field(default=lambda: 0, repr=False)

    @property
    def host(self) -> str:
        """Where clients of this machine connect to."""
        return self.address.host

    @property
    def port(self) -> int:
        """Its port; the same after a restart."""
        return self.address.port

    @property
    def pid(self) -> int | None:
        """Of the child, if it is one and runs."""
        return self._pid()

    @property
    def restarts(self) -> int:
        """How often the child was started again."""
        return self._restarts()

    @property
    def for_development(self) -> bool:
        """Whether it is not meant to carry a fleet."""
        return self.kind is BrokerKind.EMBEDDED


@contextlib.asynccontextmanager
async def start_broker(
    *,
    data_dir: Path,
    kind: BrokerKind = BrokerKind.AUTO,
    host: str = "127.0.0.1",
    port: int = 0,
    external: BrokerAddress | None = None,
    max_payload_bytes: int = 8 << 20,
) -> AsyncIterator[RunningBroker]:
    """Run a broker for the time of the context.

    Args:
        data_dir: For the files of a child.
        kind: What to start.
        host: To listen on; the embedded broker takes only a loopback address.
        port: To listen on; 0 for any free one.
        external: Where an external broker is; given, nothing is started.
        max_payload_bytes: Larger messages are not taken.

    Raises:
        InvalidInput: the port is taken, Mosquitto is asked for and not installed, and the like.
        BrokerFailed: the program does not start.
    """
    if external is not None or kind is BrokerKind.EXTERNAL:
        if external is None:
            raise InvalidInput("an external broker needs its address", remedy="mqtt://HOST:PORT")
        yield RunningBroker(
            kind=BrokerKind.EXTERNAL,
            address=external,
            protocol_versions=(Protocol.V5, Protocol.V311),
        )
        return
    program = None if kind is BrokerKind.EMBEDDED else find_mosquitto()
    if program is None and kind is BrokerKind.MOSQUITTO:
        raise InvalidInput(
            "Mosquitto is not installed",
            remedy="install it (Debian: apt-get install mosquitto), or choose the embedded broker",
        )
    if port:
        check_free(host, port)
    async with contextlib.AsyncExitStack() as stack:
        if program is None:
            yield await _embedded(stack, host, port)
        else:
            if not _is_loopback(host):
                _warn_of_strangers(host)
            child = await _child(program, host, port, data_dir, max_payload_bytes)
            stack.push_async_callback(child.stop)
            yield RunningBroker(
                kind=BrokerKind.MOSQUITTO,
                address=BrokerAddress(host=_reachable(host), port=child.port),
                protocol_versions=(Protocol.V5, Protocol.V311),
                _pid=lambda: child.pid,
                _restarts=lambda: child.restarts,
            )


async def _child(
    program: Path, host: str, port: int, data_dir: Path, max_payload_bytes: int
) -> MosquittoChild:
    tries = 1 if port else PORT_TRIES
    while True:
        child = MosquittoChild(
            program,
            host=host,
            port=port or choose_free(host),
            data_dir=data_dir,
            max_payload_bytes=max_payload_bytes,
        )
        tries -= 1
        try:
            await child.start()
        except BrokerFailed as error:
            if not tries or "in use" not in str(error):
                raise
        else:
            return child


async def _embedded(stack: contextlib.AsyncExitStack, host: str, port: int) -> RunningBroker:
    if not _is_loopback(host):
        raise InvalidInput(
            f"the embedded broker listens on loopback only, not on {host}",
            remedy="install Mosquitto",
        )
    # Imported here: it takes 0.3 s, and most coordinators have Mosquitto.
    from circinus_coordinator.broker.embedded import EmbeddedBroker

    port = port or choose_free(host)
    broker = EmbeddedBroker(host, port)
    await broker.start()
    stack.push_async_callback(broker.stop)
    log.warning("Mosquitto is not used: the embedded broker is for development")
    return RunningBroker(
        kind=BrokerKind.EMBEDDED,
        address=BrokerAddress(host=host, port=port),
        protocol_versions=(Protocol.V311,),
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _warn_of_strangers(host: str) -> None:
    log.warning(
        "INSECURE: the broker listens on %s and asks nobody for a password: whoever reaches it can "
        "read all messages, speak for any device and deploy operators. Listen on the loopback, "
        "keep strangers out by a firewall, or run a broker that asks for passwords (--broker)",
        host,
    )


def _reachable(host: str) -> str:
    """Where clients of this machine reach a broker that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
