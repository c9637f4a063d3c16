"""The two models of the pipeline, made from the notes on first use, and sessions on them.

Words become vectors by random indexing (Kanerva, Kristofersson and Holst, CogSci 2000): every note
has a random vector of ones and minus ones, and a word's vector is the sum of those of the notes it
occurs in, so that words of the same notes come to lie close together. The sums are integers: all
devices get the same vectors. The reranker compares each word of the question with each of a note
and counts how many are how close (kernel pooling: Xiong et al., K-NRM, SIGIR 2017); what a count
is worth was learned by `python -m find_documents.train`.
"""

from __future__ import annotations

import math
import os
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circinus.onnx import open_session
from circinus.operator import Context
from find_documents.corpus import notes, words_of

__all__ = ["DIMENSIONS", "KERNELS", "Vocabulary", "embedder", "reranker", "vocabulary"]

METHOD = "ri-1"  # in the name of cached files: change it with anything here or in the notes
DIMENSIONS = 256
SEED = 9
COMMON = 0.1  # words of a larger part of the notes say nothing, and are no words
RARE = 3  # words of fewer notes, error codes among them, have no meaning to learn
BUCKETS = 4096  # of rare and unknown words: equal words share one
# Similarities that are counted, and how wide a band around each; the first are equal words.
KERNELS = ((1.0, 0.001), (0.9, 0.1), (0.7, 0.1), (0.5, 0.1), (0.3, 0.1), (0.1, 0.1))
OPSET, IR = 17, 8


class Vocabulary:
    """Numbers, vectors and weights of words; 0 is no word."""

    def __init__(self) -> None:
        texts = [words_of(note.text) for note in notes()]
        seen = Counter(word for words in texts for word in set(words))
        self._common = {word for word, count in seen.items() if count > COMMON * len(texts)}
        known = sorted(word for word in seen.keys() - self._common if seen[word] >= RARE)
        self._numbers = {word: k for k, word in enumerate(known, 1)}
        rng = np.random.default_rng(SEED)
        marks = rng.integers(0, 2, (len(texts), DIMENSIONS), dtype=np.int64) * 2 - 1
        sums = np.zeros((1 + len(known), DIMENSIONS), np.int64)
        for mark, words in zip(marks, texts, strict=True):
            for word in words:
                if word in self._numbers:
                    sums[self._numbers[word]] += mark
        hashed = rng.integers(0, 2, (BUCKETS, DIMENSIONS), dtype=np.int64) * 2 - 1
        self.known = 1 + len(known)
        self.vectors: NDArray[np.float32] = np.concatenate([sums, hashed]).astype(np.float32)
        frequent = [0.0, *(math.log(len(texts) / seen[word]) for word in known)]
        rare = [math.log(len(texts))] * BUCKETS
        self.weights: NDArray[np.float32] = np.array([*frequent, *rare], np.float32)

    def numbers(self, text: str) -> NDArray[np.int64]:
        """`(words,)` of a text."""
        words = [word for word in words_of(text) if word not in self._common]
        return np.array([self._number(word) for word in words] or [0], np.int64)

    def _number(self, word: str) -> int:
        bucket = self.known + zlib.crc32(word.encode()) % BUCKETS
        return self._numbers.get(word, bucket)


@cache
def vocabulary() -> Vocabulary:
    """Made once in a process, in about a second."""
    return Vocabulary()


def embedder(dimension: int, context: Context) -> Any:
    """A session from `words` (n,) int64 to `vector` (dimension,) float32 of length 1."""
    return _session(f"embed-{dimension}", lambda: _embedder(dimension), context)


def reranker(dimension: int, context: Context) -> Any:
    """A session from `question` (q,) and `notes` (n, words) int64 to `counts` (n, kernels)."""
    return _session(f"rerank-{dimension}", lambda: _reranker(dimension), context)


def _session(name: str, make: Callable[[], Any], context: Context) -> Any:
    path = Path(context.cache_dir) / f"find-documents-{name}-{METHOD}.onnx"
    if not path.exists():
        import onnx

        path.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not there, also where several processes make it at once.
        scratch = path.with_suffix(f".{os.getpid()}")
        onnx.save(make(), scratch)
        scratch.replace(path)
    return open_session(path, context)


def _table(dimension: int) -> NDArray[np.float32]:
    vectors = vocabulary().vectors[:, :dimension]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def _embedder(dimension: int) -> Any:
    words = vocabulary()
    # Rare words have no meaning that a search by meaning could use.
    table = (_table(dimension) * words.weights[:, None])[: words.known]
    return _model(
        [
            ("Gather", ["table", "words"], "found", {"axis": 0}),
            ("ReduceSum", ["found", "first"], "sum", {"keepdims": 0}),
            ("LpNormalization", ["sum"], "vector", {"axis": 0, "p": 2}),
        ],
        {"table": table, "first": np.array([0])},
        {"words": ["n"]},
        {"vector": [dimension]},
    )


def _reranker(dimension: int) -> Any:
    centres, widths = (np.array(x, np.float32) for x in zip(*KERNELS, strict=True))
    return _model(
        [
            ("Gather", ["table", "question"], "asked", {"axis": 0}),  # (q, d)
            ("Gather", ["table", "notes"], "read", {"axis": 0}),  # (n, words, d)
            ("Transpose", ["asked"], "across", {"perm": [1, 0]}),
            ("MatMul", ["read", "across"], "similar", {}),  # (n, words, q)
            ("Unsqueeze", ["similar", "last"], "wide", {}),
            ("Sub", ["wide", "centres"], "off", {}),  # (n, words, q, kernels)
            ("Div", ["off", "widths"], "bands", {}),
            ("Mul", ["bands", "bands"], "square", {}),
            ("Mul", ["square", "half"], "less", {}),
            ("Exp", ["less"], "near", {}),
            ("ReduceSum", ["near", "second"], "sums", {"keepdims": 0}),  # (n, q, kernels)
            ("Add", ["sums", "one"], "more", {}),
            ("Log", ["more"], "logs", {}),
            ("Gather", ["weights", "question"], "weight", {"axis": 0}),
            ("Unsqueeze", ["weight", "second"], "column", {}),
            ("Mul", ["logs", "column"], "weighed", {}),
            ("ReduceSum", ["weighed", "second"], "counts", {"keepdims": 0}),
        ],
        {
            "table": _table(dimension),
            "weights": vocabulary().weights,
            "centres": centres,
            "widths": widths,
            "half": np.array(-0.5, np.float32),
            "one": np.array(1, np.float32),
            "second": np.array([1]),
            "last": np.array([3]),
        },
        {"question": ["q"], "notes": ["n", "words"]},
        {"counts": ["n", len(KERNELS)]},
    )


def _model(
    nodes: list[tuple[str, list[str], str, dict[str, Any]]],
    constants: dict[str, NDArray[Any]],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
) -> Any:
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(op, needs, [gives], **more) for op, needs, gives, more in nodes],
        "find-documents",
        [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    checker.check_model(model)
    return model
