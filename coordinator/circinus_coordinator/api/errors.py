"""Errors as JSON: ``{error, file?, key?, remedy?}`` with the status that says whose fault it is."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from circinus.errors import CircinusError, InvalidInput, NoData, Transient

__all__ = ["ErrorDocument", "TooLarge", "errors_as_json", "json_response"]

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TooLarge(InvalidInput):
    """More bytes than are accepted."""


class ErrorDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong, where it stands and what to do about it."""

    error: str
    file: str | None = None
    key: str | None = None
    remedy: str | None = None


def json_response(document: object, *, status: int = 200) -> web.Response:
    """`document`, anything msgspec can write, as JSON."""
    return web.Response(
        body=msgspec.json.encode(document), status=status, content_type="application/json"
    )


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in the same form; a bug is logged with its traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = json_response(ErrorDocument(error=error.reason), status=error.status)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except InvalidInput as error:
        document = ErrorDocument(
            error=error.problem, file=error.file, key=error.key, remedy=error.remedy
        )
        return json_response(document, status=413 if isinstance(error, TooLarge) else 422)
    except CircinusError as error:
        return json_response(ErrorDocument(error=str(error)), status=_status(error))
    except ConnectionResetError:
        raise  # the client went away: nobody is left to answer
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            document = ErrorDocument(
                error=f"the coordinator cannot store it: {error.strerror}",
                remedy="make room on the coordinator's disk",
            )
            return json_response(document, status=507)
        log.exception("bug while answering %s %s", request.method, request.path)
        return json_response(
            ErrorDocument(error="internal error", remedy="see the coordinator's log"), status=500
        )


def _status(error: CircinusError) -> int:
    if isinstance(error, NoData):
        return 404
    return 503 if isinstance(error, Transient) else 500
