"""Accuracy while serving: outputs are compared with labels in a process of their own.

A metric is the user's code and may import whatever it likes; it runs as an operator, so that it
is supervised like one, at low priority and without cores of the device.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from circinus import codec
from circinus.errors import InvalidInput
from circinus.messages import InstanceSpec, instance_key
from circinus.operator import Knob, KnobValue, Operator, load_object
from circinus_agent.runtime.settings import RuntimeSettings

__all__ = ["Score", "Scorer"]

logger = logging.getLogger(__name__)

BATCH = 16
NICE = 10
# A score that takes longer serves nobody.
PATIENCE_S = 60.0


class Score(Operator):
    """Calls a metric on maps with ``output`` and ``label``; gives scores in [0, 1]."""

    metric = Knob("")

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002 - in `self` too
        """Load the metric."""
        self._metric: Callable[[Any, Any], float] = load_object(self.metric)

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        """A score for each pair."""
        return [self._score(pair) for pair in batch]

    def _score(self, pair: Mapping[str, Any]) -> float | Exception:
        try:
            score = float(self._metric(pair["output"], pair["label"]))
        except Exception as error:  # noqa: BLE001 - the metric's; this request is not scored
            return error
        return score if 0.0 <= score <= 1.0 else ValueError(f"a score of {score}")


class Scorer:
    """Scores the outputs of one metric; what it cannot keep up with is left unscored.

    Args:
        metric: ``module:function``.
    """

    def __init__(self, metric: str, settings: RuntimeSettings) -> None:
        # Not above: the child imports this module for `Score` and needs no supervisor.
        from circinus_agent.runtime.instance import Instance
        from circinus_agent.runtime.stage import Stage
        from circinus_agent.runtime.tokens import Lines

        run = f"{__name__}:{Score.__name__}"
        config: dict[str, KnobValue] = {"metric": metric}
        key = instance_key(run, config, BATCH)
        spec = InstanceSpec(key=key, run=run, config=config, batch=BATCH)
        self._loop = asyncio.get_running_loop()
        self._instance = Instance(spec, settings, nice=NICE)
        self._stage = Stage(spec, self._instance, Lines(1), self._loop)
        self._warned = False

    async def start(self) -> None:
        """Load the metric.

        Raises:
            WorkerFailed: If it cannot be loaded.
        """
        await self._instance.start()

    async def stop(self) -> None:
        """End its process."""
        await self._instance.stop()

    def score(self, output: bytes, label: bytes, done: Callable[[float], None]) -> None:
        """Score an encoded output; `done` is called with the score if there is one."""
        from circinus_agent.runtime.outcome import Failure
        from circinus_agent.runtime.stage import Completed, Work

        def finished(result: Completed | Failure) -> None:
            if isinstance(result, Failure):
                self._warn(result)
                return
            try:
                done(float(codec.plain(result.payload)))
            except (InvalidInput, TypeError, ValueError) as error:
                self._warn(error)

        work = Work({"output": output, "label": label}, self._loop.time() + PATIENCE_S, finished)
        self._stage.submit(work)

    def _warn(self, problem: object) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("a result was not scored (told once): %s", problem)
