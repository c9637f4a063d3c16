"""The child that imports what the agent must not: ``python -m …inventory [CACHE_FILE]``.

Prints JSON: ``{"providers": […], "operators": [{"name", "version", "stateful"}]}``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from circinus import __version__
from circinus.operator import ENTRY_POINT_GROUP, installed_operators

__all__ = ["main"]

# The distributions onnxruntime comes as: CPU, NVIDIA, Intel, and NVIDIA's own for Jetson.
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")


def main(arguments: list[str]) -> None:
    """Print what is installed; from the cache file while that speaks of the same versions."""
    cache = Path(arguments[0]) if arguments else None
    key = _versions()
    found = _cached(cache, key)
    if found is None:
        found = {"providers": _providers(), "operators": _operators()}
        if cache is not None:
            with contextlib.suppress(OSError):
                new = cache.with_suffix(".new")
                new.write_text(json.dumps({"key": key, **found}), encoding="utf-8")
                new.replace(cache)
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _versions() -> str:
    """Identity of everything that can change the findings."""
    facts = [sys.version, sys.executable, __version__]
    for name in RUNTIMES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts.append(f"{name}=={metadata.version(name)}")
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        release = f"{entry.dist.name}=={entry.dist.version}" if entry.dist else ""
        facts.append(f"{entry.name}={entry.value} {release}")
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()


def _cached(cache: Path | None, key: str) -> dict[str, Any] | None:
    if cache is None:
        return None
    try:
        document = json.loads(cache.read_text(encoding="utf-8"))
        if document.pop("key") == key:
            return dict(document)
    except (OSError, ValueError, KeyError, AttributeError):
        pass  # absent or damaged: look anew
    return None


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _operators() -> list[dict[str, Any]]:
    return [
        {"name": name, "version": cls.version, "stateful": cls.stateful}
        for name, cls in installed_operators()
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
