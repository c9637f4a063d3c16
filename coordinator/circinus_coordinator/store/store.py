"""The repository."""

from __future__ import annotations

import array
import logging
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
import sqlalchemy as sa

from circinus.errors import InvalidInput
from circinus_coordinator.store import schema
from circinus_coordinator.store.artifacts import ArtifactFolder
from circinus_coordinator.store.decisions import put_decision
from circinus_coordinator.store.lock import FolderLock
from circinus_coordinator.store.records import (
    AccuracyRecord,
    ArtifactRecord,
    DecisionRecord,
    DecisionState,
    DesiredRecord,
    DeviceRecord,
    EventRecord,
    Forget,
    LinkRecord,
    MetaRecord,
    PipelineRecord,
    ProfileRecord,
    QueryRecord,
    Record,
)

__all__ = ["Store"]

R = TypeVar("R")

_STORE_ID = "store-id"
# A writer waits so long for another connection of the same process; never seen to matter.
_BUSY_TIMEOUT_MS = 10_000
_KEPT_EVENTS = 100_000
# The log is shortened once for so many entries.
_EVENTS_APART = 1000

_TABLES: Mapping[type, tuple[sa.Table, str]] = {
    MetaRecord: (schema.meta, "name"),
    DeviceRecord: (schema.devices, "id"),
    PipelineRecord: (schema.pipelines, "name"),
    QueryRecord: (schema.queries, "id"),
    ProfileRecord: (schema.profiles, "key"),
    AccuracyRecord: (schema.accuracy, "key"),
    LinkRecord: (schema.links, "key"),
    DecisionRecord: (schema.decisions, "id"),
    DesiredRecord: (schema.desired, "device"),
    ArtifactRecord: (schema.artifacts, "sha256"),
    EventRecord: (schema.events, "seq"),
}
# The order of decisions is the database's own affair.
_PLACE = "place"
_SAMPLES = (
    *("latency_ms", "compute_s", "output_bytes", "price_usd"),
    *("scores", "rtts_ms", "bandwidths_mbps"),
)


