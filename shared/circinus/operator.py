"""The operator SDK: what a user writes to add a processing step.

An operator is a class with typed knobs, a ``setup`` and a ``process``::

    class Resize(Operator):
        side = Knob(320, 640)

        def process(self, batch):
            return [shrink(image, self.side) for image in batch]

It is registered by an entry point in the group ``circinus.operators`` or named as
``module:Class`` in a pipeline's ``run``. Agents run it in child processes of their own.

Values that travel between operators are anything msgpack can carry (``bytes``, ``str``,
numbers, lists, maps) and numpy arrays. A source operator receives the request's payload
(``bytes``); an operator with one ``needs`` receives that operator's output; one with several
receives a dict from upstream operator name to output.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from circinus.errors import InvalidInput

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

__all__ = [
    "Context",
    "Knob",
    "KnobValue",
    "Operator",
    "Output",
    "installed_operators",
    "knobs_of",
    "load_object",
    "load_operator",
]

KnobValue = bool | int | float | str
T = TypeVar("T", bool, int, float, str)

ENTRY_POINT_GROUP = "circinus.operators"


class Knob(Generic[T]):
    """A typed setting of an operator, with the values it may take, best first by convention.

    Reading it on an instance gives the value of the instance's config.

    Args:
        values: All values allowed; the first is the default. A single value is a default alone,
            and the knob takes any value of its type (the path of a model).
        affects_accuracy: False where the knob trades speed only (a batch size), so that
            accuracy need not be measured once per value.
    """

    def __init__(self, *values: T, affects_accuracy: bool = True) -> None:
        if not values:
            raise TypeError("a knob needs at least one value")
        if len({type(v) for v in values}) > 1:
            raise TypeError(f"the values of a knob must share one type: {values}")
        self.values: tuple[T, ...] = values
        self.affects_accuracy = affects_accuracy
        self.name = ""

    @property
    def open(self) -> bool:
        """Any value of its type will do."""
        return len(self.values) == 1

    @property
    def default(self) -> T:
        """The value taken where a config does not name the knob."""
        return self.values[0]

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Knob[T]: ...
    @overload
    def __get__(self, instance: Operator, owner: type) -> T: ...
    def __get__(self, instance: Operator | None, owner: type) -> Knob[T] | T:
        if instance is None:
            return self
        value: T = instance.config.get(self.name, self.default)  # type: ignore[assignment]
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the device tells an operator before ``setup``.

    Attributes:
        threads: CPU threads this instance may use.
        providers: onnxruntime execution providers present, best first.
        cache_dir: A folder that outlives the instance, for derived files (quantised models).
        device_class: The class of the device the instance runs on.
    """

    threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    cache_dir: str = "."
    device_class: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output with its metered usage, for operators that cost money per unit.

    Attributes:
        value: What the next operator receives.
        usage: Units used for this request, e.g. ``{"tokens": 812, "calls": 1}``; each is
            multiplied by the operator's ``prices_usd`` for that unit.
    """

    value: Any
    usage: Mapping[str, float] = field(default_factory=dict)


class Operator:
    """Base class of every operator.

    Class attributes declare what the runtime must know. ``stateful`` and ``tiers`` are the
    planner's concern, and it reads them in the pipeline's document only (``stateful: true``,
    ``tiers: [...]``); on the class they guard against a document that contradicts them
    (`circinus.declared`):

    Attributes:
        version: Changes when outputs or speed may change; profiles are kept per version.
        stateful: True if consecutive requests of a query must reach the same instance; its
            queries are then not split and the operator is never replicated.
        tiers: Tiers where it may run; ``None`` for all.
        fan_out: True if each output is a list of items.
        per_item: True if ``process`` wants the items of an upstream list one by one: the
            runtime flattens the lists of a batch and gathers the outputs into lists again.
        prices_usd: Price in US dollars per unit of reported usage.
    """

    version: ClassVar[str] = "1"
    stateful: ClassVar[bool] = False
    tiers: ClassVar[tuple[str, ...] | None] = None
    fan_out: ClassVar[bool] = False
    per_item: ClassVar[bool] = False
    prices_usd: ClassVar[Mapping[str, float]] = {}

    def __init__(
        self, config: Mapping[str, KnobValue] | None = None, context: Context | None = None
    ) -> None:
        self.config: Mapping[str, KnobValue] = check_config(type(self), config or {})
        self.context = context or Context()

    def setup(self, config: Mapping[str, KnobValue]) -> None:
        """Load models and warm up; called once in the process that will call ``process``."""

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Turn each input of the batch into one output, in order.

        An output may be wrapped in :class:`Output` to report usage. An exception instance in
        place of an output fails that request alone; raising fails the whole batch.
        """
        raise NotImplementedError(f"{type(self).__name__}.process")

    def close(self) -> None:
        """Release what ``setup`` acquired."""


