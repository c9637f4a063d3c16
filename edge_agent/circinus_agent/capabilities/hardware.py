"""What the machine is, read from files; `root` lets tests put up a machine of paper."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Hardware", "Health", "read_hardware", "read_health"]

ROOT = Path("/")
BYTES_PER_MB = 1e6
# Files under /proc and /sys are read whole; anything longer is not what we look for.
MAX_FILE_BYTES = 65536
# vcgencmd answers in milliseconds, or hangs when the firmware does.
VCGENCMD_TIMEOUT_S = 2.0
# Bits 0-3 of get_throttled say what holds now: under-voltage, frequency capped, throttled, soft
# temperature limit (Raspberry Pi documentation, vcgencmd). Higher bits tell of the past.
THROTTLED_NOW = 0xF


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What does not change while the agent runs.

    Attributes:
        cores: CPUs this process may use, a container's quota included.
        memory_mb: Memory it may use, megabytes (10^6 bytes), a container's limit included.
        model: The board's name, from the device tree; None on machines without one.
        accelerators: Amount of each accelerator, e.g. ``{"gpu": 1.0}``.
        raspberry_pi: Whether it is a Raspberry Pi.
        jetson: Whether it is an NVIDIA Jetson.
    """

    cores: float
    memory_mb: float
    architecture: str
    os: str
    model: str | None = None
    accelerators: dict[str, float] = field(default_factory=dict)
    raspberry_pi: bool = False
    jetson: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What changes: None where this machine does not tell."""

    temperature_c: float | None = None
    throttled: bool | None = None


def read_hardware(root: Path = ROOT) -> Hardware:
    """Look at the machine."""
    import psutil

    model = _model(root)
    jetson = _is_jetson(root)
    limit = _number(root / "sys/fs/cgroup/memory.max")
    total = float(psutil.virtual_memory().total)
    return Hardware(
        cores=_cores(root),
        memory_mb=round(min(total, limit or total) / BYTES_PER_MB, 1),
        architecture=platform.machine(),
        os=_os_name(root),
        model=model,
        accelerators=_accelerators(root, jetson=jetson),
        raspberry_pi=bool(model and model.startswith("Raspberry Pi")),
        jetson=jetson,
    )


def read_health(root: Path = ROOT, *, raspberry_pi: bool = False) -> Health:
    """Temperature and throttling now; a few file reads, on a Pi possibly a short child."""
    return Health(temperature_c=_temperature(root), throttled=_throttled(root, raspberry_pi))


def _text(file: Path) -> str | None:
    """Content of a small file without trailing NULs and blanks; None where unreadable."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES)
    except OSError:
        return None
    return raw.rstrip(b"\0 \n").decode(errors="replace") or None


def _number(file: Path) -> float | None:
    text = _text(file)
    if text is not None:
        with contextlib.suppress(ValueError):
            return float(text)
    return None


def _model(root: Path) -> str | None:
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        text = _text(root / place)
        if text:
            return text
    return None


def _is_jetson(root: Path) -> bool:
    if (root / "etc/nv_tegra_release").exists():
        return True
    # A list of NUL-separated names, most specific first.
    compatible = _text(root / "proc/device-tree/compatible") or ""
    return any(name.startswith("nvidia,tegra") for name in compatible.split("\0"))


def _accelerators(root: Path, *, jetson: bool) -> dict[str, float]:
    if jetson:
        return {"gpu": 1.0}  # integrated: no PCI driver files
    folder = root / "proc/driver/nvidia/gpus"
    cards = len(list(folder.iterdir())) if folder.is_dir() else 0
    if not cards:
        cards = len([p for p in (root / "dev").glob("nvidia[0-9]*") if p.name[6:].isdigit()])
    if not cards and (root / "proc/driver/nvidia/version").exists():
        cards = 1  # a container that sees the driver but not the list of cards
    return {"gpu": float(cards)} if cards else {}


def _cores(root: Path) -> float:
    allowed = float(len(os.sched_getaffinity(0)))
    quota, _, period = (_text(root / "sys/fs/cgroup/cpu.max") or "max").partition(" ")
    if quota != "max":
        with contextlib.suppress(ValueError, ZeroDivisionError):
            return min(allowed, float(quota) / float(period or 100_000))
    return allowed


def _os_name(root: Path) -> str:
    for line in (_text(root / "etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME" and value:
            return value.strip("\"'")
    return f"{platform.system()} {platform.release()}"


def _temperature(root: Path) -> float | None:
    """The hottest zone; zones that are switched off read as nonsense."""
    values = [
        millidegrees / 1000
        for zone in (root / "sys/class/thermal").glob("thermal_zone*/temp")
        if (millidegrees := _number(zone)) is not None
    ]
    return max((value for value in values if -40 <= value <= 150), default=None)


def _throttled(root: Path, raspberry_pi: bool) -> bool | None:
    if raspberry_pi:
        text = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
        text = text or _vcgencmd()
        if text is not None:
            with contextlib.suppress(ValueError):
                return bool(int(text.rpartition("=")[2], 16) & THROTTLED_NOW)
    limits = [
        (_number(policy / "scaling_max_freq"), _number(policy / "cpuinfo_max_freq"))
        for policy in (root / "sys/devices/system/cpu/cpufreq").glob("policy*")
    ]
    known = [(now, most) for now, most in limits if now is not None and most is not None]
    return any(now < most for now, most in known) if known else None


def _vcgencmd() -> str | None:
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get_throttled"],
            capture_output=True,
            text=True,
            timeout=VCGENCMD_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
