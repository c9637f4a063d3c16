from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from circinus_agent.capabilities import describe, read_hardware, read_health, read_software
from circinus_agent.capabilities.hardware import Hardware, Health
from circinus_agent.capabilities.software import Software
from circinus_agent.config import AgentConfig, EmulationConfig


def put(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def test_a_raspberry_pi_is_known_by_its_device_tree(tmp_path: Path) -> None:
    put(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    hardware = read_hardware(tmp_path)
    assert (hardware.model, hardware.raspberry_pi) == ("Raspberry Pi 5 Model B Rev 1.0", True)


@pytest.mark.parametrize(
    "files",
    [
        {"etc/nv_tegra_release": "# R36 (release), REVISION: 2.0"},
        {"proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0"},
    ],
)
def test_a_jetson_is_known_and_has_a_gpu(tmp_path: Path, files: dict[str, str]) -> None:
    hardware = read_hardware(put(tmp_path, files))
    assert (hardware.jetson, hardware.accelerators) == (True, {"gpu": 1.0})


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "",
            "proc/driver/nvidia/gpus/0000:02:00.0/information": "",
        },
        {"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": "", "dev/nvidia-uvm": ""},
    ],
)
def test_nvidia_cards_are_counted_by_driver_files(tmp_path: Path, files: dict[str, str]) -> None:
    assert read_hardware(put(tmp_path, files)).accelerators == {"gpu": 2.0}


def test_a_plain_machine_has_no_model_and_no_accelerators(tmp_path: Path) -> None:
    hardware = read_hardware(tmp_path)
    assert (hardware.model, hardware.accelerators) == (None, {})
    assert hardware.cores >= 1
    assert hardware.memory_mb > 100


def test_the_limits_of_a_container_count(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/memory.max": "256000000"},
    )
    hardware = read_hardware(tmp_path)
    assert (hardware.cores, hardware.memory_mb) == (0.5, 256.0)


def test_no_limit_of_a_container_is_no_limit(tmp_path: Path) -> None:
    free = read_hardware(tmp_path / "free")
    put(tmp_path, {"sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"})
    assert (read_hardware(tmp_path).cores, read_hardware(tmp_path).memory_mb) == (
        free.cores,
        free.memory_mb,
    )


def test_the_hottest_sensible_zone_is_the_temperature(tmp_path: Path) -> None:
    zones = "sys/class/thermal/thermal_zone"
    put(
        tmp_path,
        {
            f"{zones}0/temp": "45500\n",
            f"{zones}1/temp": "61000\n",
            f"{zones}2/temp": "-274000\n",
            f"{zones}3/temp": "nonsense\n",
        },
    )
    assert read_health(tmp_path).temperature_c == 61.0


def test_nothing_readable_is_unknown_and_not_zero(tmp_path: Path) -> None:
    assert read_health(tmp_path) == Health()


@pytest.mark.parametrize(("limit", "throttled"), [("1500000", True), ("2400000", False)])
def test_a_capped_clock_is_throttling(tmp_path: Path, limit: str, throttled: bool) -> None:
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    put(
        tmp_path,
        {f"{policy}/scaling_max_freq": limit, f"{policy}/cpuinfo_max_freq": "2400000"},
    )
    assert read_health(tmp_path).throttled is throttled


@pytest.mark.parametrize(("bits", "throttled"), [("0x50000", False), ("0x4", True)])
def test_a_pi_is_throttled_by_what_holds_now(tmp_path: Path, bits: str, throttled: bool) -> None:
    put(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": bits})
    assert read_health(tmp_path, raspberry_pi=True).throttled is throttled


def test_emulated_amounts_replace_real_ones_and_are_flagged(tmp_path: Path) -> None:
    config = AgentConfig(
        device="d",
        device_class="c",
        tier="t",
        state_dir=tmp_path,
        emulate=EmulationConfig(cores=2, memory_mb=512),
    )
    real = Hardware(cores=16, memory_mb=9e9, architecture="x", os="y")
    found = describe(config, "b", real, Health(), Software(), None)
    assert (found.cores, found.memory_mb) == (2, 512)
    assert found.emulation is not None


def test_the_inventory_lists_installed_operators_and_is_kept(tmp_path: Path) -> None:
    found = read_software(cache_dir=tmp_path)
    assert found.problem is None
    assert "onnx" in {operator.name for operator in found.operators}
    kept = json.loads((tmp_path / "inventory.json").read_text())
    kept["providers"] = ["FromTheFile"]
    (tmp_path / "inventory.json").write_text(json.dumps(kept))
    assert read_software(cache_dir=tmp_path).providers == ("FromTheFile",)


def test_an_inventory_of_other_versions_is_made_anew(tmp_path: Path) -> None:
    stale = {"key": "other", "providers": ["Stale"], "operators": []}
    (tmp_path / "inventory.json").write_text(json.dumps(stale))
    assert "Stale" not in read_software(cache_dir=tmp_path).providers


def test_the_agent_imports_nothing_heavy() -> None:
    code = (
        "import sys, circinus_agent.cli, circinus_agent.capabilities, circinus_agent.daemon;"
        "print([m for m in ('numpy','onnxruntime','yaml','circinus_coordinator','scipy')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
