"""The five operators of the pipeline: decode, detect, orient, recognise, match.

A *crop*, which travels from detect to recognise, is a map: ``jpeg`` (bytes, one line of text),
``box`` (its corners as eight fractions of the picture's width and height, from top left
clockwise) and ``turned`` (True if the line is upside down).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from circinus.operator import Knob, KnobValue, Operator
from read_signs.detection import boxes_from, detector_input
from read_signs.images import LINE_HEIGHT, Image, crop, encode, open_image, shrink
from read_signs.matching import Match
from read_signs.models import load_model
from read_signs.recognition import alphabet_of, line_input, read_ctc

__all__ = ["Decode", "Detect", "Match", "Orient", "Recognise"]


class Decode(Operator):
    """Picture file -> JPEG of at most its size: less to send, less to see."""

    scale = Knob(1.0, 0.66, 0.33)

    QUALITY = 85  # half the bytes of a camera's JPEG; at 1.0 the models read no worse for it

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        return _each(batch, self._decode)

    def _decode(self, data: bytes) -> bytes:
        half = self.scale <= 0.5
        image = open_image(data, half=half)
        ratio = self.scale * (2 if half else 1)
        height, width = image.shape[:2]
        if ratio != 1.0:
            image = shrink(image, max(1, round(width * ratio)), max(1, round(height * ratio)))
        return encode(image, self.QUALITY)


class Detect(Operator):
    """Picture -> list of crops, one for each line of text found."""

    side = Knob(416, 288, 224)
    precision = Knob("fp32", "int8")
    fan_out = True

    CROP_QUALITY = 85  # a crop is 1-3 KB; lower qualities cost the recogniser accuracy

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002
        self._model = load_model("detect", self.precision, self.context)
        self._input = self._model.get_inputs()[0].name
        self._find(np.zeros((self.side * 3 // 4, self.side, 3), np.uint8))

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        return _each(batch, lambda data: self._crops(open_image(data)))

    def _crops(self, image: Image) -> list[dict[str, Any]]:
        size = np.array([image.shape[1], image.shape[0]], np.float32)
        return [
            {
                "jpeg": encode(crop(image, box * size), self.CROP_QUALITY),
                "box": [round(float(n), 4) for n in box.ravel()],
                "turned": False,
            }
            for box in self._find(image)
        ]

    def _find(self, image: Image) -> NDArray[np.float32]:
        outputs = self._model.run(None, {self._input: detector_input(image, self.side)})
        return boxes_from(outputs[0][0, 0])


class Orient(Operator):
    """Crop -> the same crop, marked if it is upside down; when off, crops pass unlooked at."""

    enabled = Knob(True, False)
    per_item = True

    WIDTH = 192  # the model's input is of one size
    CERTAIN = 0.9  # turning an upright line is worse than leaving a doubtful one
    UPSIDE_DOWN = 1

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002
        if not self.enabled:
            return
        self._model = load_model("orient", "fp32", self.context)
        self._input = self._model.get_inputs()[0].name
        self._model.run(None, {self._input: np.zeros((1, 3, LINE_HEIGHT, self.WIDTH), np.float32)})

    def process(self, batch: Sequence[dict[str, Any]]) -> Sequence[Any]:
        if not self.enabled or not batch:
            return list(batch)
        lines = np.stack([line_input(open_image(item["jpeg"]), width=self.WIDTH) for item in batch])
        chances = self._model.run(None, {self._input: lines})[0][:, self.UPSIDE_DOWN]
        return [
            {**item, "turned": bool(chance > self.CERTAIN)}
            for item, chance in zip(batch, chances, strict=True)
        ]


class Recognise(Operator):
    """List of crops -> list of lines: the crop's ``box``, its ``text`` and ``score`` (0..1)."""

    precision = Knob("fp32", "int8")
    batch = Knob(1, 4, affects_accuracy=False)

    def setup(self, config: Mapping[str, KnobValue]) -> None:  # noqa: ARG002
        self._model = load_model("recognise", self.precision, self.context)
        self._input = self._model.get_inputs()[0].name
        metadata = self._model.get_modelmeta().custom_metadata_map
        self._alphabet = alphabet_of(metadata["character"])
        self._read(np.zeros((1, 3, LINE_HEIGHT, 192), np.float32))

    def process(self, batch: Sequence[list[dict[str, Any]]]) -> Sequence[Any]:
        results: list[list[Any]] = [[None] * len(crops) for crops in batch]
        # Only lines of one padded width share a run, so that no line's text depends on which
        # others happened to be in its batch.
        widths: dict[int, list[tuple[int, int, NDArray[np.float32]]]] = defaultdict(list)
        for request, crops in enumerate(batch):
            for place, item in enumerate(crops):
                line = line_input(_upright(item))
                widths[line.shape[2]].append((request, place, line))
        for lines in widths.values():
            for start in range(0, len(lines), self.batch):
                part = lines[start : start + self.batch]
                read = self._read(np.stack([line for _, _, line in part]))
                for (request, place, _), (text, score) in zip(part, read, strict=True):
                    box = batch[request][place]["box"]
                    results[request][place] = {"box": box, "text": text, "score": score}
        return results

    def _read(self, lines: NDArray[np.float32]) -> list[tuple[str, float]]:
        return read_ctc(self._model.run(None, {self._input: lines})[0], self._alphabet)


def _upright(item: Mapping[str, Any]) -> Image:
    image = open_image(item["jpeg"])
    if item["turned"]:
        image = np.asarray(cv2.rotate(image, cv2.ROTATE_180), np.uint8)
    return image


def _each(batch: Sequence[bytes], work: Callable[[bytes], Any]) -> list[Any]:
    """`work` on each input; a picture that cannot be decoded fails its own request only."""
    outputs: list[Any] = []
    for data in batch:
        try:
            outputs.append(work(data))
        except ValueError as error:
            outputs.append(error)
    return outputs
