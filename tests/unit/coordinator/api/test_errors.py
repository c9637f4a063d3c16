"""What the API answers when something goes wrong."""

from __future__ import annotations

import errno
import os

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from circinus_coordinator.api.errors import errors_as_json

pytestmark = pytest.mark.asyncio


async def _answer(error: Exception) -> tuple[int, str]:
    async def broken(_: web.Request) -> web.StreamResponse:
        raise error

    app = web.Application(middlewares=[errors_as_json])
    app.router.add_get("/", broken)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        return response.status, await response.text()


async def test_a_full_disk_is_told_apart_from_a_bug() -> None:
    status, text = await _answer(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert status == 507
    assert "make room on the coordinator's disk" in text


async def test_any_other_system_error_is_a_bug() -> None:
    status, text = await _answer(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert status == 500
    assert "internal error" in text
