"""Reading and writing the files people hand us: YAML or JSON, checked on the way in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml as pyyaml

from circinus._complaints import explained, not_a_number
from circinus.errors import InvalidInput

VERSION = 1
# A million queries are some 250 MB of JSON; YAML is for people, and PyYAML takes ~1 kB of
# memory per line.
MAX_JSON_BYTES = 1 << 30
MAX_YAML_BYTES = 32 << 20
# Anchors are welcome, but what they expand to is bounded ("billion laughs").
MAX_YAML_NODES = 5_000_000
# Duplicate keys are looked for in JSON files up to this size: the check parses in Python.
MAX_DUPLICATE_CHECK_BYTES = 8 << 20

S = TypeVar("S")


def read(path: str | Path) -> bytes:
    """A file's bytes.

    Raises:
        InvalidInput: If it is not there, not readable or too large.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise InvalidInput(
                f"{size} bytes are too many", file=str(path), remedy=f"at most {MAX_JSON_BYTES}"
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path)) from error


def write(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary neighbour, fsync, rename."""
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise InvalidInput(f"cannot be written: {error.strerror}", file=str(path)) from error


def decode(data: bytes, kind: type[S], *, name: str, yaml: bool) -> S:
    """Decode JSON (or YAML where `yaml`) into the Struct type `kind`.

    Raises:
        InvalidInput: Naming `name` as the file, the key, and for an unknown key the keys known.
    """
    raw: Any = None
    if not data.strip():
        raise InvalidInput("is empty", file=name)
    try:
        if yaml:
            raw = _from_yaml(data, name)
            return msgspec.convert(raw, kind)
        if len(data) <= MAX_DUPLICATE_CHECK_BYTES:
            raw = json.loads(data, object_pairs_hook=_no_duplicates)
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise explained(str(error), kind, raw, name) from None
    except InvalidInput as error:
        raise error.within(file=name) from None
    except (msgspec.DecodeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        wrong = not_a_number(raw, name)
        raise wrong or InvalidInput(f"is not valid JSON: {error}", file=name) from None
    except RecursionError:
        raise InvalidInput("is nested too deeply", file=name) from None


def encode(document: Any) -> bytes:
    """`document` as indented JSON text."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def check_version(version: int, name: str) -> None:
    """Raise unless `version` is the one this release speaks."""
    if version != VERSION:
        raise InvalidInput(
            f"version {version} is not understood",
            file=name,
            key="circinus",
            remedy=f"this release reads version {VERSION}",
        )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidInput(f"key {key!r} comes twice", remedy="keep one of them")
        found[key] = value
    return found


class _Loader(pyyaml.SafeLoader):
    """Safe YAML without silent surprises: no duplicate keys, no non-string keys, no dates."""


def _mapping(loader: _Loader, node: pyyaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        where = f"line {key_node.start_mark.line + 1}"
        if not isinstance(key, str):
            raise InvalidInput(f"{where}: key {key!r} is not text", remedy="put it in quotes")
        if key in found:
            raise InvalidInput(f"{where}: key {key!r} comes twice", remedy="keep one of them")
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor(pyyaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(
    "tag:yaml.org,2002:timestamp",
    lambda _, node: str(node.value),
)


def _from_yaml(data: bytes, name: str) -> Any:
    if len(data) > MAX_YAML_BYTES:
        raise InvalidInput(
            f"{len(data)} bytes are too many for YAML",
            file=name,
            remedy=f"at most {MAX_YAML_BYTES}; write large scenarios as .json",
        )
    try:
        loader = _Loader(data.decode("utf-8"))
        root = loader.get_single_node()
        if root is None:
            raise InvalidInput("is empty", file=name)
        _expanded_size(root)
        return loader.construct_document(root)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"is not UTF-8 text (byte {error.start})", file=name, remedy="save it as UTF-8"
        ) from None
    except pyyaml.YAMLError as error:
        raise InvalidInput(
            f"is not valid YAML: {' '.join(str(error).split())}", file=name
        ) from None


def _expanded_size(root: pyyaml.Node) -> int:
    """Number of nodes after anchors are expanded; raises past the limit or on a cycle."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: pyyaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_nodes:
            raise InvalidInput("an anchor contains itself")
        open_nodes.add(id(node))
        total = 1
        children = node.value if isinstance(node, pyyaml.CollectionNode) else []
        for child in children:
            total += sum(size(c) for c in child) if isinstance(child, tuple) else size(child)
        if total > MAX_YAML_NODES:
            raise InvalidInput(f"its anchors expand to more than {MAX_YAML_NODES} values")
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    return size(root)
