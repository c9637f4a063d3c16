"""Settings of an agent."""

from __future__ import annotations

from circinus_agent.config.load import load_config
from circinus_agent.config.settings import (
    AUTO,
    AgentConfig,
    BrokerConfig,
    DataPlaneConfig,
    EmulatedLink,
    EmulationConfig,
    RuntimeConfig,
)

__all__ = [
    "AUTO",
    "AgentConfig",
    "BrokerConfig",
    "DataPlaneConfig",
    "EmulatedLink",
    "EmulationConfig",
    "RuntimeConfig",
    "load_config",
]
