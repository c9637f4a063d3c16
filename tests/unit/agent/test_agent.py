"""Parts of the agent that need neither a broker nor a device."""

from __future__ import annotations

import asyncio
from pathlib import Path

from circinus.messages import InstanceSpec
from circinus_agent.capabilities import Hardware, Software
from circinus_agent.config import AgentConfig
from circinus_agent.daemon.agent import BACKGROUND_NICE, Agent
from circinus_agent.daemon.broker import make_link
from circinus_agent.daemon.effects import Effects
from circinus_agent.daemon.tasks import Tasks
from circinus_agent.dataplane import DataPlane
from circinus_agent.probes.conditions import Conditions
from circinus_agent.runtime import Instance, Runtime
from circinus_agent.state import StateFolder


def made(folder: Path) -> Agent:
    config = AgentConfig(device="d", device_class="c", tier="t", state_dir=folder)
    return Agent(config, StateFolder(folder))


def test_a_result_is_not_sent_without_a_connection(tmp_path: Path) -> None:
    async def publish() -> bool:
        agent = made(tmp_path)
        agent._link = make_link(agent._config, "boot", lambda *_: None, lambda: None)
        return agent._publish_event("q", b"{}")

    assert asyncio.run(publish()) is False


def test_probes_that_are_not_timed_give_way(tmp_path: Path) -> None:
    async def niceness() -> tuple[int, int]:
        agent = made(tmp_path)
        hardware = Hardware(cores=4, memory_mb=1e3, architecture="x", os="y")
        settings = agent._settings(hardware, Software())
        plane = DataPlane("d", host="127.0.0.1", port=0)
        effects = Effects(
            folder=agent._folder,
            artifacts=agent._artifacts,
            runtime=Runtime(settings, transport=plane),
            plane=plane,
            tasks=Tasks(),
            report=lambda reported: None,
        )
        environment = agent._environment(settings, plane, effects, Conditions())
        spec = InstanceSpec(key="k", run="m:Run")
        timed, background = environment.worker(spec, 1.0), environment.background(spec, 1.0)
        assert isinstance(timed, Instance)
        assert isinstance(background, Instance)
        return timed._nice, background._nice

    assert asyncio.run(niceness()) == (0, BACKGROUND_NICE)
