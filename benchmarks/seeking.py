"""What the coordinator's probes cost until queries can be planned: seeking against everything.

Run: ``python -m benchmarks.seeking``. *The demo*: its pipeline and ten queries on its three
machines, 8, 4 and 2 times slower than the one that read-signs was measured on (benchmarks/data),
with its settings, in simulated time: starting a process takes 1.5 s. Both are planned with what
they measured; the decisions are compared.
*A fleet*: many cameras with queries of their own; how busy the scheduler keeps a core, by CPU time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._profiler.fleet import Fleet
from benchmarks._profiler.table import DATA, load
from circinus.decision import decode_decision
from circinus.fleet import Device, Network
from circinus.messages import Capabilities, Peer
from circinus.pipeline import Pipeline
from circinus.query import Query
from circinus.scenario import Scenario, decode_scenario, encode_scenario, load_submission
from circinus_coordinator import demo
from circinus_coordinator.daemon import assemble
from circinus_coordinator.daemon.planner import compute
from circinus_coordinator.demo.classes import load_classes
from circinus_coordinator.demo.fleet import MACHINES, fleet_file
from circinus_coordinator.profiling import (
    LinkKey,
    Needs,
    ProbeDevice,
    Profiler,
    ProfilingSettings,
    needs,
)

__all__ = ["main"]

SLOWDOWN = {"raspberry-pi-5": 8.0, "intel-nuc": 4.0, "cloud-vm-small": 2.0}
# As the demo has it.
SETTINGS = ProfilingSettings(
    min_samples=20, max_samples=25, precision=0.1, accuracy_samples=40, max_parallel=2
)


def main(arguments: Sequence[str] = ()) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeking")
    parser.add_argument("--cameras", type=int, default=80, help="of the fleet; 20 other devices")
    parser.add_argument("--queries", type=int, default=300, help="of the fleet")
    given = parser.parse_args(arguments)
    _demo()
    _fleet(given.cameras, given.queries)
    return 0


# ---- the demo ---------------------------------------------------------------------------------


def _demo() -> None:
    asked = load_submission(Path(demo.__file__).parent / "submission.yaml")
    fleet = decode_scenario(fleet_file(load_classes()), name="fleet.yaml")
    devices = [Device(id=m.id, device_class=m.device_class, tier=m.tier) for m in MACHINES]
    print("| | first plan, s | all, s | device seconds | probes | admitted |")
    print("|---|---|---|---|---|---|")
    found = {}
    for name, seek in (("everything", False), ("seeking", True)):
        wanted = _needs(fleet, devices, asked.pipelines, asked.queries)
        profiler = Profiler(replace(SETTINGS, seek=seek), prefix="x")
        world = Fleet(profiler, _probed(fleet, devices), load(DATA / "read-signs"), SLOWDOWN)
        world.hear(profiler.on_needs(wanted, 0.0))
        ids = [query.id for query in asked.queries]
        world.run(lambda p=profiler, q=ids: any(p.ready(name) for name in q))  # type: ignore[misc]
        first = world.now
        world.run(lambda p=profiler, q=ids: all(p.ready(name) for name in q))  # type: ignore[misc]
        everyone = world.now
        world.run(lambda w=world, p=profiler: w.idle and not _open(p))  # type: ignore[misc]
        plans = _plan(fleet, devices, asked.pipelines, asked.queries, profiler)
        found[seek] = plans
        print(
            f"| {name} | {first:.0f} | {everyone:.0f} | {profiler.spending.device_s:.0f} "
            f"| {world.probes} | {len(plans)} |"
        )
    same = [q for q in found[False] if found[True].get(q) == found[False][q]]
    print(f"\nthe same plan for {len(same)} of {len(found[False])} queries")
    for name in sorted(found[False].keys() | found[True].keys()):
        if found[True].get(name) != found[False].get(name):
            print(f"  {name}: {found[False].get(name)} / {found[True].get(name)}")


def _open(profiler: Profiler) -> bool:
    done, total, _ = profiler.progress()
    return done < total


def _needs(
    fleet: Scenario,
    devices: list[Device],
    pipelines: Mapping[str, Pipeline],
    queries: Sequence[Query],
) -> Needs:
    network = Network(devices, fleet.links)
    ids = sorted(device.id for device in devices)
    return needs(
        pipelines=pipelines,
        queries=queries,
        placements=assemble.placements(
            fleet=fleet, devices=devices, pipelines=pipelines, queries=queries
        ),
        known={
            d.id: Capabilities(
                device=d.id, boot_id=d.id, device_class=d.device_class, tier=d.tier, cores=4,
                memory_mb=1, architecture="", os="", python="",
            )
            for d in devices
        },
        batches=(1,),
        artifacts={},
        links={
            LinkKey(a=a, b=b): (a, Peer(device=b, url="ws://x"))
            for i, a in enumerate(ids)
            for b in ids[i + 1 :]
            if network.between(a, b) is not None
        },
        terrain=assemble.terrain(devices, fleet),
    )  # fmt: skip


def _probed(fleet: Scenario, devices: Sequence[Device]) -> dict[str, ProbeDevice]:
    return {
        d.id: ProbeDevice(
            id=d.id, boot_id=d.id, session=1, device_class=d.device_class,
            tier=fleet.tier_index[d.tier], cores=4,
        )
        for d in devices
    }  # fmt: skip


def _plan(
    fleet: Scenario,
    devices: list[Device],
    pipelines: Mapping[str, Pipeline],
    queries: Sequence[Query],
    profiler: Profiler,
) -> dict[str, Any]:
    scenario = assemble.build_scenario(
        fleet=fleet,
        devices=devices,
        pipelines=pipelines,
        queries=queries,
        needed=profiler.needs.by_query,
        measured=profiler.results(),
        mean_accuracy=profiler.mean_accuracy,
    )
    decision = decode_decision(compute(encode_scenario(scenario), 0))
    return {
        a.query: [f"{step.device} {step.config}" for step in a.plan.values()]
        for a in decision.assignments
        if a.share > 0
    }


# ---- a fleet ----------------------------------------------------------------------------------


def _fleet(cameras: int, queries: int) -> None:
    asked = load_submission(Path(demo.__file__).parent / "submission.yaml")
    fleet = decode_scenario(fleet_file(load_classes()), name="fleet.yaml")
    devices = [Device(id=f"cam-{k}", device_class=MACHINES[0].device_class, tier="device")
               for k in range(cameras)]  # fmt: skip
    devices += [Device(id=f"edge-{k}", device_class=MACHINES[1].device_class, tier="edge")
                for k in range(15)]  # fmt: skip
    devices += [Device(id=f"cloud-{k}", device_class=MACHINES[2].device_class, tier="cloud")
                for k in range(5)]  # fmt: skip
    mine = [query for query in asked.queries if query.id != "lobby"]
    many = [
        replace(
            mine[k % len(mine)],
            id=f"q{k}",
            source=dict.fromkeys(mine[k % len(mine)].source, f"cam-{k % cameras}"),
        )
        for k in range(queries)
    ]
    began = time.process_time()
    wanted = _needs(fleet, devices, asked.pipelines, many)
    asking = time.process_time() - began
    profiler = Profiler(replace(SETTINGS, max_parallel=None), prefix="x")
    world = Fleet(profiler, _probed(fleet, devices), load(DATA / "read-signs"), SLOWDOWN)
    began = time.process_time()
    world.hear(profiler.on_needs(wanted, 0.0))
    world.run(lambda: world.idle and not _open(profiler), most_s=7200)
    spent = time.process_time() - began
    print(f"\n{len(devices)} devices, {queries} queries: {asking:.1f} s to see what may be needed;")
    print(
        f"{spent:.1f} CPU seconds (machines that are played included) in {world.now:.0f} s: "
        f"{spent / world.now:.1%} of a core; {sum(profiler.ready(q.id) for q in many)} ready"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
