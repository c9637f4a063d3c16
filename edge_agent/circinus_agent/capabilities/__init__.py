"""What this device is and has, as it reports it."""

from __future__ import annotations

import platform
from pathlib import Path

from circinus.messages import Capabilities
from circinus_agent.capabilities.hardware import (
    ROOT,
    Hardware,
    Health,
    read_hardware,
    read_health,
)
from circinus_agent.capabilities.software import Software, read_software
from circinus_agent.config import AUTO, AgentConfig

__all__ = [
    "Hardware",
    "Health",
    "Software",
    "capabilities",
    "describe",
    "read_hardware",
    "read_health",
    "read_software",
]


def capabilities(
    config: AgentConfig, boot_id: str, cache_dir: Path | None, root: Path = ROOT
) -> Capabilities:
    """Look at machine and software; blocks, up to some seconds the first time."""
    hardware = read_hardware(root)
    return describe(
        config,
        boot_id,
        hardware,
        read_health(root, raspberry_pi=hardware.raspberry_pi),
        read_software(config.path, cache_dir),
        config.data_plane.endpoint if config.data_plane.endpoint != AUTO else None,
    )


def describe(
    config: AgentConfig,
    boot_id: str,
    hardware: Hardware,
    health: Health,
    software: Software,
    endpoint: str | None,
) -> Capabilities:
    """The message; emulated amounts stand in place of the real ones and are flagged."""
    emulate = config.emulate
    return Capabilities(
        device=config.device,
        boot_id=boot_id,
        device_class=config.device_class,
        tier=config.tier,
        cores=emulate.cores if emulate.cores is not None else hardware.cores,
        memory_mb=emulate.memory_mb if emulate.memory_mb is not None else hardware.memory_mb,
        architecture=hardware.architecture,
        os=hardware.os,
        python=platform.python_version(),
        model=hardware.model,
        accelerators=hardware.accelerators,
        providers=list(software.providers),
        operators=list(software.operators),
        temperature_c=health.temperature_c,
        throttled=health.throttled,
        endpoint=endpoint,
        emulation=emulate.as_message(),
    )
