"""Learn what the reranker's counts are worth: ``python -m find_documents.train``.

Pairs of the right note and one that the search found as well; logistic regression on the
difference of their counts, by gradient descent. Writes `weights.json`.
"""

from __future__ import annotations

import json
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from circinus.operator import Context
from find_documents.corpus import notes, question
from find_documents.operators import Embed, Rerank, Search

__all__ = ["learn"]

SEED, QUESTIONS = 1_000, 300  # not those of any labelled set
STEPS, RATE, DECAY = 2_000, 0.05, 1e-3


def learn(model: str, context: Context) -> list[float]:
    """The weights for one of the reranker's models, one per kernel."""
    embed, search = Embed(context=context), Search({"depth": 20}, context)
    rerank = Rerank({"model": model}, context)
    for operator in (embed, search, rerank):
        operator.setup(operator.config)
    pairs: list[NDArray[np.float32]] = []
    for number in range(QUESTIONS):
        text, wanted = question(SEED, number)
        (item,) = search.process(embed.process([text.encode()]))
        others = [note["text"] for note in item["found"] if note["id"] != wanted]
        counts = rerank.counts(text, [notes()[wanted].text, *others])
        pairs.append(counts[0] - counts[1:])
    x = np.concatenate(pairs).astype(np.float64)
    scale = np.abs(x).mean(axis=0) + 1e-9
    x /= scale
    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        doubt = 1 / (1 + np.exp(x @ weights))
        weights += RATE * (x.T @ doubt / len(x) - DECAY * weights)
    return [round(float(w), 4) for w in weights / scale]


def main() -> None:
    """Train both models and write what they learned beside them."""
    target = Path(str(files("find_documents").joinpath("weights.json")))
    with tempfile.TemporaryDirectory() as cache:
        context = Context(cache_dir=cache)
        # The models open the file; what it says plays no part in what is learned.
        if not target.exists():
            target.write_text(json.dumps({model: [] for model in Rerank.DIMENSIONS}))
        learned = {model: learn(model, context) for model in Rerank.DIMENSIONS}
    target.write_text(json.dumps(learned, indent=1) + "\n", encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
