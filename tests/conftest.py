"""Markers for system pieces: a test that needs one is skipped where it is missing.

With ``CIRCINUS_REQUIRE_SYSTEM`` set (continuous integration) a missing piece is a failure: a
skipped test must not look like a passed one.
"""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does, before numpy

# CI draws the same examples each time, so that a change is judged by what it changed; everywhere
# else the examples are new at every run and go on looking for faults.
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Debian keeps daemons out of a user's PATH.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

SYSTEM_PIECES = {"needs_mosquitto": "mosquitto"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder, so that `-m 'not e2e'` works without a line in every file."""
    for item in items:
        for folder in ("integration", "e2e"):
            if folder in item.path.parts:
                item.add_marker(folder)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, program in SYSTEM_PIECES.items():
        if item.get_closest_marker(marker) is None:
            continue
        if shutil.which(program, path=SEARCH_PATH) is not None:
            continue
        if os.environ.get("CIRCINUS_REQUIRE_SYSTEM"):
            pytest.fail(f"{program} is not installed, but CIRCINUS_REQUIRE_SYSTEM is set")
        pytest.skip(f"{program} is not installed")
