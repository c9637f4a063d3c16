"""Seeded pictures of signs, with the signs they show: ``python -m read_signs.generate FOLDER``.

Page `i` of a seed is the same whatever the number of pages. Size, blur, noise, contrast,
perspective and orientation vary so that every knob of the pipeline is worth something.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from read_signs.images import Image, encode
from read_signs.signs import known_signs

__all__ = ["Page", "generate", "pages", "render"]

WIDTH, HEIGHT = 640, 480
CELLS = ((0, 0), (1, 0), (0, 1), (1, 1))  # a sign each, at most
MOST_SIGNS = 3
JPEG_QUALITY = 92  # about that of a camera

# The difficulty, tuned so that full quality scores about 0.9 and the cheapest configs a third.
TEXT_HEIGHTS = (9.0, 27.0)  # pixels of a capital's line
BLUR = (0.2, 1.2)  # standard deviation, pixels
NOISE = (1.0, 9.0)  # standard deviation, grey levels
CONTRAST = (0.4, 1.0)
TILT_DEGREES = 9.0
SKEW = 0.10  # of the sign's height, how far a corner moves
UPSIDE_DOWN = 0.2  # part of the signs

PLATES = (  # background and text, red-green-blue
    ((245, 245, 240), (20, 20, 25)),
    ((20, 60, 140), (250, 250, 250)),
    ((10, 110, 60), (250, 250, 250)),
    ((180, 25, 30), (250, 250, 250)),
    ((245, 200, 40), (15, 15, 15)),
    ((35, 35, 40), (240, 225, 120)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One picture.

    Attributes:
        image: What the camera saw.
        signs: The text of each sign.
        quads: (n, 4, 2) float32, the corners of each sign's text in pixels, first the one
            where its text begins at the top.
    """

    image: Image
    signs: tuple[str, ...]
    quads: NDArray[np.float32]


def generate(folder: str | Path, count: int, seed: int) -> None:
    """Write `count` pictures and ``labels.json`` (file name -> list of signs) into `folder`."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    labels: dict[str, list[str]] = {}
    for index, page in enumerate(pages(count, seed)):
        name = f"{index:04d}.jpg"
        (target / name).write_bytes(encode(page.image, JPEG_QUALITY))
        labels[name] = list(page.signs)
    (target / "labels.json").write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")


def pages(count: int, seed: int) -> Iterator[Page]:
    """The first `count` pages of a seed."""
    return (render(seed, index) for index in range(count))


def render(seed: int, index: int) -> Page:
    """Page number `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    image = _background(rng)
    number = int(rng.integers(1, MOST_SIGNS + 1))
    signs = [str(s) for s in rng.choice(known_signs(), number, replace=False)]
    cells = rng.permutation(len(CELLS))[:number]
    quads = [_hang(image, sign, CELLS[c], rng) for sign, c in zip(signs, cells, strict=True)]
    return Page(
        image=_photograph(image, rng), signs=tuple(signs), quads=np.array(quads, np.float32)
    )


def _background(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A wall: soft patches of a muted colour, with a few straight edges."""
    coarse = rng.uniform(60, 190, (4, 5, 1)) + rng.uniform(-20, 20, (1, 1, 3))
    wall = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image = np.clip(wall, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(2, 7))):
        start, end = rng.integers(0, (WIDTH, HEIGHT), (2, 2)).tolist()
        colour = rng.integers(40, 210, 3).tolist()
        cv2.line(image, start, end, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    return image


def _plate(text: str, rng: np.random.Generator) -> tuple[NDArray[np.uint8], float, float]:
    """A sign seen from the front, and the width and height of its text, in its own pixels."""
    font = ImageFont.load_default(48)
    bold = int(rng.integers(0, 3))
    left, top, right, bottom = font.getbbox(text, stroke_width=bold)
    pad = rng.uniform(10, 22, 2)
    size = (round(right - left + 2 * pad[0]), round(bottom - top + 2 * pad[1]))
    back, front = PLATES[int(rng.integers(len(PLATES)))]
    picture = Picture.new("RGB", size, back)
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.5:
        draw.rectangle((3, 3, size[0] - 4, size[1] - 4), outline=front, width=2)
    draw.text((pad[0] - left, pad[1] - top), text, font=font, fill=front, stroke_width=bold)
    return np.asarray(picture)[:, :, ::-1], right - left, bottom - top


def _hang(
    image: NDArray[np.uint8], text: str, cell: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Put a sign into its cell of the page; returns the corners of its text."""
    plate, text_width, text_height = _plate(text, rng)
    rows, columns = plate.shape[:2]
    low, high = np.log(TEXT_HEIGHTS)
    scale = float(np.exp(rng.uniform(low, high))) / text_height
    room = np.array([WIDTH, HEIGHT]) / 2
    scale = min(scale, 0.88 * room[0] / columns)
    turned = rng.random() < UPSIDE_DOWN
    angle = np.radians(rng.uniform(-TILT_DEGREES, TILT_DEGREES) + (180 if turned else 0))
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    half = np.array([columns, rows]) / 2
    outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    hung = (outline * half * scale) @ axes
    hung += rng.uniform(-SKEW, SKEW, (4, 2)) * rows * scale
    spare = np.maximum(room - np.ptp(hung, axis=0) - 4, 0)
    hung += np.array(cell) * room + 2 - hung.min(axis=0) + rng.uniform(0, 1, 2) * spare

    source = ((outline + 1) * half).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, hung.astype(np.float32))
    # Averaged first where the sign is much smaller than it was drawn: warping only samples.
    soft = cv2.GaussianBlur(plate, (0, 0), max(0.3, 0.4 / scale))
    flat = cv2.warpPerspective(soft, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    mask = cv2.warpPerspective(np.full(plate.shape[:2], 255, np.uint8), matrix, (WIDTH, HEIGHT))
    np.copyto(image, flat, where=mask[:, :, None] > 127)
    text_half = np.array([text_width, text_height]) / 2
    corners = (half + outline * text_half).astype(np.float32)
    return np.asarray(cv2.perspectiveTransform(corners[None], matrix)[0], np.float32)


def _photograph(image: NDArray[np.uint8], rng: np.random.Generator) -> Image:
    """The page through a camera: blur, weak contrast, light, noise."""
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR)).astype(np.float32)
    dimmed = (blurred - 128) * rng.uniform(*CONTRAST) + 128 + rng.uniform(-25, 25)
    noise = rng.standard_normal((HEIGHT, WIDTH, 3), np.float32) * rng.uniform(*NOISE)
    return np.clip(dimmed + noise, 0, 255).astype(np.uint8)


def main() -> None:
    """Write labelled pictures from the command line."""
    parser = argparse.ArgumentParser(description="Render labelled pictures of signs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generate(options.folder, options.count, options.seed)
    print(f"{options.count} pictures and labels.json in {options.folder}")


if __name__ == "__main__":
    main()
