"""What asyncio has from Python 3.11 on, for 3.10 too: ``TaskGroup`` and ``timeout``."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import TaskGroup, timeout
else:
    from taskgroup import TaskGroup, timeout

__all__ = ["TaskGroup", "timeout"]