class Store:
    """Everything the coordinator must find again after it was killed.

    `write` is atomic and durable: when it returns, all its records are on disk; when it raises,
    or the machine loses power before, none of them is there. Methods block and may be called
    from any thread.

    Args:
        folder: Holds the database, the artifacts and the lock; made if it is not there.
        url: SQLAlchemy's URL of another database than the one in `folder`.

    Raises:
        InvalidInput: If another coordinator uses the folder, or it cannot be used.
    """

    def __init__(self, folder: Path, *, url: str | None = None) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"cannot be made: {error.strerror}", file=str(folder)) from error
        self._lock = FolderLock(folder)
        self._mutex = threading.Lock()
        try:
            self.artifacts = ArtifactFolder(folder / "artifacts")
            self._engine = _engine(url or f"sqlite:///{folder / 'circinus.db'}")
            _migrate(self._engine)
            self.id = self._identity()
            self._seq = self._last_seq()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let go of the files; another coordinator may then open them."""
        with self._mutex:
            self._engine.dispose()
            self._lock.release()

    # ---- writing ----------------------------------------------------------------------------

    def write(self, records: Iterable[Record]) -> None:
        """All of `records`, or none of them; later ones win over earlier ones."""
        with self._mutex, self._engine.begin() as connection:
            for record in records:
                _put(connection, record)

    def next_seq(self) -> int:
        """A number for the next entry of the event log, larger than all before it."""
        with self._mutex:
            self._seq += 1
            return self._seq

    # ---- reading ----------------------------------------------------------------------------

    def meta(self, name: str) -> bytes | None:
        """The document of this name."""
        rows = self._select(schema.meta, MetaRecord, schema.meta.c.name == name)
        return rows[0].value if rows else None

    def devices(self) -> list[DeviceRecord]:
        """By id."""
        return self._select(schema.devices, DeviceRecord)

    def pipelines(self) -> list[PipelineRecord]:
        """By name."""
        return self._select(schema.pipelines, PipelineRecord)

    def queries(self) -> list[QueryRecord]:
        """By id."""
        return self._select(schema.queries, QueryRecord)

    def profiles(self) -> list[ProfileRecord]:
        """By identity."""
        return self._select(schema.profiles, ProfileRecord)

    def accuracy(self) -> list[AccuracyRecord]:
        """By identity."""
        return self._select(schema.accuracy, AccuracyRecord)

    def links(self) -> list[LinkRecord]:
        """By ends."""
        return self._select(schema.links, LinkRecord)

    def decision(self, decision_id: str) -> DecisionRecord | None:
        """The decision of this id."""
        where = schema.decisions.c.id == decision_id
        rows = self._select(schema.decisions, DecisionRecord, where)
        return rows[0] if rows else None

    def desired(self) -> list[DesiredRecord]:
        """By device."""
        return self._select(schema.desired, DesiredRecord)

    def artifact(self, sha256: str) -> ArtifactRecord | None:
        """What is known of a file."""
        where = schema.artifacts.c.sha256 == sha256
        rows = self._select(schema.artifacts, ArtifactRecord, where)
        return rows[0] if rows else None

    def artifact_rows(self) -> list[ArtifactRecord]:
        """All files."""
        return self._select(schema.artifacts, ArtifactRecord)

    def events(self, *, after: int = 0, limit: int = 1000) -> list[EventRecord]:
        """The log from `after` (exclusive) on, oldest first."""
        return self._select(schema.events, EventRecord, schema.events.c.seq > after, limit=limit)

    def _select(
        self,
        table: sa.Table,
        kind: Callable[..., R],
        where: sa.ColumnElement[bool] | None = None,
        limit: int | None = None,
    ) -> list[R]:
        query = sa.select(table).order_by(*table.primary_key.columns).limit(limit)
        if where is not None:
            query = query.where(where)
        with self._mutex, self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [kind(**_values(dict(row))) for row in rows]

    def _identity(self) -> str:
        found = self.meta(_STORE_ID)
        if found is None:
            found = uuid.uuid4().hex[:16].encode()
            self.write([MetaRecord(name=_STORE_ID, value=found)])
        return found.decode()

    def _last_seq(self) -> int:
        with self._engine.connect() as connection:
            return int(
                connection.execute(sa.select(sa.func.max(schema.events.c.seq))).scalar() or 0
            )


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            # FULL: a commit survives a power cut. NORMAL in WAL mode may lose the last ones.
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
            cursor.close()

    return engine


def _migrate(engine: sa.Engine) -> None:
    # It tells about every step it takes; what users must know is in the errors below.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = alembic.config.Config()
    scripts = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
    except alembic.util.CommandError as error:
        raise InvalidInput(
            f"the store cannot be brought up to date: {error}",
            file=str(engine.url),
            remedy="it was written by a newer release; use that, or another folder",
        ) from error
    except sa.exc.DatabaseError as error:
        raise InvalidInput(f"is no usable store: {error.orig}", file=str(engine.url)) from error


def _put(connection: sa.Connection, record: Record) -> None:
    if isinstance(record, Forget):
        table, column = _TABLES[record.kind]
        connection.execute(sa.delete(table).where(table.c[column] == record.key))
        return
    table, column = _TABLES[type(record)]
    row = _row(record, table)
    key = table.c[column] == row[column]
    if isinstance(record, EventRecord):
        connection.execute(sa.insert(table).values(**row))
        if record.seq % _EVENTS_APART == 0:
            connection.execute(sa.delete(table).where(table.c.seq <= record.seq - _KEPT_EVENTS))
        return
    if isinstance(record, DecisionRecord):
        put_decision(connection, row)
        return
    # Update, else insert: the same on every database, and there is one writer.
    if connection.execute(sa.update(table).where(key).values(**row)).rowcount == 0:
        connection.execute(sa.insert(table).values(**row))


def _row(record: Any, table: sa.Table) -> dict[str, Any]:
    row = {c.name: getattr(record, c.name) for c in table.columns if c.name != _PLACE}
    for name in _SAMPLES:
        if name in row:
            row[name] = _packed(row[name])
    if isinstance(record, (ProfileRecord, EventRecord)):
        field = "config" if isinstance(record, ProfileRecord) else "data"
        row[field] = dict(row[field])
    if isinstance(record, AccuracyRecord):
        row["config"] = {name: dict(values) for name, values in record.config.items()}
    if isinstance(record, DecisionRecord):
        row["state"] = record.state.value
    if "taken" in row:
        row["taken"] = [dict(take) for take in row["taken"]]
    return row


def _values(row: dict[str, Any]) -> dict[str, Any]:
    row.pop("key", None)
    row.pop(_PLACE, None)
    for name in _SAMPLES:
        if name in row:
            row[name] = _unpacked(row[name] or b"")
    if "taken" in row:
        row["taken"] = tuple(row["taken"] or ())
    if "state" in row:
        row["state"] = DecisionState(row["state"])
    return row


def _packed(samples: tuple[float, ...]) -> bytes:
    packed = array.array("d", samples)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpacked(data: bytes) -> tuple[float, ...]:
    samples = array.array("d")
    samples.frombytes(data)
    if sys.byteorder == "big":
        samples.byteswap()
    return tuple(samples)
