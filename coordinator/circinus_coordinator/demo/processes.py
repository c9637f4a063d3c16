"""Child processes that end with their parent, and ports that are free."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from circinus.errors import Transient

__all__ = ["Child", "Children", "free_ports"]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# An agent lets the batches under way end first, for up to 8 s.
TERM_GRACE_S = 10.0
KILL_GRACE_S = 2.0
TAIL_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running program and the file its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The last lines it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {self.name}: {line}" for line in lines[-TAIL_LINES:])


class Children:
    """Starts programs, each in a process group of its own, and ends all of them.

    Each child gets SIGTERM when this process dies, even by SIGKILL (Linux).
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []
        self._started: set[str] = set()
        logs.mkdir(parents=True, exist_ok=True)

    def start(
        self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a program whose output goes to ``NAME.log``."""
        log = self._logs / f"{name}.log"
        if name not in self._started:
            log.unlink(missing_ok=True)
        self._started.add(name)
        # Appending: a program started again writes behind what the first one left.
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        child = Child(name=name, process=process, log=log)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise if one has ended by itself.

        Raises:
            Transient: With the last lines it wrote.
        """
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise Transient(f"{child.name} ended with code {code}\n{child.tail()}")

    def stop(self) -> None:
        """End all, the last started first: SIGTERM, then SIGKILL to whatever is left."""
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + TERM_GRACE_S
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.05, deadline - time.monotonic()))
        for child in self._children:
            # The group outlives its leader where a grandchild does.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(KILL_GRACE_S)
        self._children.clear()


def free_ports(count: int, preferred: Sequence[int] = ()) -> list[int]:
    """`count` different free TCP ports on the loopback, the preferred ones where they are free.

    Another program could take one before it is used; then its user says so.
    """
    wanted = [*preferred[:count], *([0] * (count - len(preferred)))]
    with contextlib.ExitStack() as stack:
        return [_bind(stack, port) for port in wanted]


def _bind(stack: contextlib.ExitStack, port: int) -> int:
    for candidate in (port, 0):
        probe = stack.enter_context(socket.socket())
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        found: int = probe.getsockname()[1]
        return found
    raise Transient("no TCP port is free on the loopback")


def _die_with(parent: int):  # type: ignore[no-untyped-def]
    """What the child does before it becomes the program: ask for SIGTERM at its parent's death."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # found before the fork: no imports after it

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)

    return ask
