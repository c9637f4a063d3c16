"""Before and after the text detector (DB: differentiable binarisation, arXiv 1911.08947).

The detector gives each pixel the probability that it belongs to the shrunken core of a line of
text. Cores become rotated boxes, and each box is grown back to the size of its line.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from read_signs.images import Image, corners_of, normalise, shrink

__all__ = ["boxes_from", "detector_input"]

# Values the models were published with (PP-OCRv4, as configured by rapidocr-onnxruntime).
PIXEL_THRESHOLD = 0.3
BOX_THRESHOLD = 0.5
UNCLIP_RATIO = 1.6
MIN_CORE = 3.0  # pixels of the detector's map
MIN_BOX = 5.0
STRIDE = 32  # the network halves its input five times
MAX_BOXES = 64  # a page of noise must not flood the recogniser


def detector_input(image: Image, side: int) -> NDArray[np.float32]:
    """`image` as (1, 3, h, w) float32 whose longest side is `side`, up or down.

    Always resizing makes the detector's time depend on its own knob alone.
    """
    height, width = image.shape[:2]
    ratio = side / max(height, width)
    columns, rows = (max(STRIDE, round(n * ratio / STRIDE) * STRIDE) for n in (width, height))
    return normalise(shrink(image, columns, rows))[None]


def boxes_from(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lines of text in a map of probabilities.

    Args:
        probability: (h, w) float32, the detector's output for one picture.

    Returns:
        (n, 4, 2) float32: the corners of each box from top left clockwise, as fractions of
        width and height, in reading order.
    """
    height, width = probability.shape
    core = (probability > PIXEL_THRESHOLD).astype(np.uint8)
    core = np.asarray(cv2.dilate(core, np.ones((2, 2), np.uint8)), np.uint8)
    outlines, _ = cv2.findContours(core, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for outline in sorted(outlines, key=cv2.contourArea, reverse=True)[:MAX_BOXES]:
        centre, (across, down), angle = cv2.minAreaRect(outline)
        if min(across, down) < MIN_CORE:
            continue
        corners = cv2.boxPoints((centre, (across, down), angle))
        if _mean_inside(probability, corners) < BOX_THRESHOLD:
            continue
        # The outline of a rectangle moved outwards by `grow` is a rectangle with round corners;
        # its bounding box is what the published code gets from a polygon library.
        grow = UNCLIP_RATIO * across * down / (2 * (across + down))
        across, down = across + 2 * grow, down + 2 * grow
        if min(across, down) >= MIN_BOX:
            grown = cv2.boxPoints((centre, (across, down), angle))
            boxes.append(corners_of(np.clip(grown / (width, height), 0, 1)))
    boxes.sort(key=lambda b: (round(float(b[:, 1].mean()), 1), float(b[:, 0].mean())))
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


def _mean_inside(probability: NDArray[np.float32], corners: NDArray[Any]) -> float:
    height, width = probability.shape
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    window = probability[low[1] : high[1] + 1, low[0] : high[0] + 1]
    mask = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(corners - low).astype(np.int32)], 1)
    return float(cv2.mean(window, mask)[0])
