"""The client of the HTTP API: synchronous, on the standard library, so that it starts fast."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from circinus.errors import InvalidInput, NoData, Transient

__all__ = ["DEFAULT_API", "Client"]

DEFAULT_API = "127.0.0.1:7460"
TIMEOUT_S = 10.0
# The server sends a comment at least every 15 s.
EVENTS_TIMEOUT_S = 45.0
BAD_REQUESTS = (400, 411, 413, 415, 422)


class Client:
    """Speaks to one coordinator.

    Args:
        address: ``host:port`` or a URL.
        timeout_s: Deadline of each call.

    Raises:
        InvalidInput: From every method, when the coordinator refuses what was sent.
        NoData: When it does not know what was asked for.
        Transient: When it does not answer.
    """

    def __init__(self, address: str = DEFAULT_API, *, timeout_s: float = TIMEOUT_S) -> None:
        if "://" not in address:
            address = f"http://{address}"
        wrong = InvalidInput(
            f"{address!r} is no address",
            key="--api",
            remedy="write HOST:PORT, the port a number up to 65535",
        )
        try:
            url = urllib.parse.urlsplit(address)
            port = url.port
        except ValueError:
            raise wrong from None
        if url.scheme not in ("http", "https") or not url.hostname or port == 0:
            raise wrong
        self.base = address.rstrip("/")
        self._timeout_s = timeout_s
        # Proxies are for the world outside; the API is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Any:
        """A JSON document."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """A document as it was sent."""
        return self._call("GET", path)

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> Any:
        """Send a document."""
        return json.loads(self._call("POST", path, body, content_type))

    def delete(self, path: str) -> Any:
        """Remove something."""
        return json.loads(self._call("DELETE", path))

    def put_artifact(self, data: bytes) -> str:
        """Store an artifact; returns its sha256 in hex."""
        answer = json.loads(self._call("PUT", "/v1/artifacts", data, "application/octet-stream"))
        sha256: str = answer["sha256"]
        return sha256

    def events(self) -> Iterator[dict[str, Any]]:
        """What happens from now on, until the connection ends."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self.base}/v1/events", headers={"Accept": "text/event-stream"}
        )
        with self._open(request, EVENTS_TIMEOUT_S) as stream:
            try:
                for line in stream:
                    if line.startswith(b"data:"):
                        yield json.loads(line[5:])
            except (OSError, http.client.HTTPException) as error:
                raise Transient(f"the coordinator at {self.base} went away: {error}") from None

    def _call(
        self, method: str, path: str, body: bytes | None = None, content_type: str | None = None
    ) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self.base}{path}", data=body, method=method
        )
        if content_type:
            request.add_header("Content-Type", content_type)
        with self._open(request, self._timeout_s) as answer:
            try:
                content: bytes = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise Transient(f"the coordinator at {self.base} broke off: {error}") from None
            return content

    def _open(self, request: urllib.request.Request, timeout_s: float) -> Any:
        try:
            return self._opener.open(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            raise _explained(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Transient(
                f"no coordinator answers at {self.base}: {reason} "
                "(start one with 'circinus coordinator', or name its address with --api)"
            ) from None


def _explained(error: urllib.error.HTTPError) -> Exception:
    """The error of the API as the one it was raised from."""
    try:
        document = json.loads(error.read())
        problem = str(document["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return Transient(f"the coordinator answered {error.code} {error.reason}")
    if error.code == 404:
        return NoData(problem)
    if error.code in BAD_REQUESTS:
        return InvalidInput(
            problem,
            file=document.get("file"),
            key=document.get("key"),
            remedy=document.get("remedy"),
        )
    return Transient(problem)
