"""The link probe: round trip and bandwidth to another agent, through the data plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from circinus.errors import CircinusError
from circinus.messages import ProbeLink
from circinus_agent.probes.environment import (
    Budget,
    Control,
    ProbeEnvironment,
    ProbeFailed,
    TargetCancelled,
    TargetStream,
    raced,
)

__all__ = ["probe_link"]

# Below this the payload's time drowns in the round trip's jitter, and says nothing.
MIN_TRANSFER_S = 1e-4


async def probe_link(
    environment: ProbeEnvironment, command: ProbeLink, control: Control, seq: Callable[[], int]
) -> dict[str, object]:
    """Measure the link; the samples of its one target are streamed.

    Raises:
        ProbeFailed: If the peer cannot be reached.
    """
    stream = TargetStream(
        environment,
        command.request_id,
        0,
        seq,
        emulated=command.peer.device in environment.emulated_links,
    )
    budget = Budget(command.budget_s, environment.clock)
    try:
        # The first exchange pays for dialling and for the connection's slow start.
        await _exchange(environment, command, control, budget)
        while stream.count < command.samples:
            rtt_ms, seconds = await _exchange(environment, command, control, budget)
            on_the_line = max(seconds - rtt_ms / 1e3, MIN_TRANSFER_S)
            stream.add(rtt_ms=rtt_ms, bandwidth_mbps=command.payload_bytes * 8e-6 / on_the_line)
        stream.close()
    except TargetCancelled:
        stream.close("cancelled")
    except (ProbeFailed, CircinusError, asyncio.TimeoutError) as error:
        cause = str(error) or "timeout"
        stream.close(cause)
        if not stream.count:
            raise ProbeFailed(cause) from None
    finally:
        stream.close("stopped")
    return {}


async def _exchange(
    environment: ProbeEnvironment, command: ProbeLink, control: Control, budget: Budget
) -> tuple[float, float]:
    async def echo() -> tuple[float, float]:
        return await environment.echo(command.peer, command.payload_bytes, budget.left_s)

    if budget.left_s <= 0:
        raise ProbeFailed("budget used up")
    return await raced(echo(), control, [0], budget.left_s)
