"""What operator classes declare, held against the documents that planners read.

The planner knows a pipeline's document only: operators need not be installed beside it. A class
that declares ``stateful`` or ``tiers`` would go unheard where the document says otherwise. So
whoever hands a document in has it compared with the classes at hand. Their source is read, not
run: checking a document must not execute code.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from circinus.errors import InvalidInput
from circinus.operator import ENTRY_POINT_GROUP
from circinus.pipeline import OperatorSpec, Pipeline

__all__ = ["check_declared"]


def check_declared(pipelines: Mapping[str, Pipeline], folders: Iterable[str | Path] = ()) -> None:
    """Check that no document contradicts its operators' classes, where their source is found.

    Only literals in the class itself count; what it inherits or computes is not seen.

    Args:
        folders: Where to look before ``sys.path``.

    Raises:
        InvalidInput: Naming the key to change and what to write.
    """
    path = [*(str(folder) for folder in folders), *sys.path]
    for pipeline in pipelines.values():
        for name, spec in pipeline.operators.items():
            found = _literals(spec.implementation, path)
            _compare(spec, found, f"pipelines.{pipeline.name}.operators.{name}")


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


def _literals(run: str, path: list[str]) -> dict[str, Any]:
    """Class attributes with literal values; none where the source is not at hand."""
    if ":" not in run:
        run = next((e.value for e in entry_points(group=ENTRY_POINT_GROUP, name=run)), "")
    module, _, name = run.partition(":")
    try:
        tree = ast.parse(_source(module, path))
    except (OSError, SyntaxError, ValueError):
        return {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return dict(pair for part in node.body for pair in _assigned(part))
    return {}


def _assigned(node: ast.stmt) -> Iterable[tuple[str, Any]]:
    if isinstance(node, ast.Assign):
        targets: list[ast.expr] = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return
    try:
        value = ast.literal_eval(node.value) if node.value else None
    except ValueError:
        return
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value


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
