"""Machines the generator knows: what they offer, cost and manage.

`cores`, memory and price of the classes that `devices/*.yaml` describes are the figures there
(bought machines: purchase over three years plus electricity); the sources of the others stand
beside them. Speeds are relative to one x86 server core with AVX, the *reference core*; they are
assumed, and those of `devices/*.yaml` are the same assumptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circinus.fleet import Billing, DeviceClass

__all__ = ["MACHINES", "ROLES", "Machine", "apportion"]

HOURS_PER_YEAR = 8760.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A device class with its speeds.

    Attributes:
        slowdown: Core time over that of the reference core.
        gpu_speed: Neural work the accelerator does in the time of one reference core; 0 for none.
    """

    name: str
    cores: float
    memory_mb: float
    price_usd_hour: float
    slowdown: float
    gpu_speed: float = 0.0

    def device_class(self, billing: Billing) -> DeviceClass:
        """As the scenario has it."""
        return DeviceClass(
            name=self.name,
            cores=self.cores,
            memory_mb=self.memory_mb,
            price_usd_hour=self.price_usd_hour,
            billing=billing,
            accelerators={"gpu": 1.0} if self.gpu_speed else {},
        )


def _bought(purchase_usd: float, watts: float, years: float = 3.0) -> float:
    """USD per hour of a bought machine, as devices/README.md defines it (0.15 USD per kWh)."""
    return round(purchase_usd / (years * HOURS_PER_YEAR) + watts / 1000 * 0.15, 4)


MACHINES = {
    machine.name: machine
    for machine in (
        Machine(name="raspberry-pi-4", cores=4, memory_mb=4096, price_usd_hour=_bought(78, 6),
                slowdown=20.0),
        Machine(name="raspberry-pi-5", cores=4, memory_mb=8192, price_usd_hour=_bought(105, 8),
                slowdown=8.0),
        # 1,024 CUDA cores at 1.0 GHz; at batch 1 some eight times the reference core, assumed.
        Machine(name="jetson-orin-nano", cores=6, memory_mb=8192,
                price_usd_hour=_bought(289, 20), slowdown=9.0, gpu_speed=8.0),
        Machine(name="intel-nuc", cores=4, memory_mb=16384, price_usd_hour=_bought(380, 20),
                slowdown=4.0),
        # Assumed: a short-depth server with 16 cores and one NVIDIA L4 (72 W by its data sheet)
        # for 9,000 USD, 250 W in all. L4: 7,424 CUDA cores, 30 TFLOPS FP32 by its data sheet; at
        # batch 1 some forty times the reference core, assumed.
        Machine(name="edge-server-gpu", cores=16, memory_mb=65536,
                price_usd_hour=_bought(9000, 250), slowdown=1.5, gpu_speed=40.0),
        # AWS EC2 c7i.8xlarge, 32 vCPU, 64 GiB, on demand, US East, list price of 2024.
        Machine(name="region-vm", cores=32, memory_mb=65536, price_usd_hour=1.428, slowdown=2.0),
        # AWS EC2 g6.2xlarge, 8 vCPU, 32 GiB, one L4, on demand, US East, list price of 2024.
        Machine(name="region-vm-gpu", cores=8, memory_mb=32768, price_usd_hour=0.9776,
                slowdown=2.0, gpu_speed=40.0),
        Machine(name="cloud-vm-large", cores=8, memory_mb=16384, price_usd_hour=0.357,
                slowdown=2.0),
        # AWS EC2 g6.4xlarge, 16 vCPU, 64 GiB, one L4, on demand, US East, list price of 2024.
        Machine(name="cloud-vm-gpu", cores=16, memory_mb=65536, price_usd_hour=1.3232,
                slowdown=2.0, gpu_speed=40.0),
    )
}  # fmt: skip

# Of each tier: the fraction of the fleet that is in it, by number of tiers, and its mix. All
# assumed; a mix is apportioned, so that also a small fleet has its share of each class.
ROLES: dict[str, tuple[tuple[str, float], ...]] = {
    "device": (("raspberry-pi-5", 0.45), ("raspberry-pi-4", 0.3), ("jetson-orin-nano", 0.25)),
    "edge": (("intel-nuc", 0.6), ("edge-server-gpu", 0.4)),
    "region": (("region-vm", 0.6), ("region-vm-gpu", 0.4)),
    "cloud": (("cloud-vm-large", 0.6), ("cloud-vm-gpu", 0.4)),
}


def apportion(total: int, shares: Sequence[float], least: int = 0) -> list[int]:
    """Whole numbers in proportion to `shares` that sum to `total`, each at least `least`.

    By largest remainder, the earlier first among equals.
    """
    spare = total - least * len(shares)
    whole = sum(shares)
    exact = [spare * share / whole for share in shares]
    counts = [int(x) for x in exact]
    rest = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in rest[: spare - sum(counts)]:
        counts[i] += 1
    return [least + count for count in counts]
