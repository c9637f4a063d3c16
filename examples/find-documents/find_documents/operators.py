"""The four operators: embed, search, rerank, judge.

What travels from search on is a map: `question` (text) and `found`, a list of maps with the `id`
and `text` of a note, best first. The result is a list of ids.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circinus.operator import Knob, KnobValue, Operator, Output
from find_documents.corpus import KINDS, ideas, notes, words_of
from find_documents.models import embedder, reranker, vocabulary

__all__ = ["Embed", "Judge", "Rerank", "Search"]

SHOWN = 10  # notes in an answer


class Embed(Operator):
    """Question -> the question and its vector."""

    dimension = Knob(256, 64, 16)

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002
        self._model = embedder(self.dimension, self.context)
        self._vector("")

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        texts = [data.decode("utf-8", errors="replace") for data in batch]
        return [{"question": text, "vector": self._vector(text)} for text in texts]

    def _vector(self, text: str) -> NDArray[np.float32]:
        numbers = vocabulary().numbers(text)
        numbers = numbers[numbers < vocabulary().known]
        if not numbers.any():  # not a word it knows
            return np.zeros(self.dimension, np.float32)
        vector: NDArray[np.float32] = self._model.run(None, {"words": numbers})[0]
        return vector


class Search(Operator):
    """Vector -> the nearest notes, looked for among all of them."""

    depth = Knob(50, 20, 5)

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002
        words = vocabulary()
        vectors = words.vectors[: words.known]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        index = np.zeros((len(notes()), vectors.shape[1]), np.float32)
        for row, note in zip(index, notes(), strict=True):
            numbers = words.numbers(note.text)
            numbers = numbers[numbers < words.known]
            row += words.weights[numbers] @ vectors[numbers]
        self._whole = index
        self._indexes: dict[int, NDArray[np.float32]] = {}

    def process(self, batch: Sequence[dict[str, Any]]) -> Sequence[Any]:
        return [self._nearest(item) for item in batch]

    def _nearest(self, item: dict[str, Any]) -> dict[str, Any]:
        vector = np.asarray(item["vector"], np.float32)
        if len(vector) not in self._indexes:
            part = self._whole[:, : len(vector)]
            self._indexes[len(vector)] = part / np.linalg.norm(part, axis=1, keepdims=True)
        near = self._indexes[len(vector)] @ vector
        best = np.argsort(-near, kind="stable")[: self.depth].tolist()
        found = [{"id": k, "text": notes()[k].text} for k in best]
        return {"question": item["question"], "found": found}


class Rerank(Operator):
    """The same notes in the order in which a finer model would have them."""

    model = Knob("large", "small", "off")

    DIMENSIONS = {"large": 128, "small": 16}  # noqa: RUF012

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002
        if self.model == "off":
            return
        self._session = reranker(self.DIMENSIONS[self.model], self.context)
        text = files("find_documents").joinpath("weights.json").read_text(encoding="utf-8")
        self._worth = np.array(json.loads(text)[self.model], np.float32)
        self.counts("", [""])

    def process(self, batch: Sequence[dict[str, Any]]) -> Sequence[Any]:
        return [self._ordered(item) for item in batch]

    def counts(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """`(texts, kernels)`: what the model says of each."""
        words = [vocabulary().numbers(text) for text in texts]
        padded = np.zeros((len(words), max(len(w) for w in words)), np.int64)
        for row, numbers in zip(padded, words, strict=True):
            row[: len(numbers)] = numbers
        feed = {"question": vocabulary().numbers(question), "notes": padded}
        found: NDArray[np.float32] = self._session.run(None, feed)[0]
        return found

    def _ordered(self, item: dict[str, Any]) -> dict[str, Any]:
        found = item["found"]
        if self.model != "off":
            worth = self.counts(item["question"], [note["text"] for note in found]) @ self._worth
            found = [found[k] for k in np.argsort(-worth, kind="stable").tolist()]
        return {"question": item["question"], "found": found[:SHOWN]}


class Judge(Operator):
    """Has a hosted model judge the first few notes, one call each, and puts the best first.

    The hosted model is a stand-in, so that the example needs no account: it knows which words
    mean the same, as a large language model does, and takes WAIT_S to answer.
    """

    ask = Knob(5, 2, 0)
    prices_usd = {"calls": 2e-4}  # noqa: RUF012

    WAIT_S = 0.01  # all calls of a request are made at once

    def process(self, batch: Sequence[dict[str, Any]]) -> Sequence[Any]:
        return [self._judged(item) for item in batch]

    def _judged(self, item: dict[str, Any]) -> Output:
        asked, rest = item["found"][: self.ask], item["found"][self.ask :]
        if asked:
            time.sleep(self.WAIT_S)
            asked = sorted(asked, key=lambda note: -_fit(item["question"], note["text"]))
        ids = [note["id"] for note in [*asked, *rest]]
        return Output(value=ids, usage={"calls": len(asked)})


def _fit(question: str, text: str) -> int:
    wanted, there = (
        {_meaning()[word] for word in words_of(t) if word in _meaning()} for t in (question, text)
    )
    return len(wanted & there)


@cache
def _meaning() -> dict[str, str]:
    """The idea of each word that has one; an error code is one of its own."""
    found = {word: words[0] for kind in KINDS for words in ideas()[kind] for word in words}
    return found | {note.code: note.code for note in notes()}
