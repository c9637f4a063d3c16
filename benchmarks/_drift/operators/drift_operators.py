"""An operator that takes as long as a file says."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circinus.operator import Operator


class Work(Operator):
    """Text -> its length, after ``DRIFT_MS`` times what the file ``DRIFT_PACE`` says.

    It waits as for an accelerator, so that only the file decides how slow a device is, and not
    what else runs on the machine that plays all of them.
    """

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        pace = os.environ.get("DRIFT_PACE")
        times = float(Path(pace).read_text()) if pace else 1.0
        time.sleep(times * float(os.environ["DRIFT_MS"]) / 1e3 * len(batch))
        return [len(data) for data in batch]
