"""What is wrong with a document, in its author's words: which key, and what may stand there."""

from __future__ import annotations

import difflib
import enum
import math
import re
import types
import typing
from typing import Any

import msgspec

from circinus.errors import InvalidInput

__all__ = ["explained", "not_a_number"]

_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `([^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `([^`]*)`(?: - at `([^`]*)`)?")
_ENUM = re.compile(r"Invalid enum value '?(.*?)'?$")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_WORDS = {
    "object": "a map",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
_ENTRIES = (["array"], "object")
_OTHER = re.compile(r"(.*?)(?: - at `([^`]*)`)?$", re.DOTALL)


def explained(message: str, kind: Any, raw: Any, name: str) -> InvalidInput:
    """A complaint of msgspec in the project's form, with the remedy it does not know."""
    if match := _UNKNOWN.match(message):
        where, place = _locate(raw, kind, match[2])
        known = _fields(place)
        close = difflib.get_close_matches(match[1], known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return InvalidInput("unknown key", file=name, key=_join(where, match[1]), remedy=remedy)
    if match := _MISSING.match(message):
        where, _ = _locate(raw, kind, match[2])
        return InvalidInput("is missing", file=name, key=_join(where, match[1]), remedy="add it")
    match = _OTHER.match(message)
    assert match is not None  # the pattern matches any text
    where, place = _locate(raw, kind, match[2])
    problem, hint = _in_words(match[1], place)
    return InvalidInput(problem, file=name, key=where or None, remedy=hint)


def not_a_number(raw: Any, name: str) -> InvalidInput | None:
    """A complaint about the first NaN or infinity in a document; None where there is none.

    JSON has no such values, but many programs write them.
    """
    todo = [("", raw)]
    while todo:
        key, item = todo.pop()
        if isinstance(item, dict):
            todo += [(_join(key, str(name)), value) for name, value in reversed(item.items())]
        elif isinstance(item, list):
            todo += [(f"{key}[{k}]", value) for k, value in reversed([*enumerate(item)])]
        elif isinstance(item, float) and not math.isfinite(item):
            remedy = "leave it out where it is not known"
            return InvalidInput(f"must be a number, not {item}", file=name, key=key, remedy=remedy)
    return None


def _in_words(message: str, place: Any) -> tuple[str, str | None]:
    """What msgspec says of a value, in words a document's author uses, and what may stand there."""
    if match := _ENUM.match(message):
        known = [str(item.value) for option in _options(place) for item in _members(option)]
        close = difflib.get_close_matches(match[1], known, n=1)
        listed = f"one of: {', '.join(known)}"
        remedy = f"did you mean {close[0]!r}? {listed}" if close else listed
        return f"unknown value {match[1]!r}", remedy if known else None
    if match := _TYPE.fullmatch(message):
        wanted = [t for t in match[1].split(" | ") if t != "null"]
        if all(t in _WORDS for t in (*wanted, match[2])):
            words = list(dict.fromkeys(_WORDS[t] for t in wanted))
            hint = "begin each entry with '- '" if (wanted, match[2]) == _ENTRIES else None
            return f"must be {' or '.join(words)}, not {_WORDS[match[2]]}", hint
    return message, None


def _members(kind: Any) -> list[enum.Enum]:
    return list(kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else []


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _locate(raw: Any, kind: Any, path: str | None) -> tuple[str, Any]:
    """A path of msgspec as a dotted key, and the type that stands there.

    msgspec writes ``[...]`` for "some key of a map"; the key is found by trying each.
    """
    key = ""
    for field, index in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", path or "$"):
        kind = _step(kind, field)
        if field:
            key = _join(key, field)
            raw = raw.get(field) if isinstance(raw, dict) else None
        elif index == "..." and isinstance(raw, dict):
            name = next((n for n, item in raw.items() if not _fits(item, kind)), "...")
            key, raw = _join(key, str(name)), raw.get(name)
        else:
            key = f"{key}[{index}]"
            raw = raw[int(index)] if isinstance(raw, list) and index.isdigit() else None
    return key, kind


def _fits(item: Any, kind: Any) -> bool:
    try:
        msgspec.convert(item, kind)
    except msgspec.ValidationError:
        return False
    return True


def _fields(kind: Any) -> list[str]:
    struct = next((k for k in _options(kind) if _is_struct(k)), None)
    return [f.encode_name for f in msgspec.structs.fields(struct)] if struct else []


def _step(kind: Any, field: str) -> Any:
    for option in _options(kind):
        if field and _is_struct(option):
            for f in msgspec.structs.fields(option):
                if f.encode_name == field:
                    return f.type
        elif not field and typing.get_args(option):
            return typing.get_args(option)[-1]
    return None


def _options(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
