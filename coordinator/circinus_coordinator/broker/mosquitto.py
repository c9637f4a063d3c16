"""Mosquitto as a supervised child."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import pwd
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from circinus.errors import CircinusError
from circinus.mqtt import Backoff
from circinus_coordinator.broker.access import mosquitto_acl

__all__ = ["BrokerFailed", "MosquittoChild", "configuration", "find_mosquitto", "own_folder"]

log = logging.getLogger(__name__)

READY_S = 10.0
STOP_S = 3.0
POLL_S = 0.02


class BrokerFailed(CircinusError):
    """The broker program did not start; the message has its last words."""


def find_mosquitto() -> Path | None:
    """The installed program; Debian keeps daemons out of a user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("mosquitto", path=path)
    return Path(found) if found else None


def configuration(*, host: str, port: int, max_payload_bytes: int, acl_file: Path) -> str:
    """The child's configuration file."""
    return f"""\
listener {port} {host}
allow_anonymous true
acl_file {acl_file}

# The store is the truth, and retained topics are rewritten from it.
persistence false

# With the default of 20 in flight and 1000 queued, a coordinator that subscribes to a large fleet
# would silently miss retained messages.
max_inflight_messages 1000
max_queued_messages 100000
max_queued_bytes 268435456
message_size_limit {max_payload_bytes}
set_tcp_nodelay true

sys_interval 0
connection_messages false
log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
"""


class MosquittoChild:
    """Runs the program, starts it again when it dies, and never outlives this process.

    Args:
        program: The executable.
        host: To listen on.
        port: To listen on, the same after each restart.
        data_dir: For the configuration.
        max_payload_bytes: Larger messages are not taken.
    """

    def __init__(
        self,
        program: Path,
        *,
        host: str,
        port: int,
        data_dir: Path,
        max_payload_bytes: int,
    ) -> None:
        self.restarts = 0
        self._program = program
        self._host = host
        self.port = port
        self._data_dir = data_dir
        self._max_payload_bytes = max_payload_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._logger: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._last_words: collections.deque[str] = collections.deque(maxlen=5)

    @property
    def pid(self) -> int | None:
        """Of the running child; None between a death and the next start."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the program and wait until it listens.

        Raises:
            BrokerFailed: it ended, or did not listen in time.
        """
        await self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(), name="broker-supervisor")

    async def stop(self) -> None:
        """End the program."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._end()

    async def _supervise(self) -> None:
        backoff = Backoff(base_s=0.1, cap_s=5.0)
        started = time.monotonic()
        while True:
            if self._process is not None:
                await self._process.wait()
                log.error("the broker died (exit %s)", self._process.returncode)
            await asyncio.sleep(backoff.next_delay_s(time.monotonic() - started))
            started = time.monotonic()
            self.restarts += 1
            try:
                await self._end()
                await self._spawn()
            except BrokerFailed as error:
                log.error("the broker does not come back: %s", error)
            except Exception:
                # A full disk or too many open files, say: nobody awaits this task, and without it
                # the broker would stay away for good.
                log.exception("the broker does not come back")

    async def _spawn(self) -> None:
        self._last_words.clear()
        with own_folder(self._data_dir) as (folder, user):
            self._process = await self._execute(self._configure(folder, user), user)
            self._logger = asyncio.create_task(self._log(self._process), name="broker-log")
            try:
                await asyncio.wait_for(self._listening(self._process), READY_S)
            except asyncio.TimeoutError:
                await self._end()
                raise BrokerFailed(f"it does not listen on {self._host}:{self.port}") from None
            except BaseException:
                await self._end()
                raise

    def _configure(self, folder: Path, user: str) -> Path:
        acl_file, config = folder / "acl", folder / "mosquitto.conf"
        _write(acl_file, mosquitto_acl(), user)
        text = configuration(
            host=self._host,
            port=self.port,
            max_payload_bytes=self._max_payload_bytes,
            acl_file=acl_file,
        )
        _write(config, text, user)
        return config

    async def _execute(self, config: Path, user: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("exec_child.py")),
            str(os.getpid()),
            user,
            str(self._program),
            "-c",
            str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C is for the coordinator, which ends the broker last.
            start_new_session=True,
        )

    async def _listening(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self._host, self.port)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return
            await asyncio.sleep(POLL_S)
        if self._logger is not None:
            await self._logger
        raise BrokerFailed("; ".join(self._last_words) or f"exit {process.returncode}")

    async def _log(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            return
        async for line in process.stderr:
            text = line.decode(errors="replace").strip()
            self._last_words.append(text)
            log.log(logging.WARNING if "rror" in text else logging.DEBUG, "mosquitto: %s", text)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()
        if self._logger is not None:
            await asyncio.gather(self._logger, return_exceptions=True)
            self._logger = None


@contextlib.contextmanager
def own_folder(data_dir: Path) -> Iterator[tuple[Path, str]]:
    """A folder for the child's files while it starts, and the user to run it as; empty: this one.

    Started by root, the child runs as somebody else, who cannot reach a folder below ``/root``:
    then the files stand in a temporary folder of that user. They are gone once it has read them,
    since a killed coordinator could not clean up.
    """
    if os.geteuid() != 0:
        folder = data_dir / "broker"
        folder.mkdir(parents=True, exist_ok=True)
        yield folder, ""
        return
    user = _unprivileged_user()
    with tempfile.TemporaryDirectory(prefix="circinus-broker-") as name:
        if user:
            shutil.chown(name, user, pwd.getpwnam(user).pw_gid)
        yield Path(name), user


def _unprivileged_user() -> str:
    for user in ("mosquitto", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(user)
            return user
    return ""


def _write(path: Path, text: str, user: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    if user and os.geteuid() == 0:
        shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
