"""The demo's three machines and the links between them, all played by this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from circinus.fleet import Link
from circinus.scenario import Scenario, encode_scenario
from circinus_coordinator.demo.classes import CatalogueEntry, Emulate

__all__ = ["LINKS", "MACHINES", "Machine", "agent_flags", "emulation_lines", "fleet_file"]

TIERS = ("device", "edge", "cloud")
# All three share this machine's cores: what they may be planned for together has to fit them.
MAX_UTILISATION = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One of the demo's machines."""

    id: str
    device_class: str
    tier: str


MACHINES = (
    Machine(id="cam-1", device_class="raspberry-pi-5", tier="device"),
    Machine(id="edge-1", device_class="intel-nuc", tier="edge"),
    Machine(id="cloud-1", device_class="cloud-vm-small", tier="cloud"),
)

# Assumed: a wired network in the building, a fibre from there to the cloud, and the camera's own
# way to the cloud over a mobile network, where data costs money.
LINKS = (
    Link(between=("device", "edge"), rtt_ms=4.0, bandwidth_mbps=100.0),
    Link(between=("edge", "cloud"), rtt_ms=16.0, bandwidth_mbps=200.0, price_usd_gb=0.002),
    Link(between=("device", "cloud"), rtt_ms=30.0, bandwidth_mbps=40.0, price_usd_gb=0.05),
)


def fleet_file(catalogue: Mapping[str, CatalogueEntry]) -> bytes:
    """The ``fleet.yaml`` of the coordinator."""
    names = [machine.device_class for machine in MACHINES]
    fleet = Scenario(
        tiers=TIERS,
        device_classes={name: catalogue[name].device_class for name in names},
        links=LINKS,
        max_utilisation=MAX_UTILISATION,
    )
    return encode_scenario(fleet, yaml=True)


def agent_flags(machine: Machine, catalogue: Mapping[str, CatalogueEntry]) -> list[str]:
    """What makes an agent of this machine play `machine`."""
    flags = ["--device", machine.id, "--class", machine.device_class, "--tier", machine.tier]
    emulate = _emulate(machine, catalogue)
    flags += ["--slowdown", f"{emulate.slowdown:g}", "--cores", f"{emulate.cores:g}"]
    flags += ["--memory-mb", f"{emulate.memory_mb:g}"]
    for link in LINKS:
        if machine.tier in link.between:
            other = link.between[link.between[0] == machine.tier]
            peer = next(m.id for m in MACHINES if m.tier == other)
            flags += ["--link", f"{peer}={link.rtt_ms:g},{link.bandwidth_mbps:g}"]
    return flags


def emulation_lines(catalogue: Mapping[str, CatalogueEntry]) -> list[str]:
    """Everything that is made up, plainly."""
    lines = ["Three machines, played by this one. EMULATED, assumed figures of devices/:"]
    for machine in MACHINES:
        emulate = _emulate(machine, catalogue)
        price = catalogue[machine.device_class].device_class.price_usd_hour
        lines.append(
            f"  {machine.id:<8} {machine.device_class}: {emulate.cores:g} cores, each "
            f"{emulate.slowdown:g}x slower than here; {price:.4f} $/h"
        )
    by_tier = {machine.tier: machine.id for machine in MACHINES}
    for link in LINKS:
        ends = " - ".join(by_tier[tier] for tier in link.between)
        lines.append(
            f"  {ends}: {link.rtt_ms:g} ms round trip, {link.bandwidth_mbps:g} Mbit/s, "
            f"{link.price_usd_gb:g} $/GB"
        )
    lines.append("Real: models, their speed and accuracy, all requests, processes and sockets.")
    return lines


def _emulate(machine: Machine, catalogue: Mapping[str, CatalogueEntry]) -> Emulate:
    emulate = catalogue[machine.device_class].emulate
    assert emulate is not None  # every class the demo uses says how it is played
    return emulate
