"""A database of an older release opens and keeps what was measured."""

from __future__ import annotations

import array
import importlib
import io
import sqlite3
from pathlib import Path

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from circinus.pipeline import Config
from circinus_coordinator.daemon.records import measurement_record, read_measurements
from circinus_coordinator.profiling import AccuracyKey, LinkKey, OperatorKey, Summary, Take
from circinus_coordinator.store import AccuracyRecord, Store, store

OPERATOR = OperatorKey(
    pipeline="p", operator="o", implementation="m:C", version="1", signature="s",
    config=Config({"side": 320}), device_class="pi5", batch=1,
)  # fmt: skip
ACCURACY = AccuracyKey(pipeline="p", signature="s", config=(("o", Config({"side": 320})),))
LINK = LinkKey(a="a", b="b")
OLD = AccuracyRecord(
    pipeline="p", signature="s", config={"o": {"side": 320}}, mean=0.75, samples=40
)
KNOWN: dict[object, Summary] = {
    OPERATOR: Summary(
        latency_ms=[1.5, 2.25, 2.5], compute_s=[0.1] * 3, output_bytes=[3.0] * 3,
        price_usd=[0.0] * 3, memory_mb=12.5, done=True, boot_id="b",
        takes=[
            Take(samples=1),
            Take(samples=2, time_s=1.6e9, device="d", temperature_c=61.0, throttled=False,
                 background_percent=3.0),
        ],
    ),
    ACCURACY: Summary(
        scores=[1.0, 0.0, 0.5], population=40, takes=[Take(samples=3, time_s=1.6e9, device="d")],
        cause="budget used up",
    ),
    LINK: Summary(rtt_ms=[3.0, 2.0], bandwidth_mbps=[90.0, 80.0], takes=[Take(samples=2)],
                  done=True),
}  # fmt: skip


def test_measurements_come_back_with_every_sample_and_its_origin(tmp_path: Path) -> None:
    opened = Store(tmp_path)
    try:
        opened.write([measurement_record(key, known) for key, known in KNOWN.items()])  # type: ignore[arg-type]
        assert read_measurements(opened) == KNOWN
    finally:
        opened.close()


def _of_release_2(file: Path) -> None:
    """A store as 0.2 left it: means of scores, medians of round trips."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(store.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0002")
    engine.dispose()
    samples = array.array("d", [1.5, 2.25]).tobytes()
    with sqlite3.connect(file) as connection:
        connection.execute(
            "INSERT INTO profiles VALUES ('k','p','o','m:C','1','s','{\"side\": 320}','pi5',1,"
            "?,?,?,?,12.5,0,NULL,'b')",
            [samples] * 4,
        )
        connection.execute(
            "INSERT INTO accuracy VALUES (?,'p','s','{\"o\": {\"side\": 320}}',0.75,40,0,NULL,'')",
            [OLD.key],
        )
        connection.execute("INSERT INTO links VALUES ('k','a','b',3.0,90.0,10,0,NULL,'')")
    connection.close()


def test_a_store_of_an_older_release_keeps_its_samples(tmp_path: Path) -> None:
    _of_release_2(tmp_path / "circinus.db")
    opened = Store(tmp_path)
    try:
        found = read_measurements(opened)
    finally:
        opened.close()
    assert found[OPERATOR].latency_ms == [1.5, 2.25]
    assert (found[ACCURACY].scores, found[ACCURACY].mean_only) == ([0.75] * 40, True)
    assert (found[LINK].rtt_ms, found[LINK].bandwidth_mbps) == ([3.0] * 10, [90.0])
    assert all(summary.done for summary in found.values())


def test_what_was_kept_as_a_mean_stays_one_when_it_is_written_again(tmp_path: Path) -> None:
    _of_release_2(tmp_path / "circinus.db")
    opened = Store(tmp_path)
    try:
        opened.write([measurement_record(ACCURACY, read_measurements(opened)[ACCURACY])])
        rows = opened.accuracy()
    finally:
        opened.close()
    assert rows == [OLD]


@pytest.mark.parametrize("step", ["upgrade", "downgrade"])
def test_postgresql_gets_the_same_columns(step: str) -> None:
    name = "circinus_coordinator.store.migrations.versions.v0003_samples_with_their_origin"
    migration = importlib.import_module(name)
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written}
    )
    with Operations.context(context):
        getattr(migration, step)()
    verb = "ADD" if step == "upgrade" else "DROP"
    for table, column in (("accuracy", "scores"), ("links", "rtts_ms"), ("profiles", "taken")):
        assert f"ALTER TABLE {table} {verb} COLUMN {column}" in written.getvalue()
