"""The sources of a device: folders that are replayed here or pulled by another lead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from circinus.errors import CircinusError
from circinus.messages import SourceSpec
from circinus_agent.runtime.folder import Arrivals, Folder, Input, load_folder
from circinus_agent.runtime.plan import Plan

__all__ = ["Sources"]

logger = logging.getLogger(__name__)

FOLDER = "folder"
# After a pause of the whole process nobody gains from all the missed requests at once.
MAX_BACKLOG_S = 1.0
# A folder that cannot be read now (a drive not mounted yet) is tried again.
RETRY_S = 10.0

Emit = Callable[[str], None]


class _Handle(Protocol):
    def cancel(self) -> None: ...


class _Replay:
    """Starts requests of one query at its rate."""

    def __init__(self, query: str, arrivals: str, emit: Emit) -> None:
        self._query = query
        self._emit = emit
        self._arrivals = Arrivals(arrivals, query)
        self._rate_rps = 0.0
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._timer: _Handle | None = None

    def set_rate(self, rate_rps: float) -> None:
        """Go on at this rate; 0 pauses."""
        if rate_rps == self._rate_rps:
            return
        self._rate_rps = rate_rps
        self.stop()
        if rate_rps > 0:
            self._at = self._loop.time()
            self._schedule()

    def stop(self) -> None:
        """No request comes any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._at = max(self._at, self._loop.time() - MAX_BACKLOG_S)
        self._at += self._arrivals.gap(self._rate_rps)
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._schedule()
        self._emit(self._query)


class Sources:
    """Loads the folders that routes name on this device, and replays those it leads.

    Args:
        resolve: Turns a folder reference into a folder; called outside the event loop.
        emit: Called with the query at each arrival.
    """

    def __init__(self, device: str, resolve: Callable[[str], Path], emit: Emit) -> None:
        self._device = device
        self._resolve = resolve
        self._emit = emit
        self._folders: dict[tuple[str, str], Folder] = {}
        self._paths: dict[tuple[str, str], str] = {}
        self._loading: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._failed: dict[tuple[str, str], str] = {}
        self._replays: dict[str, _Replay] = {}
        self._led: dict[str, list[Plan]] = {}

    def set(self, plans: Sequence[Plan]) -> None:
        """Take the sources of these routes and no others."""
        wanted = {
            (plan.route.query, source): plan.route.input.path or ""
            for plan in plans
            for source, device in plan.sources.items()
            if device == self._device and plan.route.input.kind == FOLDER
        }
        for key in set(self._paths) - set(wanted):
            self._drop(key)
        for key, path in wanted.items():
            if self._paths.get(key) != path:
                self._drop(key)
                self._paths[key] = path
                name = f"load inputs of {'/'.join(key)}"
                self._loading[key] = asyncio.create_task(self._load(key, path), name=name)
        self._led = {}
        for plan in plans:
            if plan.route.lead == self._device and plan.route.input.kind == FOLDER:
                self._led.setdefault(plan.route.query, []).append(plan)
        self._set_rates()

    def take(self, query: str, source: str) -> Input | None:
        """The next input of a source operator; None where there is none (yet)."""
        folder = self._folders.get((query, source))
        return folder.take() if folder is not None else None

    def troubles(self) -> dict[str, str]:
        """Why no inputs come, by query."""
        found: dict[str, list[str]] = {}
        for (query, source), cause in sorted(self._failed.items()):
            found.setdefault(query, []).append(f"no inputs for {source}: {cause}")
        return {query: "; ".join(causes) for query, causes in found.items()}

    async def close(self) -> None:
        """Stop everything."""
        for replay in self._replays.values():
            replay.stop()
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, key: tuple[str, str]) -> None:
        self._paths.pop(key, None)
        self._folders.pop(key, None)
        self._failed.pop(key, None)
        task = self._loading.pop(key, None)
        if task is not None:
            task.cancel()

    async def _load(self, key: tuple[str, str], path: str) -> None:
        while True:
            try:
                folder = await asyncio.to_thread(self._read, path, key[1])
            except (CircinusError, OSError) as error:
                if self._failed.get(key) != str(error):
                    logger.error("source of query %s: %s", key[0], error)
                self._failed[key] = str(error)
                await asyncio.sleep(RETRY_S)
                continue
            self._folders[key] = folder
            self._failed.pop(key, None)
            self._loading.pop(key, None)
            self._set_rates()
            return

    def _read(self, path: str, source: str) -> Folder:
        return load_folder(self._resolve(path), source)

    def _set_rates(self) -> None:
        """Replay every led query whose folders here are loaded, at its admitted rate."""
        for query in set(self._replays) - set(self._led):
            self._replays.pop(query).stop()
        for query, plans in self._led.items():
            replay = self._replays.get(query)
            if replay is None:
                spec: SourceSpec = plans[0].route.input
                replay = self._replays[query] = _Replay(query, spec.arrivals, self._emit)
            loaded = all(key in self._folders for key in self._paths if key[0] == query)
            rate = sum(p.route.rate_rps * p.route.share for p in plans if p.route.active)
            replay.set_rate(rate if loaded else 0.0)
