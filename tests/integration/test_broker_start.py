"""Starting, supervising and ending a broker."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from circinus.errors import InvalidInput
from circinus.mqtt import BrokerAddress, Protocol
from circinus_coordinator.broker import BrokerFailed, BrokerKind, RunningBroker, start_broker
from circinus_coordinator.broker import mosquitto as child
from circinus_coordinator.broker import start as starting
from tests.integration.conftest import DEADLINE_S

pytestmark = pytest.mark.asyncio


async def gone(pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.01)


def taken_port() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def test_free_port_is_chosen_and_listened_on(broker: RunningBroker) -> None:
    assert broker.port > 0
    _, writer = await asyncio.open_connection(broker.host, broker.port)
    writer.close()


async def test_port_is_free_again_afterwards(broker_kind: BrokerKind, tmp_path: Path) -> None:
    async with start_broker(kind=broker_kind, data_dir=tmp_path) as first:
        port = first.port
    async with start_broker(kind=broker_kind, data_dir=tmp_path, port=port) as second:
        assert second.port == port


async def test_taken_port_is_named_with_the_option_to_change_it(
    broker_kind: BrokerKind, tmp_path: Path
) -> None:
    with taken_port() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InvalidInput) as caught:
            async with start_broker(kind=broker_kind, data_dir=tmp_path, port=port):
                pass
    assert str(port) in str(caught.value)
    assert "--broker-port" in str(caught.value)


async def test_foreign_address_is_refused(broker_kind: BrokerKind, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        async with start_broker(kind=broker_kind, data_dir=tmp_path, host="192.0.2.1"):
            pass


async def test_embedded_broker_stays_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="loopback only"):
        async with start_broker(kind=BrokerKind.EMBEDDED, data_dir=tmp_path, host="0.0.0.0"):
            pass


async def test_embedded_broker_says_what_it_is(embedded: RunningBroker) -> None:
    assert embedded.for_development
    assert embedded.protocol_versions == (Protocol.V311,)


async def test_auto_falls_back_to_the_embedded_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "find_mosquitto", lambda: None)
    async with start_broker(data_dir=tmp_path) as running:
        assert running.kind is BrokerKind.EMBEDDED


@pytest.mark.needs_mosquitto
async def test_auto_prefers_mosquitto(tmp_path: Path) -> None:
    async with start_broker(data_dir=tmp_path) as running:
        assert running.kind is BrokerKind.MOSQUITTO


async def test_missing_mosquitto_is_said_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "find_mosquitto", lambda: None)
    with pytest.raises(InvalidInput, match="apt-get install mosquitto"):
        async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=tmp_path):
            pass


async def test_external_broker_is_only_named(tmp_path: Path) -> None:
    address = BrokerAddress(host="broker.example", port=1999)
    async with start_broker(data_dir=tmp_path, external=address) as running:
        assert running.kind is BrokerKind.EXTERNAL
        assert running.address is address
    assert not list(tmp_path.iterdir())


async def test_program_that_fails_is_quoted(tmp_path: Path, monkeypatch: Any) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho 'Error: no luck today' >&2\nexit 3\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    # Folders that pytest makes are closed to other users.
    monkeypatch.setattr(child, "_unprivileged_user", lambda: "root")
    monkeypatch.setattr(starting, "find_mosquitto", lambda: program)
    with pytest.raises(BrokerFailed, match="no luck today"):
        async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=tmp_path):
            pass


@pytest.mark.needs_mosquitto
async def test_child_that_dies_comes_back_on_the_same_port(mosquitto: RunningBroker) -> None:
    pid = mosquitto.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def back() -> None:
        while mosquitto.restarts == 0 or mosquitto.pid is None:
            await asyncio.sleep(0.01)
        while True:
            try:
                _, writer = await asyncio.open_connection(mosquitto.host, mosquitto.port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return

    await asyncio.wait_for(back(), DEADLINE_S)
    assert mosquitto.pid != pid


@pytest.mark.needs_mosquitto
async def test_child_comes_back_after_the_system_failed_to_start_it(
    tmp_path: Path, monkeypatch: Any
) -> None:
    execute, failed = child.MosquittoChild._execute, False

    async def fail_once(*arguments: Any) -> Any:
        nonlocal failed
        if not failed:
            failed = True
            raise OSError(errno.EMFILE, "Too many open files")
        return await execute(*arguments)

    async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=tmp_path) as broker:
        monkeypatch.setattr(child.MosquittoChild, "_execute", fail_once)
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)

        async def back() -> None:
            while broker.restarts < 2 or broker.pid is None:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(back(), DEADLINE_S)
    assert failed


@pytest.mark.needs_mosquitto
@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_a_broker_that_strangers_may_reach_is_warned_of(
    host: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=tmp_path, host=host):
        pass
    assert ("INSECURE" in caplog.text) is warned


@pytest.mark.needs_mosquitto
async def test_child_ends_with_its_context(tmp_path: Path) -> None:
    async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=tmp_path) as running:
        pid = running.pid
    assert pid is not None
    await asyncio.wait_for(gone(pid), DEADLINE_S)


@pytest.mark.needs_mosquitto
async def test_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from circinus_coordinator.broker import BrokerKind, start_broker\n"
        "async def main():\n"
        "    path = pathlib.Path(sys.argv[1])\n"
        "    async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=path) as broker:\n"
        "        print(broker.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), DEADLINE_S))
    assert psutil.pid_exists(pid)
    parent.kill()
    await parent.wait()
    await asyncio.wait_for(gone(pid), DEADLINE_S)


@pytest.mark.needs_mosquitto
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
async def test_child_of_root_runs_as_somebody_else(mosquitto: RunningBroker) -> None:
    assert mosquitto.pid is not None
    uids = psutil.Process(mosquitto.pid).uids()
    assert uids.real != 0
    assert uids.effective == pwd.getpwnam(child._unprivileged_user()).pw_uid
