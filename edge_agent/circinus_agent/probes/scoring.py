"""The agent's side of the process that scores."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from circinus_agent.probes.environment import ProbeFailed

__all__ = ["Scorer"]

# Importing a metric may import opencv from an SD card; scoring one output is quick.
START_TIMEOUT_S = 60.0
SCORE_TIMEOUT_S = 30.0


class Scorer:
    """Scores outputs in a child process; use it as an asynchronous context.

    Args:
        metric: ``module:function``.
        path: Folders with the user's code.
    """

    def __init__(self, metric: str, path: Sequence[str]) -> None:
        self._metric = metric
        self._path = path
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Scorer:  # noqa: PYI034 - typing.Self is 3.11
        inherited = os.environ.get("PYTHONPATH", "")
        folders = [*self._path, *([inherited] if inherited else [])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "circinus_agent.probes.scorer",
            self._metric,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        )
        try:
            await self._answer(START_TIMEOUT_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._end()

    async def score(
        self,
        outputs: Mapping[str, bytes],
        label: Any = None,
        agreed: Mapping[str, bytes] | None = None,
    ) -> float:
        """Score one result against its label, or against another result.

        Raises:
            ProbeFailed: If the metric raises, hangs or gives no number in [0, 1].
        """
        assert self._process is not None
        assert self._process.stdin is not None
        body = msgspec.msgpack.encode([outputs, label, agreed])
        self._process.stdin.write(len(body).to_bytes(4, "little") + body)
        try:
            await asyncio.wait_for(self._process.stdin.drain(), SCORE_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError):
            raise ProbeFailed("metric: its process is gone") from None
        return await self._answer(SCORE_TIMEOUT_S)

    async def _answer(self, timeout_s: float) -> float:
        assert self._process is not None
        assert self._process.stdout is not None
        reader = self._process.stdout
        try:
            head = await asyncio.wait_for(reader.readexactly(4), timeout_s)
            body = await asyncio.wait_for(
                reader.readexactly(int.from_bytes(head, "little")), timeout_s
            )
        except asyncio.TimeoutError:
            raise ProbeFailed(f"metric: no answer within {timeout_s:.0f} s") from None
        except asyncio.IncompleteReadError:
            raise ProbeFailed("metric: its process is gone") from None
        score, cause = msgspec.msgpack.decode(body, type=tuple[float | None, str | None])
        if score is None:
            raise ProbeFailed(cause or "metric: no score")
        return score

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
