"""What a family is written in: operators with knobs whose levels scale their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from circinus.operator import KnobValue
from circinus.pipeline import Deliver

__all__ = ["Family", "Knob", "Level", "OperatorTemplate", "PipelineTemplate", "knob", "threads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One value of a knob, and what it does to the operator.

    Attributes:
        value: The knob's value.
        work: Factor on computation.
        loss: Fraction of the pipeline's accuracy given up.
        memory: Factor on memory.
        output: Factor on output bytes.
        threads: Threads of the CPU part.
        remote_ms: Time spent waiting for a service elsewhere.
        price_usd: Price of that service per request.
    """

    value: KnobValue
    work: float = 1.0
    loss: float = 0.0
    memory: float = 1.0
    output: float = 1.0
    threads: int = 1
    remote_ms: float = 0.0
    price_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A knob; `neutral` ones change speed only."""

    name: str
    levels: tuple[Level, ...]
    neutral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTemplate:
    """An operator as a family knows it.

    Attributes:
        name: Unique over all families; the same name is the same code in several pipelines.
        work_ms: Time on the reference core with all factors 1.
        neural: Fraction of the work an accelerator takes over where there is one.
        memory_mb: Memory with all factors 1.
        output_bytes: Output with all factors 1.
        spread: 95th percentile over mean, minus 1.
        knobs: Its knobs; their product are its configs.
        tiers: Tiers it may run on, as far as the scenario has them; None for all.
    """

    name: str
    work_ms: float
    neural: float = 0.0
    memory_mb: float
    output_bytes: float
    spread: float = 0.3
    knobs: tuple[Knob, ...]
    tiers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTemplate:
    """A variant of a family.

    Attributes:
        name: Of the pipeline.
        needs: What each operator needs, in topological order.
        input_bytes: Of each source operator.
        best: Accuracy with every knob at its best.
        rate_rps: Typical rate of one query before scaling.
        deliver: Where the result is handed over.
    """

    name: str
    needs: Mapping[str, tuple[str, ...]]
    input_bytes: Mapping[str, float]
    best: float
    rate_rps: float
    deliver: Deliver = Deliver.LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Operators and the pipelines made of them."""

    name: str
    operators: tuple[OperatorTemplate, ...]
    pipelines: tuple[PipelineTemplate, ...]
    by_name: Mapping[str, OperatorTemplate] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {op.name: op for op in self.operators})


def knob(name: str, levels: Mapping[KnobValue, tuple[float, float] | Level]) -> Knob:
    """A knob from value to (work, loss), or to a whole level."""
    return Knob(
        name=name,
        levels=tuple(
            level if isinstance(level, Level) else Level(value=value, work=level[0], loss=level[1])
            for value, level in levels.items()
        ),
    )


def threads(*counts: int) -> Knob:
    """The neutral knob that spreads an operator over cores."""
    return Knob(
        name="threads",
        levels=tuple(Level(value=count, threads=count) for count in counts),
        neutral=True,
    )
