"""Ports: whether one is free, and one that is."""

from __future__ import annotations

import socket

from circinus.errors import InvalidInput

__all__ = ["check_free", "choose_free"]


def check_free(host: str, port: int) -> None:
    """Raise where nothing could listen.

    Raises:
        InvalidInput: the port is taken, not ours to take, or the address not of this machine.
    """
    try:
        _bind(host, port).close()
    except OSError as error:
        raise InvalidInput(
            f"the broker cannot listen on {host}:{port}: {error.strerror or error}",
            remedy="choose another port with --broker-port, 0 for any free one",
        ) from None


def choose_free(host: str) -> int:
    """A port that was free a moment ago.

    Raises:
        InvalidInput: the address is not of this machine.
    """
    try:
        with _bind(host, 0) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise InvalidInput(
            f"the broker cannot listen on {host}: {error.strerror or error}"
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    # Resolved first, so that an IPv6 address or a name works too.
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        # As brokers do: connections of a broker that has just ended must not count as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Several sockets may be bound to one port as long as none listens.
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener
