from __future__ import annotations

import asyncio
import errno
import os

import pytest

from circinus.messages import InstanceSpec
from circinus_agent.runtime import instance as instance_module
from circinus_agent.runtime import replica as replica_module
from circinus_agent.runtime.instance import Instance
from circinus_agent.runtime.outcome import WorkerFailed
from circinus_agent.runtime.settings import RuntimeSettings

SPEC = InstanceSpec(key="op", run="m:Op")
SETTINGS = RuntimeSettings(device="a")


def test_no_descriptors_left_fails_the_start_and_closes_what_was_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[int] = []

    def pipe() -> tuple[int, int]:
        if opened:
            raise OSError(errno.EMFILE, "Too many open files")
        opened.extend(os.pipe())
        return opened[0], opened[1]

    async def start() -> None:
        await Instance(SPEC, SETTINGS).start()

    monkeypatch.setattr(replica_module, "open_pipe", pipe)
    with pytest.raises(WorkerFailed, match="Too many open files"):
        asyncio.run(start())
    for fd in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_restart_survives_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    async def start_one(_: Instance) -> None:
        tries.append("start")
        if len(tries) == 1:
            raise RuntimeError("unforeseen")

    monkeypatch.setattr(instance_module, "RESTART_FIRST_S", 0.001)
    monkeypatch.setattr(Instance, "_start_one", start_one)

    async def restart() -> None:
        await asyncio.wait_for(Instance(SPEC, SETTINGS)._restart(), 10)

    asyncio.run(restart())
    assert len(tries) == 2
