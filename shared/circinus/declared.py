"""What operator classes declare, held against the documents that planners read.

The planner knows a pipeline's document only: operators need not be installed beside it. A class
that declares ``stateful`` or ``tiers`` would go unheard where the document says otherwise, and a
misspelt class, metric or knob would come out only when a device tries to run it. So whoever hands
a document in has it compared with the classes at hand. Their source is read, not run: checking a
document must not execute code.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from circinus.errors import InvalidInput
from circinus.operator import ENTRY_POINT_GROUP
from circinus.pipeline import OperatorSpec, Pipeline

__all__ = ["check_declared"]

# What a knob may be set to; None where anything may be right.
Values = tuple[Any, ...] | None


def check_declared(pipelines: Mapping[str, Pipeline], folders: Iterable[str | Path] = ()) -> None:
    """Check that no document contradicts its operators' classes, where their source is found.

    What is computed or comes from elsewhere (decorators, foreign bases) is not seen, and is taken
    to be right.

    Args:
        folders: Where to look before ``sys.path``.

    Raises:
        InvalidInput: Naming the key to change and what to write.
    """
    path = [*(str(folder) for folder in folders), *sys.path]
    for pipeline in pipelines.values():
        for name, spec in pipeline.operators.items():
            key = f"pipelines.{pipeline.name}.operators.{name}"
            tree, class_name = _definition(spec.implementation, path, f"{key}.run", "class")
            found = _class(tree, class_name)
            if tree is not None and found is not None:
                _compare(spec, dict(_literals(found)), key)
                _compare_knobs(spec, _knobs(tree, found), key)
        if pipeline.accuracy:
            key = f"pipelines.{pipeline.name}.accuracy.metric"
            _definition(pipeline.accuracy.metric, path, key, "function")


def _compare(spec: OperatorSpec, found: Mapping[str, Any], key: str) -> None:
    if found.get("stateful") is True and not spec.stateful:
        raise InvalidInput(
            f"{spec.implementation} declares stateful = True, and the document does not say so",
            key=f"{key}.stateful",
            remedy="write stateful: true; the planner reads the document only",
        )
    tiers = found.get("tiers")
    if not isinstance(tiers, (tuple, list)):
        return
    if spec.tiers is None or not set(spec.tiers) <= set(tiers):
        listed = ", ".join(str(tier) for tier in tiers)
        raise InvalidInput(
            f"{spec.implementation} declares that it runs on {listed or 'no tier'} only",
            key=f"{key}.tiers",
            remedy=f"write tiers: [{listed}], or fewer; the planner reads the document only",
        )


def _compare_knobs(spec: OperatorSpec, declared: Mapping[str, Values] | None, key: str) -> None:
    if declared is None:
        return
    for knob, values in spec.knobs.items():
        if knob not in declared:
            close = difflib.get_close_matches(knob, declared, n=1)
            known = f"its knobs: {', '.join(declared) or 'none'}"
            raise InvalidInput(
                f"{spec.implementation} has no knob {knob!r}",
                key=f"{key}.knobs.{knob}",
                remedy=f"did you mean {close[0]!r}? {known}" if close else known,
            )
        allowed = declared[knob]
        for value in values:
            if allowed is not None and not any(_same(value, other) for other in allowed):
                raise InvalidInput(
                    f"{spec.implementation} does not take {value!r}",
                    key=f"{key}.knobs.{knob}",
                    remedy=f"one of: {', '.join(map(str, allowed))}",
                )


def _same(value: object, declared: object) -> bool:
    """As `circinus.operator.check_config` has it: an int will do for a float."""
    alike = type(value) is type(declared) or (type(declared) is float and type(value) is int)
    return alike and value == declared


def _definition(run: str, path: list[str], key: str, what: str) -> tuple[ast.Module | None, str]:
    """The module in which `run` is defined, if its source is at hand, and the name in it.

    Raises:
        InvalidInput: If the module has nothing of that name.
    """
    if ":" not in run:
        run = next((e.value for e in entry_points(group=ENTRY_POINT_GROUP, name=run)), "")
    module, _, name = run.partition(":")
    try:
        tree = ast.parse(_source(module, path))
    except (OSError, SyntaxError, ValueError):
        return None, name
    bound = set(_bound(tree.body))
    if name.partition(".")[0] not in bound and not bound & {"*", "__getattr__"}:
        close = difflib.get_close_matches(name, bound, n=1)
        raise InvalidInput(
            f"module {module!r} has no {what} {name!r}",
            key=key,
            remedy=f"did you mean {close[0]!r}?" if close else f"write module:{what}",
        )
    return tree, name


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    """Names a module's statements bind; ``*`` where it imports what cannot be told."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            yield from _bound(ast.iter_child_nodes(node))


def _class(tree: ast.Module | None, name: str) -> ast.ClassDef | None:
    for node in tree.body if tree else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    return None


def _knobs(tree: ast.Module, node: ast.ClassDef) -> dict[str, Values] | None:
    """The knobs of a class with their values, bases first; None where that cannot be told."""
    found: dict[str, Values] = {}
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        known = _class(tree, name)
        if known is not None and known.lineno < node.lineno:
            inherited = _knobs(tree, known)
            if inherited is None:
                return None
            found.update(inherited)
        elif name != "Operator":
            return None
    if node.decorator_list or node.keywords:
        return None
    for part in node.body:
        for target, value in _assigned(part):
            if isinstance(value, ast.Call):
                found[target] = _knob_values(value)
    return found


def _knob_values(call: ast.Call) -> Values:
    """What a call of Knob allows; None for any value, and for what is no literal."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    try:
        values = tuple(ast.literal_eval(argument) for argument in call.args)
    except ValueError:
        return None
    return values if name == "Knob" and len(values) > 1 else None


def _literals(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Class attributes with literal values."""
    for part in node.body:
        for target, value in _assigned(part):
            try:
                yield target, ast.literal_eval(value) if value else None
            except ValueError:
                continue


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(node, ast.Assign):
        targets: list[ast.expr] = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value


def _source(module: str, path: list[str]) -> bytes:
    """Source of a module, found without importing the packages it lies in."""
    places: Iterable[str] | None = path
    spec = None
    full = ""
    for part in module.split("."):
        full = f"{full}.{part}" if full else part
        spec = PathFinder.find_spec(full, list(places)) if places is not None else None
        places = spec.submodule_search_locations if spec else None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise OSError(f"no source of {module}")
    return Path(spec.origin).read_bytes()
