"""What the runtime must know about the device it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["RuntimeSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Settings of the runtime; everything about the device, nothing about the work.

    Attributes:
        device: Name of this device.
        cores: It hands out, whole ones, real or emulated; at least one.
        accelerators: How much of each it hands out.
        slowdown: Emulated factor on CPU time; 1 for the real thing.
        providers: onnxruntime execution providers, best first.
        cache_dir: Folder for what operators derive; outlives them.
        paths: Folders with user code, put before everything else on the children's path.
        start_timeout_s: A child that is not ready by then has failed (quantising a model on a
            small device takes minutes).
        hang_timeout_s: A batch that takes longer is taken for a hang; the child is killed.
        stop_grace_s: Between asking a child to end and killing it.
        realtime: False in probes: report the emulated duration but do not wait for it.
    """

    device: str
    device_class: str = ""
    cores: float = 1.0
    accelerators: Mapping[str, float] = field(default_factory=dict)
    slowdown: float = 1.0
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    cache_dir: str = "."
    paths: tuple[str, ...] = ()
    start_timeout_s: float = 600.0
    hang_timeout_s: float = 60.0
    stop_grace_s: float = 3.0
    realtime: bool = True
