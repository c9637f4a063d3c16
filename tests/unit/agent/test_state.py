from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus.messages import Desired, DesiredBody, InstanceSpec, body_hash
from circinus_agent.reconciler.events import Stored
from circinus_agent.state import LockTaken, StateFolder


def stored(version: int) -> Stored:
    body = DesiredBody(instances=[InstanceSpec(key="k", run="m:K")])
    document = Desired(device="d", store="s", version=version, hash=body_hash(body), body=body)
    return Stored(desired=document, good=document)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    StateFolder(tmp_path).save(stored(3))
    assert StateFolder(tmp_path).load() == (stored(3), None)


def test_a_new_folder_is_made_and_empty(tmp_path: Path) -> None:
    assert StateFolder(tmp_path / "a/b").load() == (Stored(), None)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[1]", b'{"desired": 3}'])
def test_a_damaged_file_is_moved_aside_and_said(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "desired.json").write_bytes(damage)
    found, problem = StateFolder(tmp_path).load()
    assert found == Stored()
    assert problem is not None
    assert (tmp_path / "desired.damaged-1.json").read_bytes() == damage
    assert StateFolder(tmp_path).load() == (Stored(), None)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="state_dir"):
        StateFolder(tmp_path / "file")


def test_a_failed_save_leaves_the_former_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateFolder(tmp_path)
    folder.save(stored(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(stored(2))
    assert folder.load() == (stored(1), None)
    assert [p.name for p in tmp_path.iterdir()] == ["desired.json"]


def test_the_former_file_is_replaced_and_never_written_into(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.save(stored(1))
    former = (tmp_path / "desired.json").read_bytes()
    os.link(tmp_path / "desired.json", tmp_path / "former")
    folder.save(stored(2))
    assert (tmp_path / "former").read_bytes() == former


KILLED_AT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_state import stored
from circinus_agent.state import StateFolder
folder = StateFolder(Path(sys.argv[1]))
folder.save(stored(1))
calls = 0
def watch(event, args):
    global calls
    if event in ("open", "os.rename") and sys.argv[1] in str(args[0]):
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
real = os.fsync
def fsync(fd):
    real(fd)
    watch("open", (sys.argv[1],))
os.fsync = fsync
folder.save(stored(2))
"""


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_state(tmp_path: Path, step: int) -> None:
    code = KILLED_AT.format(here=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(step)], check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    found, problem = StateFolder(tmp_path).load()
    assert problem is None
    # Opened, synced, renamed, directory opened, directory synced: new from the rename on.
    assert found == (stored(1) if step <= 3 else stored(2))


def test_a_second_agent_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.lock()
    try:
        with pytest.raises(LockTaken, match=str(os.getpid())):
            StateFolder(tmp_path).lock()
    finally:
        folder.unlock()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from circinus_agent.state import StateFolder;"
        "StateFolder(Path(sys.argv[1])).lock(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=30)
    folder = StateFolder(tmp_path)
    folder.lock()
    folder.unlock()