def knobs_of(cls: type[Operator]) -> dict[str, Knob[Any]]:
    """The knobs an operator class declares, in order of declaration, bases first."""
    found: dict[str, Knob[Any]] = {}
    for base in reversed(cls.__mro__):
        found.update({k: v for k, v in vars(base).items() if isinstance(v, Knob)})
    return found


def check_config(cls: type[Operator], config: Mapping[str, KnobValue]) -> dict[str, KnobValue]:
    """Check `config` against the knobs of `cls`.

    Values must have the declared type and, where several are declared, be one of them: what the
    operator's author never thought of must not run. An int is accepted where a float is declared.

    Raises:
        InvalidInput: For an unknown knob, a value of another type, or one that is not declared.
    """
    knobs = knobs_of(cls)
    checked: dict[str, KnobValue] = {}
    for name, value in config.items():
        if name not in knobs:
            known = ", ".join(knobs) or "none"
            raise InvalidInput(
                f"operator {cls.__name__} has no knob {name!r}",
                key=name,
                remedy=f"its knobs: {known}",
            )
        want = type(knobs[name].default)
        if want is float and type(value) is int:
            value = float(value)
        if type(value) is not want:
            raise InvalidInput(
                f"knob {name!r} of {cls.__name__} takes {want.__name__}, not {value!r}", key=name
            )
        if not knobs[name].open and value not in knobs[name].values:
            raise InvalidInput(
                f"knob {name!r} of {cls.__name__} does not take {value!r}",
                key=name,
                remedy=f"one of: {', '.join(map(str, knobs[name].values))}",
            )
        checked[name] = value
    return checked


def load_object(ref: str) -> Any:
    """The object named ``module:attribute``.

    Raises:
        InvalidInput: If the module or the attribute is not there.
    """
    module_name, _, attribute = ref.partition(":")
    if not module_name or not attribute:
        raise InvalidInput(f"{ref!r} is not of the form module:name")
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except ImportError as error:
        raise InvalidInput(
            f"cannot import {module_name!r}: {error}",
            remedy="install it on this device, or start the agent with --path FOLDER",
        ) from error
    except AttributeError as error:
        raise InvalidInput(f"module {module_name!r} has no {attribute!r}") from error
    return target


def load_operator(ref: str) -> type[Operator]:
    """The operator class behind an entry-point name or a ``module:Class`` reference.

    Raises:
        InvalidInput: If nothing of that name is installed, or it is not an operator.
    """
    if ":" in ref:
        found = load_object(ref)
    else:
        installed = _registered()
        matches = installed.select(name=ref)
        if not matches:
            known = ", ".join(sorted({entry.name for entry in installed}))
            raise InvalidInput(
                f"no operator {ref!r} is installed",
                remedy=f"name it module:Class, or one of: {known or 'none installed'}",
            )
        found = next(iter(matches)).load()
    if not (isinstance(found, type) and issubclass(found, Operator)):
        raise InvalidInput(f"{ref!r} is not a subclass of circinus.Operator")
    return found


def installed_operators() -> Iterator[tuple[str, type[Operator]]]:
    """Name and class of each operator registered by entry point that can be imported."""
    for entry in _registered():
        try:
            yield entry.name, load_operator(entry.name)
        except (InvalidInput, ImportError):  # an extra that is not installed here
            continue


def _registered() -> EntryPoints:
    # Imported here: it is a third of what an operator's process imports before the operator, and
    # with many of them starting at once that is what a new plan waits for.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINT_GROUP)
