"""The store keeps what it was given, all of it or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from circinus.errors import InvalidInput
from circinus_coordinator.store import (
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
    Store,
    schema,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()


PROFILE = ProfileRecord(
    pipeline="p", operator="o", implementation="m:C", version="1", signature="s",
    config={"side": 320, "precision": "int8"}, device_class="pi5", batch=1,
    latency_ms=(1.5, 2.25), compute_s=(0.1, 0.2), output_bytes=(3.0, 4.0), price_usd=(0.0, 1e-6),
    memory_mb=12.5, emulated=True,
)  # fmt: skip
EVENT = EventRecord(seq=7, time_s=1.0, kind="k", subject="s", text="t", data={"a": [1]})
ACCURACY = AccuracyRecord(
    pipeline="p", signature="s", config={"o": {"side": 320}}, mean=0.5, samples=9
)
ALL: list[tuple[Record, str]] = [
    (DeviceRecord(id="d", boot_id="b", session=3, online=True, capabilities=b"{}"), "devices"),
    (PipelineRecord(name="p", document=b"{}"), "pipelines"),
    (QueryRecord(id="q", pipeline="p", document=b"{}"), "queries"),
    (PROFILE, "profiles"),
    (ACCURACY, "accuracy"),
    (LinkRecord(a="a", b="b", rtt_ms=1.0, bandwidth_mbps=2.0, samples=3), "links"),
    (DesiredRecord(device="d", version=4, document=b"{}"), "desired"),
    (EVENT, "events"),
]


@pytest.mark.parametrize(("record", "reader"), ALL, ids=[reader for _, reader in ALL])
def test_a_record_comes_back_equal_after_the_store_was_reopened(
    record: Record, reader: str, tmp_path: Path
) -> None:
    first = Store(tmp_path)
    first.write([record])
    first.close()
    again = Store(tmp_path)
    try:
        assert getattr(again, reader)() == [record]
    finally:
        again.close()


def test_a_decision_comes_back_with_its_scenario(store: Store) -> None:
    record = DecisionRecord(id="d", scenario=b"s", decision=b"d", state=DecisionState.ACTIVE)
    store.write([record])
    assert store.decision("d") == record


def _decision(name: str, state: DecisionState = DecisionState.PENDING) -> DecisionRecord:
    return DecisionRecord(id=name, scenario=b"s", decision=b"d", state=state)


def test_a_pending_decision_overtakes_the_one_that_was_pending(store: Store) -> None:
    store.write([_decision("active", DecisionState.ACTIVE), _decision("a")])
    store.write([_decision("b")])
    states = {name: found.state for name in ("active", "a", "b") if (found := store.decision(name))}
    assert states == {
        "active": DecisionState.ACTIVE,
        "a": DecisionState.SUPERSEDED,
        "b": DecisionState.PENDING,
    }


def test_of_the_decisions_that_are_over_the_oldest_are_forgotten(store: Store) -> None:
    names = [f"{number * 37 % 101:03}" for number in range(101)]  # not in order of their ids
    for name in names:
        store.write([_decision(name)])
    assert [name for name in names if store.decision(name) is not None] == names[-51:]


def test_a_decision_that_is_made_once_more_is_young_again(store: Store) -> None:
    for name in ["again", *map(str, range(40)), "again", *map(str, range(40, 80))]:
        store.write([_decision(name)])
    assert store.decision("again") is not None


def test_a_decision_that_a_document_names_is_kept(store: Store) -> None:
    store.write([_decision("kept"), MetaRecord(name="in-force", value=b"kept")])
    for number in range(80):
        store.write([_decision(str(number))])
    assert store.decision("kept") is not None
    assert store.decision("0") is None


def test_a_record_replaces_the_one_of_the_same_identity(store: Store) -> None:
    store.write([DesiredRecord(device="d", version=1, document=b"a")])
    store.write([DesiredRecord(device="d", version=2, document=b"b")])
    assert [d.version for d in store.desired()] == [2]


def test_configs_of_other_types_are_other_profiles(store: Store) -> None:
    one, true = ({"x": 1}, {"x": True})
    for config in (one, true):
        store.write([ProfileRecord(**{**_fields(PROFILE), "config": config})])
    assert len(store.profiles()) == 2


def test_forgetting_takes_out_one_record(store: Store) -> None:
    store.write([QueryRecord(id=name, pipeline="p", document=b"{}") for name in "ab"])
    store.write([Forget(kind=QueryRecord, key="a")])
    assert [q.id for q in store.queries()] == ["b"]


def test_a_write_that_fails_half_way_leaves_nothing(store: Store) -> None:
    store.write([EVENT])
    with pytest.raises(sa.exc.IntegrityError):
        store.write([QueryRecord(id="q", pipeline="p", document=b"{}"), EVENT])
    assert store.queries() == []


def test_what_write_returned_from_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from circinus_coordinator.store import MetaRecord, Store\n"
        "Store(Path(sys.argv[1])).write([MetaRecord(name='x', value=b'kept')])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    try:
        assert store.meta("x") == b"kept"
    finally:
        store.close()


def test_commits_reach_the_disk_before_they_return(store: Store) -> None:
    with store._engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2


def test_a_second_coordinator_is_refused_and_told_who_is_there(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=f"another coordinator.*{os.getpid()}"):
        Store(tmp_path / "store")


def test_the_identity_stays(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.close()
    again = Store(tmp_path)
    again.close()
    assert first.id == again.id


def test_sequence_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.write([EVENT])
    first.close()
    again = Store(tmp_path)
    again.close()
    assert again.next_seq() == EVENT.seq + 1


def test_migrations_make_the_tables_the_code_speaks_of(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store._engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert differences == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "circinus.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InvalidInput, match=r"circinus\.db.*no usable store"):
        Store(tmp_path)


def test_threads_may_share_the_store(store: Store) -> None:
    def write(i: int) -> None:
        store.write([MetaRecord(name=str(i), value=b"v")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert all(store.meta(str(i)) == b"v" for i in range(40))


def test_an_artifact_stands_under_its_hash(store: Store) -> None:
    with store.artifacts.writer(max_bytes=10) as writer:
        writer.write(b"abc")
        sha256 = writer.commit()
    store.write([ArtifactRecord(sha256=sha256, size_bytes=writer.size_bytes)])
    path = store.artifacts.path(sha256)
    assert path is not None
    assert path.read_bytes() == b"abc"
    assert store.artifact(sha256) == ArtifactRecord(sha256=sha256, size_bytes=3)


def test_an_artifact_that_is_too_large_leaves_no_trace(store: Store, tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match="too large"),
        store.artifacts.writer(max_bytes=2) as writer,
    ):
        writer.write(b"abc")
    assert list((tmp_path / "store" / "artifacts").iterdir()) == []


@pytest.mark.parametrize("name", ["../../lock", "", "A" * 64, "0" * 63])
def test_what_is_no_hash_names_no_file(store: Store, name: str) -> None:
    assert store.artifacts.path(name) is None


def test_the_log_is_read_from_a_position_on(store: Store) -> None:
    for seq in (1, 2, 3):
        store.write([EventRecord(seq=seq, time_s=0, kind="k", subject="s", text="t")])
    assert [e.seq for e in store.events(after=1, limit=1)] == [2]


def test_the_log_keeps_its_last_entries(store: Store) -> None:
    for seq in (1_000, 1_001, 101_000):
        store.write([EventRecord(seq=seq, time_s=0, kind="k", subject="s", text="t")])
    assert [e.seq for e in store.events()] == [1_001, 101_000]


def _fields(record: ProfileRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in ProfileRecord.__slots__}
