"""Cameras: decode, find, follow, compare. A request is one frame."""

from __future__ import annotations

from circinus_coordinator.generation.templates import (
    Family,
    Knob,
    Level,
    OperatorTemplate,
    PipelineTemplate,
    knob,
    threads,
)

__all__ = ["DECODE_KNOBS", "DETECT_KNOBS", "VISION"]

# Width and quantiser are AWStream's knobs (Zhang et al., SIGCOMM 2018, section 5.1); bytes fall
# with the square of the width. Losses assumed, in the order of its measured curves.
DECODE_KNOBS: tuple[Knob, ...] = (
    Knob(
        name="scale",
        levels=(
            Level(value=1.0),
            Level(value=0.75, work=0.7, output=0.56, loss=0.015),
            Level(value=0.5, work=0.4, output=0.25, loss=0.06),
            Level(value=0.33, work=0.25, output=0.11, loss=0.15),
        ),
    ),
    Knob(
        name="quant",
        levels=(
            Level(value=20),
            Level(value=30, output=0.5, work=0.95, loss=0.02),
            Level(value=40, output=0.25, work=0.9, loss=0.08),
        ),
    ),
)
# YOLOv8 at 640: n 8.7, s 28.6, m 78.9 GFLOPs and 37.3, 44.9, 50.2 mAP (Ultralytics,
# documentation of YOLOv8). Losses relative to m, halved: the task is easier than COCO (assumed).
DETECT_KNOBS: tuple[Knob, ...] = (
    knob(
        "model",
        {
            "n": Level(value="n", work=0.11, loss=0.128, memory=0.4),
            "s": Level(value="s", work=0.36, loss=0.053, memory=0.6),
            "m": Level(value="m"),
        },
    ),
    knob("side", {640: (1.0, 0.0), 480: (0.5625, 0.03), 320: (0.25, 0.10)}),
    knob(
        "precision",
        {"fp32": (1.0, 0.0), "int8": Level(value="int8", work=0.4, loss=0.012, memory=0.5)},
    ),
    threads(1, 4),
)
# 78.9 GFLOPs at 100 GFLOP/s, what a core with AVX-512 reaches on convolutions (assumed).
DETECT_MS = 790.0

_OPERATORS = (
    OperatorTemplate(
        name="decode-frame", work_ms=8.0, memory_mb=120, output_bytes=150e3, spread=0.25,
        tiers=("device", "edge"), knobs=DECODE_KNOBS,
    ),
    OperatorTemplate(
        name="detect-objects", work_ms=DETECT_MS, neural=0.97, memory_mb=420,
        output_bytes=24e3, knobs=DETECT_KNOBS,
    ),
    OperatorTemplate(
        name="track-objects", work_ms=6.0, memory_mb=90, output_bytes=20e3, spread=0.5,
        knobs=(
            knob("method", {"appearance": (1.0, 0.0), "motion": (0.4, 0.02), "iou": (0.2, 0.05)}),
            knob("window", {5: (1.0, 0.0), 1: (0.7, 0.02)}),
            knob("candidates", {100: (1.0, 0.0), 30: (0.6, 0.015)}),
        ),
    ),
    # ViT-B/16 17.6, ResNet-50 4.1, MobileNetV2 0.3 GFLOPs; 81.1, 80.9, 72.2 % top-1 (torchvision,
    # table of weights).
    OperatorTemplate(
        name="embed-crops", work_ms=350.0, neural=0.97, memory_mb=700, output_bytes=4e3,
        knobs=(
            knob("model", {
                "vit-b16": Level(value="vit-b16"),
                "resnet50": Level(value="resnet50", work=0.23, loss=0.01, memory=0.35),
                "mobilenet2": Level(value="mobilenet2", work=0.017, loss=0.07, memory=0.15),
            }),
            knob("side", {224: (1.0, 0.0), 160: (0.51, 0.02), 112: (0.25, 0.06)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.4, 0.01)}),
        ),
    ),
    OperatorTemplate(
        name="match-gallery", work_ms=12.0, memory_mb=900, output_bytes=400, spread=0.4,
        knobs=(
            knob("index", {"flat": (1.0, 0.0), "hnsw": (0.08, 0.01), "ivf": (0.12, 0.02)}),
            knob("bytes", {
                4: Level(value=4),
                1: Level(value=1, work=0.5, loss=0.01, memory=0.3),
            }),
            knob("results", {5: (1.0, 0.0), 1: (0.9, 0.015)}),
        ),
    ),
    OperatorTemplate(
        name="segment-defects", work_ms=900.0, neural=0.97, memory_mb=600, output_bytes=30e3,
        knobs=(
            knob("width", {
                64: Level(value=64),
                32: Level(value=32, work=0.27, loss=0.02, memory=0.5),
                16: Level(value=16, work=0.08, loss=0.07, memory=0.3),
            }),
            knob("side", {512: (1.0, 0.0), 384: (0.56, 0.02), 256: (0.25, 0.07)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.4, 0.01)}),
            threads(1, 4),
        ),
    ),
    OperatorTemplate(
        name="classify-defect", work_ms=80.0, neural=0.95, memory_mb=260, output_bytes=300,
        knobs=(
            knob("model", {
                "resnet50": Level(value="resnet50"),
                "mobilenet2": Level(value="mobilenet2", work=0.08, loss=0.04, memory=0.4),
            }),
            knob("views", {5: (1.0, 0.0), 3: (0.6, 0.01), 1: (0.2, 0.03)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.4, 0.01)}),
        ),
    ),
)  # fmt: skip

VISION = Family(
    name="vision",
    operators=_OPERATORS,
    pipelines=(
        PipelineTemplate(
            name="traffic",
            needs={
                "decode-frame": (),
                "detect-objects": ("decode-frame",),
                "track-objects": ("detect-objects",),
                "embed-crops": ("track-objects",),
                "match-gallery": ("embed-crops",),
            },
            input_bytes={"decode-frame": 150e3},
            best=0.92,
            rate_rps=1.5,
        ),
        PipelineTemplate(
            name="retail",
            needs={
                "decode-frame": (),
                "detect-objects": ("decode-frame",),
                "embed-crops": ("detect-objects",),
                "match-gallery": ("embed-crops",),
            },
            input_bytes={"decode-frame": 110e3},
            best=0.94,
            rate_rps=1.0,
        ),
        PipelineTemplate(
            name="inspection",
            needs={
                "decode-frame": (),
                "segment-defects": ("decode-frame",),
                "classify-defect": ("segment-defects",),
            },
            input_bytes={"decode-frame": 220e3},
            best=0.97,
            rate_rps=1.0,
        ),
    ),
)
