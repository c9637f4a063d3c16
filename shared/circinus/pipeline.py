"""Pipelines: DAGs of operators with knobs, and the configs that give knobs their values."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from circinus import _checks as check
from circinus.errors import InvalidInput
from circinus.operator import KnobValue

__all__ = ["AccuracyTask", "Config", "Deliver", "OperatorSpec", "Pipeline"]


class Config(Mapping[str, KnobValue]):
    """One value for each knob of an operator: an immutable, hashable mapping.

    Values compare as Python numbers do, so ``{"scale": 1}`` equals ``{"scale": 1.0}``.
    """

    __slots__ = ("_hash", "_items")

    def __init__(self, values: Mapping[str, KnobValue] | None = None) -> None:
        self._items: dict[str, KnobValue] = dict(sorted((values or {}).items()))
        self._hash = hash(tuple(self._items.items()))

    def __getitem__(self, name: str) -> KnobValue:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Config):
            return self._items == other._items
        return NotImplemented

    def __repr__(self) -> str:
        return f"Config({self})"

    def __str__(self) -> str:
        """The shortest readable form, ``precision=int8,side=640``; ``-`` when empty."""
        return ",".join(f"{k}={_text(v)}" for k, v in self._items.items()) or "-"


def _text(value: KnobValue) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSpec:
    """An operator's place in a pipeline.

    Attributes:
        name: Its name in the pipeline.
        needs: The operators whose outputs it takes; none for a source operator.
        knobs: The values each knob may take.
        tiers: Tiers where it may run; None for all.
        run: Entry-point name or ``module:Class`` of its code; its own name where None.
        stateful: Consecutive requests of a query must reach the same instance.
        neutral_knobs: Knobs that cannot change outputs, only their speed: accuracy is measured
            once for all their values. The coordinator need not be able to import the operator,
            so the pipeline says it.
    """

    name: str
    needs: tuple[str, ...] = ()
    knobs: Mapping[str, tuple[KnobValue, ...]] = field(default_factory=dict)
    tiers: tuple[str, ...] | None = None
    run: str | None = None
    stateful: bool = False
    neutral_knobs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.identifier(self.name, "name")
        check.unique(self.needs, "needs", "operator")
        for knob, values in self.knobs.items():
            check.identifier(knob, f"knobs.{knob}")
            if not values:
                raise InvalidInput("a knob needs at least one value", key=f"knobs.{knob}")
            check.unique(values, f"knobs.{knob}", "value")
        for knob in self.neutral_knobs:
            if knob not in self.knobs:
                raise InvalidInput(
                    f"operator {self.name!r} has no knob {knob!r}",
                    key="neutral_knobs",
                    remedy=f"its knobs: {', '.join(self.knobs) or 'none'}",
                )
        if self.tiers is not None and not self.tiers:
            raise InvalidInput(
                "no tier is left where it may run", key="tiers", remedy="name one, or leave it out"
            )

    @property
    def implementation(self) -> str:
        """What `circinus.operator.load_operator` is asked for."""
        return self.run or self.name

    def configs(self) -> Iterator[Config]:
        """Every config: the product of the knobs' values, in their written order."""
        names = list(self.knobs)
        for values in itertools.product(*self.knobs.values()):
            yield Config(dict(zip(names, values, strict=True)))


class Deliver(str, enum.Enum):
    """Where a pipeline's result is handed over."""

    LAST = "last"  # where the last operator runs
    SOURCE = "source"  # back at the source


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyTask:
    """How a pipeline's accuracy is measured.

    Attributes:
        dataset: Folder of inputs, with ``labels.json`` mapping file name to label (any JSON
            value). Without labels, accuracy is agreement with the best config.
        metric: ``module:function`` from (output, label) to a score in [0, 1].
    """

    dataset: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A DAG of operators with one or more sources.

    Attributes:
        name: Identifier.
        operators: By name, in a topological order.
        input_bytes: Bytes per request entering each source operator.
        backward: Steps may be placed inwards again along the tiers.
        deliver: Where the result is handed over.
        accuracy: How accuracy is measured, if it can be.
    """

    name: str
    operators: Mapping[str, OperatorSpec]
    input_bytes: Mapping[str, float]
    backward: bool = False
    deliver: Deliver = Deliver.LAST
    accuracy: AccuracyTask | None = None

    def __post_init__(self) -> None:
        check.identifier(self.name, "name")
        if not self.operators:
            raise InvalidInput("a pipeline needs at least one operator", key="operators")
        object.__setattr__(self, "operators", _sorted(self.operators))
        for source in self.input_bytes:
            if source not in self.sources:
                raise InvalidInput(
                    f"{source!r} is not a source operator",
                    key=f"input_bytes.{source}",
                    remedy=f"the sources: {', '.join(self.sources)}",
                )
            check.not_negative(self.input_bytes[source], f"input_bytes.{source}")
        for source in self.sources:
            if source not in self.input_bytes:
                raise InvalidInput(
                    f"no input size for source operator {source!r}",
                    key="input_bytes",
                    remedy="give one number, or a map with every source operator",
                )

    @property
    def sources(self) -> tuple[str, ...]:
        """Operators that need no other."""
        return tuple(name for name, spec in self.operators.items() if not spec.needs)

    @property
    def sinks(self) -> tuple[str, ...]:
        """Operators that no other needs; the request is done when all of them are."""
        needed = {need for spec in self.operators.values() for need in spec.needs}
        return tuple(name for name in self.operators if name not in needed)

    def consumers(self, name: str) -> tuple[str, ...]:
        """Operators that need `name`."""
        return tuple(n for n, spec in self.operators.items() if name in spec.needs)


def _sorted(operators: Mapping[str, OperatorSpec]) -> dict[str, OperatorSpec]:
    """The operators in topological order, written order where free (Kahn's algorithm)."""
    for name, spec in operators.items():
        for need in spec.needs:
            if need not in operators:
                raise InvalidInput(
                    f"needs unknown operator {need!r}",
                    key=f"operators.{name}.needs",
                    remedy=f"the pipeline has: {', '.join(operators)}",
                )
    done: dict[str, OperatorSpec] = {}
    while len(done) < len(operators):
        ready = [
            n for n, s in operators.items() if n not in done and all(d in done for d in s.needs)
        ]
        if not ready:
            rest = [name for name in operators if name not in done]
            raise InvalidInput(
                f"the operators {', '.join(rest)} wait for one another: a cycle",
                key="operators",
                remedy="remove one of their needs",
            )
        done.update((name, operators[name]) for name in ready)
    return done
