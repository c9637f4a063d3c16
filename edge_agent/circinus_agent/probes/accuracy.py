"""The accuracy probe: a pipeline's score under many config vectors.

Config vectors share beginnings, so every (step, config, configs of what it depends on) is run
once over all inputs and its outputs are kept for as long as a later vector needs them, and a while
longer (`kept`): the next probe of the pipeline mostly begins with the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from circinus.errors import CircinusError
from circinus.messages import InstanceSpec, ProbeAccuracy, ProbeStep
from circinus_agent.probes.environment import (
    Budget,
    Control,
    ProbeEnvironment,
    ProbeFailed,
    TargetCancelled,
    TargetStream,
    Worker,
    cause_of,
    raced,
)
from circinus_agent.probes.kept import Kept, Node
from circinus_agent.probes.operators import ancestors
from circinus_agent.probes.outputs import (
    Outputs,
    dataset_files,
    read_input,
    read_labels,
    shuffled,
    step_input,
)
from circinus_agent.probes.scoring import Scorer

__all__ = ["AccuracyProbe"]


class AccuracyProbe:
    """One run of `ProbeAccuracy`.

    Args:
        kept: What earlier probes left; the caller clears it.
    """

    def __init__(
        self,
        environment: ProbeEnvironment,
        command: ProbeAccuracy,
        control: Control,
        seq: Callable[[], int],
        kept: Kept,
    ) -> None:
        self._environment = environment
        self._command = command
        self._control = control
        self._budget = Budget(command.budget_s, environment.clock)
        self._steps = {step.name: step for step in command.steps}
        needed = {need for step in command.steps for need in step.needs}
        self._sinks = [step.name for step in command.steps if step.name not in needed]
        self._kept, self._outputs = kept, kept.outputs
        self._files: list[Path] = []
        self._labels: list[Any] | None = None
        self._agreed: dict[int, dict[str, bytes] | None] = {}
        self._vectors = [target.config for target in command.targets]
        self._reference: int | None = None
        self.executed = 0
        self.streams = [
            TargetStream(environment, command.request_id, target, seq, emulated=False)
            for target in range(len(command.targets))
        ]

    async def run(self) -> dict[str, Any]:
        """Score all targets.

        Returns:
            ``reference``: "labels", or "agreement" where the data set has none and scores say
            how far outputs agree with those of the steps' reference configs.

        Raises:
            ProbeFailed: If no target could be scored.
        """
        try:
            folder = self._environment.resolve(self._command.dataset)
            labels, files = await asyncio.to_thread(self._listed, folder)
            await self._kept.begin(self._identity(files))
            await asyncio.to_thread(self._read_dataset, folder, labels, files)
            async with Scorer(self._command.metric, self._environment.path) as scorer:
                order = self._order()
                for place, vector in enumerate(order):
                    await self._target(vector, scorer)
                    self._forget(order[place + 1 :])
        finally:
            for stream in self.streams:
                stream.close("stopped")
        return {
            "reference": "labels" if self._labels is not None else "agreement",
            "inputs": len(self._files),
            "executed": self.executed,
        }

    def _listed(self, folder: Path) -> tuple[dict[str, Any] | None, list[Path]]:
        labels = read_labels(folder)
        return labels, shuffled(dataset_files(folder, only=labels), folder)

    def _identity(self, files: Sequence[Path]) -> str:
        """Of the steps but for their configs, and of the inputs as they are now."""
        steps = [(s.name, s.needs, s.run) for s in self._steps.values()]
        stats = [(str(file), file.stat()) for file in files]
        inputs = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        whole = msgspec.json.encode([steps, self._command.artifacts, inputs])
        return hashlib.sha256(whole).hexdigest()

    def _read_dataset(
        self, folder: Path, labels: dict[str, Any] | None, files: Sequence[Path]
    ) -> None:
        self._files = list(files[: self._command.max_samples])
        for target, stream in zip(self._command.targets, self.streams, strict=True):
            stream.first, stream.population = target.first, len(files)
        if labels is not None:
            self._labels = [labels[f.relative_to(folder).as_posix()] for f in self._files]
        else:
            self._add_reference()
        sources = self._kept.of(("", ""), self._environment.scratch)
        for position in self._span(range(len(self.streams))):
            if position not in sources:
                payload = self._environment.encode_input(read_input(self._files[position]))
                sources.put(position, payload)

    def _add_reference(self) -> None:
        """The same for all probes of a pipeline, however its vectors are shared out among them."""
        wanted = {step.name: step.config for step in self._steps.values()}
        for vector in range(len(self._vectors)):
            if all(self._config(vector, step) == step.config for step in self._steps.values()):
                self._reference = vector
                return
        self._reference = len(self._vectors)
        self._vectors.append(wanted)

    def _order(self) -> list[int]:
        """Vectors so that those with a common beginning follow each other; the reference first."""
        vectors = list(range(len(self._vectors)))
        if self._reference is not None:
            vectors.remove(self._reference)
            vectors.insert(0, self._reference)
        seen: dict[tuple[str, bytes], int] = {}

        def rank(vector: int) -> list[int]:
            return [
                seen.setdefault((name, _canonical(self._config(vector, step))), len(seen))
                for name, step in self._steps.items()
            ]

        ranks = {vector: rank(vector) for vector in vectors}  # by first appearance
        return sorted(vectors, key=ranks.__getitem__)

    def _inputs(self, vector: int) -> range:
        """Positions of the inputs a vector is scored on."""
        target = self._command.targets[vector]
        left = range(len(self._files))[target.first :]
        return left if target.count is None else left[: target.count]

    def _span(self, vectors: Iterable[int]) -> range:
        """From the first to the last input that some of `vectors` need; outputs are shared."""
        if self._reference is not None and self._reference in (vectors := list(vectors)):
            vectors = range(len(self.streams))  # everything is compared with it
        parts = [part for v in vectors if (part := self._inputs(v))]
        return range(min(p.start for p in parts), max(p.stop for p in parts)) if parts else range(0)

    def _config(self, vector: int, step: ProbeStep) -> dict[str, Any]:
        return self._vectors[vector].get(step.name, step.config)

    def _node(self, vector: int, name: str) -> Node:
        parts = sorted({name, *ancestors(self._steps, name)})
        configs = [(part, self._config(vector, self._steps[part])) for part in parts]
        return name, msgspec.json.encode([(n, sorted(c.items())) for n, c in configs]).decode()

    # ---- one vector -------------------------------------------------------------------------

    async def _target(self, vector: int, scorer: Scorer) -> None:
        # Everything is compared with the reference, so its outputs are needed in any case.
        if not self._span([vector]):  # all its inputs were scored before
            self._close(vector, None)
            return
        keep = vector == self._reference
        watched = list(range(len(self.streams))) if keep else [vector]
        try:
            if all(self._control.cancelled(target) for target in watched):
                raise TargetCancelled
            for step in self._steps.values():
                await self._execute(vector, step, watched)
            if keep:
                self._keep(vector)
            if vector < len(self.streams):
                await self._score(vector, scorer)
            self._close(vector, None)
        except TargetCancelled:
            self._close(vector, "cancelled")
        except (ProbeFailed, CircinusError) as error:
            self._close(vector, cause_of(error))
            if keep and not self._agreed:
                raise ProbeFailed(f"no reference outputs: {cause_of(error)}") from None

    def _close(self, vector: int, cause: str | None) -> None:
        if vector < len(self.streams):
            self.streams[vector].close(cause)

    async def _execute(self, target: int, step: ProbeStep, watched: Sequence[int]) -> None:
        """Have the step's outputs under the target's configs."""
        node = self._node(target, step.name)
        span = self._span(v for v in self._wanted() if self._node(v, step.name) == node)
        outputs = self._kept.of(node, self._environment.scratch)
        lacking = [position for position in span if position not in outputs]
        if lacking:
            needs = [self._outputs[self._node(target, need)] for need in step.needs]
            await self._make(
                outputs, lacking, step, needs or [self._outputs["", ""]], target, watched
            )
        failed = [outputs.failures[p] for p in span if p in outputs.failures]
        if span and len(failed) == len(span):
            raise ProbeFailed(f"{step.name}: {failed[0]}")

    async def _make(
        self,
        outputs: Outputs,
        positions: Sequence[int],
        step: ProbeStep,
        needs: Sequence[Outputs],
        target: int,
        watched: Sequence[int],
    ) -> None:
        """Run the step on these inputs."""
        key = f"probe-{step.name}-{_canonical(self._config(target, step)).decode()}"
        worker = await self._worker(key, step, self._config(target, step), watched)
        try:
            for position in positions:
                payload = step_input(needs, step.needs, position)
                if payload is None:
                    outputs.put(position, None)
                    continue
                result = await raced(
                    worker.call([payload]), self._control, watched, self._budget.left_s
                )
                self.executed += 1
                item = result.items[0]
                # A pipeline that raises on an input gives no right answer to it; anything else
                # (killed, out of memory) says nothing about accuracy.
                if item.failure is not None and getattr(item.failure, "kind", "") != "raised":
                    raise ProbeFailed(f"{step.name}: {item.failure}")
                outputs.put(position, item.payload, str(item.failure) if item.failure else None)
        except ProbeFailed:
            await self._kept.drop(key)
            raise

    async def _worker(
        self, key: str, step: ProbeStep, config: dict[str, Any], watched: Sequence[int]
    ) -> Worker:
        def make() -> Worker:
            threads = self._environment.threads
            spec = InstanceSpec(key=key, run=step.run, config=config, threads=threads)
            return self._environment.background(spec, self._command.budget_s)

        async def start(worker: Worker) -> None:
            await raced(worker.start(), self._control, watched, self._budget.left_s)

        return await self._kept.worker(key, make, start)

    def _results(self, vector: int, position: int) -> dict[str, bytes] | None:
        """The outputs of the last steps for one input; None where one has none."""
        found: dict[str, bytes] = {}
        for sink in self._sinks:
            payload = self._outputs[self._node(vector, sink)][position]
            if payload is None:
                return None
            found[sink] = payload
        return found

    def _wanted(self) -> list[int]:
        """Vectors that are not over yet; the reference is needed as long as any of them."""
        vectors = range(len(self._vectors))
        return [v for v in vectors if v == self._reference or not self._over(v)]

    def _over(self, vector: int) -> bool:
        return self.streams[vector].closed or self._control.cancelled(vector)

    def _keep(self, vector: int) -> None:
        self._agreed = {p: self._results(vector, p) for p in self._span([vector])}

    async def _score(self, target: int, scorer: Scorer) -> None:
        for position in self._inputs(target):
            if self._control.cancelled(target):
                raise TargetCancelled
            if self._budget.left_s <= 0:
                raise ProbeFailed("budget used up")
            result = self._results(target, position)
            self.streams[target].add(scores=await self._one(scorer, position, result))

    async def _one(self, scorer: Scorer, position: int, result: dict[str, bytes] | None) -> float:
        if self._labels is not None:
            return await scorer.score(result, self._labels[position]) if result else 0.0
        agreed = self._agreed[position]
        if result is None or agreed is None:
            return 1.0 if result is agreed else 0.0  # both without an answer: they agree
        return await scorer.score(result, agreed=agreed)

    def _forget(self, rest: Sequence[int]) -> None:
        """Spare outputs that no vector still to come begins with."""
        self._kept.spare({self._node(t, name) for t in rest for name in self._steps} | {("", "")})


def _canonical(config: dict[str, Any]) -> bytes:
    return msgspec.json.encode(sorted(config.items()))
