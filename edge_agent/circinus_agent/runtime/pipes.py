"""The agent's ends of a child's pipes: non-blocking, driven by the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence

__all__ = ["LineLog", "PipeReader", "PipeWriter", "open_pipe"]

# Room for a whole picture, so that it takes one system call each way (the default is 64 KiB).
# It is also what Linux allows without privilege (fs.pipe-max-size).
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031
READ_BYTES = 256 << 10
MAX_BUFFERS = 1000

# What an operator prints is for debugging: this much of it cannot harm a disk.
LINES_PER_S = 20.0
LINES_BURST = 100.0
MAX_LINE = 2000
LAST_LINES = 5


def open_pipe() -> tuple[int, int]:
    """A pipe with a large buffer: (read end, write end), not inherited."""
    read, write = os.pipe()
    with contextlib.suppress(OSError):  # the user's share of pipe memory is used up: slower
        fcntl.fcntl(write, F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


class PipeReader:
    """Calls `on_data` with what comes in, and `on_end` once at the end.

    Takes over the file descriptor.
    """

    def __init__(
        self, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()
            self._on_end()

    def drain(self) -> None:
        """Read what is left without waiting."""
        while self._fd >= 0:
            try:
                data = os.read(self._fd, READ_BYTES)
            except OSError:
                return
            if not data:
                return
            self._on_data(data)

    def close(self) -> None:
        """Stop reading; no callback comes afterwards."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class PipeWriter:
    """Writes buffers in order without copying them; what does not fit waits.

    Takes over the file descriptor. A reader that is gone is no error here: its end is noticed
    elsewhere.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiting: deque[memoryview] = deque()
        self._loop = asyncio.get_running_loop()

    def write(self, buffers: Sequence[bytes]) -> None:
        """Write these one after another."""
        if self._fd < 0:
            return
        idle = not self._waiting
        self._waiting.extend(memoryview(b) for b in buffers if b)
        if idle and not self._flush():
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        if self._flush() and self._fd >= 0:
            self._loop.remove_writer(self._fd)

    def _flush(self) -> bool:
        """Write what the pipe takes; True where nothing is left to write."""
        waiting = self._waiting
        while waiting:
            views = [waiting[i] for i in range(min(len(waiting), MAX_BUFFERS))]
            try:
                sent = os.writev(self._fd, views)
            except BlockingIOError:
                return False
            except OSError:
                waiting.clear()
                return True
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.popleft())
            if sent:
                waiting[0] = waiting[0][sent:]
        return True

    def close(self) -> None:
        """Close the pipe: the child reads its end and stops."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._waiting.clear()


class LineLog:
    """Passes a child's printed lines to a logger, within limits.

    Attributes:
        dropped: Lines beyond the limit.
        last: The last few lines, to explain a child's end.
    """

    def __init__(
        self, logger: logging.Logger, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._name = name
        self._clock = clock
        self._allowance = LINES_BURST
        self._at = clock()
        self._rest = b""
        self.dropped = 0
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def feed(self, data: bytes) -> None:
        """Take printed bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for raw in lines:
            line = raw[:MAX_LINE].decode("utf-8", "replace").rstrip()
            if line:
                self.last.append(line)
                self._pass_on(line)

    def _pass_on(self, line: str) -> None:
        now = self._clock()
        self._allowance = min(LINES_BURST, self._allowance + (now - self._at) * LINES_PER_S)
        self._at = now
        if self._allowance < 1:
            self.dropped += 1
            return
        self._allowance -= 1
        # Terminals must not obey what an operator prints.
        self._logger.info("%s: %s", self._name, line.translate(_CONTROL))


_CONTROL = {i: None for i in (*range(32), 127) if i != 9}
