"""A help desk's notes and the questions people ask of them, both generated from `words.txt`.

A note is about one device, fault, place and remedy, and has a code of its own; each is named
two or three times, in varying words. A question wants one note: it names most of these, in words
of its own, and sometimes the code. Many notes share two or three of four ideas, so that the words
alone find the neighbourhood and something finer has to find the note.

Everything follows from seeds by integers alone, so that all devices have the same notes.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["KINDS", "Note", "ideas", "notes", "question", "words_of"]

KINDS = ("device", "fault", "place", "remedy")
NOTES = 4000
SEED = 4
LEFT_OUT = 0.4  # questions that say nothing of the remedy, and as many nothing of the place
WITH_CODE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A document.

    Attributes:
        about: Number of its idea, for each kind.
        code: Of an error, in no other note.
        text: What can be searched.
    """

    about: tuple[int, ...]
    code: str
    text: str


@cache
def ideas() -> dict[str, tuple[tuple[str, ...], ...]]:
    """The words for each idea, by kind; `filler` has sentences."""
    found: dict[str, list[tuple[str, ...]]] = {}
    text = files("find_documents").joinpath("words.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            kind = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            kind.append(tuple(line.split()))
    return {kind: tuple(lines) for kind, lines in found.items()}


@cache
def notes() -> tuple[Note, ...]:
    """All documents; a document's id is its position."""
    rng = random.Random(SEED)
    return tuple(_note(rng, number) for number in range(NOTES))


def question(seed: int, number: int) -> tuple[str, int]:
    """Question `number` of a seed, and the id of the note it wants."""
    rng = random.Random(f"{seed} {number}")
    wanted = rng.randrange(NOTES)
    note = notes()[wanted]
    said = [rng.choice(ideas()[kind][k]) for kind, k in zip(KINDS, note.about, strict=True)]
    if rng.random() < LEFT_OUT:
        del said[3]
    if rng.random() < LEFT_OUT:
        del said[2]
    if rng.random() < WITH_CODE:
        said.append(note.code)
    said += rng.sample(rng.choice(ideas()["filler"]), 3)
    rng.shuffle(said)
    return " ".join(said), wanted


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def _note(rng: random.Random, number: int) -> Note:
    about = tuple(rng.randrange(len(ideas()[kind])) for kind in KINDS)
    sentences = []
    for _ in range(rng.randint(2, 3)):
        said = [rng.choice(ideas()[kind][k]) for kind, k in zip(KINDS, about, strict=True)]
        rng.shuffle(said)
        sentences.append([*said, *rng.choice(ideas()["filler"])])
    code = f"e{number:04d}"
    sentences[0].insert(0, code)
    return Note(about=about, code=code, text=". ".join(" ".join(s) for s in sentences))
