"""The families of pipelines."""

from __future__ import annotations

FAMILIES = ("vision", "speech", "retrieval", "fusion")
