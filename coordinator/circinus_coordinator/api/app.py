"""The web application, and the loopback address it listens on."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from circinus.errors import InvalidInput
from circinus_coordinator.api.endpoints import COORDINATOR, ENDPOINTS, READING
from circinus_coordinator.api.errors import errors_as_json, json_response
from circinus_coordinator.api.metrics import CONTENT_TYPE, metrics_page
from circinus_coordinator.api.openapi import openapi_document
from circinus_coordinator.daemon import Coordinator

__all__ = ["listen", "make_app", "parse_address", "serve"]

# Event streams never end by themselves; other requests are answered within milliseconds.
SHUTDOWN_S = 0.5
BACKLOG = 128

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(coordinator: Coordinator) -> web.Application:
    """The application over a started coordinator."""
    app = web.Application(middlewares=[errors_as_json, _local_only])
    app[COORDINATOR] = coordinator
    app[READING] = asyncio.Lock()
    document = openapi_document(ENDPOINTS)

    async def openapi(_: web.Request) -> web.Response:
        return json_response(document)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics_page(coordinator), headers={"Content-Type": CONTENT_TYPE})

    for row in ENDPOINTS:
        app.router.add_route(row.method, row.path, row.handler)
    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/metrics", metrics)
    return app


@web.middleware
async def _local_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a web page in a local browser could send: the API asks for no password.

    A page that points its own name at the loopback (DNS rebinding) sends that name as Host; a
    page that posts across origins sends its Origin.
    """
    if not _is_local(request.host):
        raise web.HTTPForbidden(reason=f"not for host {request.host[:80]!r}")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(reason="not for other origins")
    return await handler(request)


def _is_local(authority: str) -> bool:
    host = urlsplit(f"//{authority}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``PORT``; the loopback only.

    Raises:
        InvalidInput: For anything else.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InvalidInput(f"{text!r} is no address", key="--api", remedy="write HOST:PORT")
    if not _is_local(f"[{host}]" if ":" in host else host):
        raise InvalidInput(
            f"{host} is not this machine",
            key="--api",
            remedy="the API asks for no password and listens on the loopback only: 127.0.0.1:PORT",
        )
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; taken before anything else is started.

    Raises:
        InvalidInput: If the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise InvalidInput(
            f"cannot listen on {host}:{port}: {error.strerror}",
            key="--api",
            remedy="stop the program that has the port, or choose another: --api HOST:PORT",
        ) from None
    sock.setblocking(False)
    return sock


async def serve(coordinator: Coordinator, sock: socket.socket) -> web.AppRunner:
    """Answer requests on `sock` until the runner returned is cleaned up."""
    runner = web.AppRunner(
        make_app(coordinator), access_log=None, shutdown_timeout=SHUTDOWN_S, handle_signals=False
    )
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner
