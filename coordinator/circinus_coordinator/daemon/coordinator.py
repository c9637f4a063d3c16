"""The coordinator as a whole: what the API and the demo hold in their hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Any

from circinus.decision import Decision
from circinus.scenario import Scenario, Submission
from circinus_coordinator.daemon.settings import Settings
from circinus_coordinator.daemon.views import (
    ArtifactInfo,
    Change,
    DeviceView,
    Measurement,
    PlanView,
    ProfilesView,
    Progress,
    QueryView,
)

__all__ = ["Coordinator"]


class Coordinator:
    """Brings devices, queries and decisions together.

    All methods are to be called from the event loop it was started in. Reading methods that
    are no coroutines answer from memory at once.

    Args:
        settings: See `Settings`.
        executor: Where plans are computed; a process of its own by default.
    """

    def __init__(self, settings: Settings, *, executor: Executor | None = None) -> None:
        self.settings = settings

    async def __aenter__(self) -> Coordinator:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the store, start or reach the broker, resume what was served.

        Raises:
            InvalidInput: If the fleet file is wrong, the store is in use, or a port is taken.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop everything that `start` started; devices go on serving."""
        raise NotImplementedError

    async def wait(self) -> None:
        """Return once it is stopped; raise if one of its loops died."""
        raise NotImplementedError

    @property
    def broker_address(self) -> tuple[str, int]:
        """Host and port agents of this machine connect to."""
        raise NotImplementedError

    @property
    def store_id(self) -> str:
        """Identity of the store, as desired documents carry it."""
        raise NotImplementedError

    def set_api_url(self, url: str) -> None:
        """Where agents fetch artifacts; for an API that learns its port only when it listens."""
        raise NotImplementedError

    # ---- changes ----------------------------------------------------------------------------

    async def submit(self, submission: Submission) -> list[str]:
        """Take in pipelines and queries; ids of the queries. Durable once it returns.

        A query of the same id is replaced. A pipeline of the same name is replaced too, with
        all its queries; profiles that still hold are kept.

        Raises:
            InvalidInput: If a pipeline names an unknown tier, or the like; nothing is taken in.
        """
        raise NotImplementedError

    async def withdraw(self, query_id: str) -> None:
        """Stop serving a query and forget it.

        Raises:
            NoData: If there is none of that id.
        """
        raise NotImplementedError

    # ---- what there is ----------------------------------------------------------------------

    def devices(self) -> list[DeviceView]:
        """All devices ever seen, by id."""
        raise NotImplementedError

    def queries(self) -> list[QueryView]:
        """All submitted queries, by id."""
        raise NotImplementedError

    def plans(self) -> list[PlanView]:
        """The assignments of the decision in force."""
        raise NotImplementedError

    def measurements(self, *, window_s: float | None = None) -> list[Measurement]:
        """Measured against promised, per query, by id.

        Args:
            window_s: How far to look back; the settings' window where None.
        """
        raise NotImplementedError

    def progress(self) -> Progress:
        """How far profiling is."""
        raise NotImplementedError

    def scenario(self) -> Scenario | None:
        """Exactly what the planner last saw; None before the first planning."""
        raise NotImplementedError

    def decision(self) -> Decision | None:
        """What it answered."""
        raise NotImplementedError

    async def profiles(self) -> ProfilesView:
        """All that was measured."""
        raise NotImplementedError

    async def explain(self, query_id: str) -> Any:
        """Why a query got what it got: see `circinus_coordinator.planning.explain`.

        Raises:
            NoData: If there is no such query, or it has not been planned yet.
        """
        raise NotImplementedError

    # ---- artifacts --------------------------------------------------------------------------

    async def put_artifact(
        self, chunks: AsyncIterator[bytes], *, max_bytes: int = 1 << 30
    ) -> ArtifactInfo:
        """Store a file under its sha256, whole or not at all.

        Raises:
            InvalidInput: If it is larger than `max_bytes`.
        """
        raise NotImplementedError

    def artifact(self, sha256: str) -> Path | None:
        """Where the file with this sha256 (hex) stands; None if there is none."""
        raise NotImplementedError

    # ---- what happens -----------------------------------------------------------------------

    def subscribe(self) -> AsyncIterator[Change]:
        """Changes from now on; close the iterator (``aclose``) to unsubscribe.

        A subscriber that does not keep up loses the oldest ones and sees a gap in `seq`.
        """
        raise NotImplementedError

    async def events(self, *, after: int = 0, limit: int = 1000) -> list[Change]:
        """The event log from `after` (exclusive) on."""
        raise NotImplementedError
