"""Static int8 quantisation of the models, calibrated on generated pictures.

Convolutions and matrix products get 8-bit activations and 7-bit weights with one scale per
output channel, in QDQ format. Seven bits, because products with 8-bit weights overflow the
16-bit sums of x86 processors without VNNI: a config must be as accurate on one device as on
another. Dynamic quantisation was measured first and is slower than fp32 for these models.

What changes here changes ``METHOD`` in :mod:`read_signs.models`.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from read_signs.detection import detector_input
from read_signs.generate import pages
from read_signs.images import crop
from read_signs.recognition import line_input

__all__ = ["quantise"]

OPSET = 17  # scales per channel need 13 or later; the models are of 11 and 12
CALIBRATION_SEED = 20_250  # not that of any labelled set of the example
CALIBRATION_PAGES = 12
DETECT_SIDE = 416
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def quantise(name: str, source: Path, target: Path) -> None:
    """Write the int8 version of the model at `source`, that of operator `name`, to `target`.

    Takes a few seconds of one core, most of them for running the calibration pictures.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, _quiet():
        newer, ready = Path(scratch) / "newer.onnx", Path(scratch) / "ready.onnx"
        model = version_converter.convert_version(onnx.load(source), OPSET)
        onnx.save(model, newer)
        quant_pre_process(str(newer), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(target),
            _Samples(name, model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """Inputs as the model sees them in the pipeline."""

    def __init__(self, name: str, input_name: str) -> None:
        self._tensors = _detector_inputs() if name == "detect" else _lines()
        self._input = input_name

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        tensor = next(self._tensors, None)
        return None if tensor is None else {self._input: tensor}


def _detector_inputs() -> Iterator[NDArray[np.float32]]:
    for page in pages(CALIBRATION_PAGES, CALIBRATION_SEED):
        yield detector_input(page.image, DETECT_SIDE)


def _lines() -> Iterator[NDArray[np.float32]]:
    for page in pages(CALIBRATION_PAGES, CALIBRATION_SEED):
        for quad in page.quads:
            yield line_input(crop(page.image, quad))[None]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice on preprocessing, which is done, out of the operator's log."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def main() -> None:
    """Quantise as a child: ``python -m read_signs.quantise NAME SOURCE TARGET``."""
    if sys.platform == "linux":  # nobody is left to use the model once the operator is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    name, source, target = sys.argv[1:]
    quantise(name, Path(source), Path(target))


if __name__ == "__main__":
    main()
