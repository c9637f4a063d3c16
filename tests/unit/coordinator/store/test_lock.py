"""The lock that keeps a second coordinator off a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from circinus.errors import InvalidInput
from circinus_coordinator.store.lock import FolderLock


def test_a_held_folder_names_its_holder(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    with pytest.raises(InvalidInput, match="another coordinator uses this store"):
        FolderLock(tmp_path)
    held.release()
    FolderLock(tmp_path).release()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_lock_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(InvalidInput, match="cannot be written"):
        FolderLock(tmp_path)
