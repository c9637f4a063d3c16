"""Before and after the two models that look at single lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from read_signs.images import LINE_HEIGHT, Image, normalise, shrink

__all__ = ["alphabet_of", "line_input", "read_ctc"]

WIDTH_STEP = 32  # lines are padded to a multiple of this, whatever the batch: equal results
MIN_WIDTH, MAX_WIDTH = 64, 640
BLANK = 0


def line_input(image: Image, *, width: int | None = None) -> NDArray[np.float32]:
    """A line of text as (3, 48, w) float32, padded with grey on the right.

    Args:
        image: The crop.
        width: The width wanted, or None for the next step of ``WIDTH_STEP`` that holds the line.
    """
    height, columns = image.shape[:2]
    natural = max(1, math.ceil(LINE_HEIGHT * columns / height))
    if width is None:
        steps = math.ceil(natural / WIDTH_STEP)
        width = min(max(steps * WIDTH_STEP, MIN_WIDTH), MAX_WIDTH)
    scaled = normalise(shrink(image, min(natural, width), LINE_HEIGHT))
    padded = np.zeros((3, LINE_HEIGHT, width), np.float32)
    padded[:, :, : scaled.shape[2]] = scaled
    return padded


def alphabet_of(characters: str) -> list[str]:
    """The recogniser's classes, from the line-separated list in its metadata."""
    return ["", *characters.removesuffix("\n").split("\n"), " "]


def read_ctc(probability: NDArray[np.float32], alphabet: Sequence[str]) -> list[tuple[str, float]]:
    """Greedy CTC decoding: repeats merged, blanks dropped.

    Args:
        probability: (n, steps, classes) float32.
        alphabet: The text of each class; that of the blank is not used.

    Returns:
        For each line its text and the mean probability of its characters.
    """
    classes = probability.argmax(axis=2)
    best = probability.max(axis=2)
    lines = []
    for row, scores in zip(classes, best, strict=True):
        keep = row != BLANK
        keep[1:] &= row[1:] != row[:-1]
        text = "".join(alphabet[c] for c in row[keep])
        lines.append((text, float(scores[keep].mean()) if keep.any() else 0.0))
    return lines
