"""Pictures in and out of bytes, and upright crops out of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Image", "corners_of", "crop", "encode", "normalise", "open_image", "shrink"]

Image = NDArray[np.uint8]
"""(height, width, 3) uint8, blue-green-red."""

LINE_HEIGHT = 48  # what orient's and recognise's models take; a higher crop only costs transfer


def open_image(data: bytes, *, half: bool = False) -> Image:
    """Decode JPEG, PNG, WebP or BMP.

    Args:
        data: The file's bytes.
        half: Decode at half the size, which JPEG does in about half the time.

    Raises:
        ValueError: If `data` is not a picture.
    """
    flag = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # raised for empty input, where None is returned for broken input
        image = None
    if image is None:
        raise ValueError(f"{len(data)} bytes are not a picture that can be decoded")
    return np.asarray(image, np.uint8)


def encode(image: Image, quality: int) -> bytes:
    """`image` as JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be encoded")
    return bytes(data)


def shrink(image: Image, width: int, height: int) -> Image:
    """`image` at the size given; averaged over areas where it becomes smaller."""
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def normalise(image: Image) -> NDArray[np.float32]:
    """`image` as (3, height, width) float32 in -1..1, as the models were trained."""
    scaled = image.astype(np.float32) * (2 / 255) - 1
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def corners_of(points: NDArray[Any]) -> NDArray[np.float32]:
    """The (4, 2) `points` of a box as top left, top right, bottom right, bottom left."""
    by_x = points[np.argsort(points[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    top_left, bottom_left = left[np.argsort(left[:, 1], kind="stable")]
    top_right, bottom_right = right[np.argsort(right[:, 1], kind="stable")]
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)


def crop(image: Image, corners: NDArray[np.float32] | Sequence[Sequence[float]]) -> Image:
    """The box with these `corners`, straightened, at most ``LINE_HEIGHT`` high."""
    quad = np.asarray(corners, np.float32)
    width = max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[3] - quad[2]))
    height = max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))
    if height >= 1.5 * width:  # text that runs downwards: turn it a quarter left
        quad = np.roll(quad, -1, axis=0)
        width, height = height, width
    ratio = min(1.0, LINE_HEIGHT / max(height, 1.0))
    columns, rows = max(1, round(width * ratio)), max(1, round(height * ratio))
    target = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad, target)
    straight = cv2.warpPerspective(
        image, matrix, (columns, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(straight, np.uint8)
