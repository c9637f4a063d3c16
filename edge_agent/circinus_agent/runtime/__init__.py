"""The operator runtime: child processes, batching, routes, sources and sinks.

`Runtime` is what the daemon uses; `Instance` alone serves probes. Names are imported when asked
for: the child process loads this package too and must start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circinus_agent.runtime.instance import BatchResult, Instance, ItemResult
    from circinus_agent.runtime.outcome import Failure, Outcome, ResultEvent, WorkerFailed
    from circinus_agent.runtime.runtime import Runtime
    from circinus_agent.runtime.settings import RuntimeSettings

__all__ = [
    "BatchResult",
    "Failure",
    "Instance",
    "ItemResult",
    "Outcome",
    "ResultEvent",
    "Runtime",
    "RuntimeSettings",
    "WorkerFailed",
]

_HOME = {
    "BatchResult": "instance",
    "Failure": "outcome",
    "Instance": "instance",
    "ItemResult": "instance",
    "Outcome": "outcome",
    "ResultEvent": "outcome",
    "Runtime": "runtime",
    "RuntimeSettings": "settings",
    "WorkerFailed": "outcome",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
