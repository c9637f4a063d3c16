"""The data plane: WebSocket connections between agents, and the agent's HTTP interface.

Names are imported when asked for, so that the runtime can use the frames without aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circinus_agent.dataplane.frames import Frame, Hop, Kind, Span
    from circinus_agent.dataplane.plane import DataPlane, Handler

__all__ = ["DataPlane", "Frame", "Handler", "Hop", "Kind", "Span"]

_HOME = {
    "DataPlane": "plane",
    "Frame": "frames",
    "Handler": "plane",
    "Hop": "frames",
    "Kind": "frames",
    "Span": "frames",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
