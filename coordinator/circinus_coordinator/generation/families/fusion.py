"""Two sensors, joined. A request is one moment as both saw it."""

from __future__ import annotations

from circinus_coordinator.generation.families.vision import DECODE_KNOBS, DETECT_KNOBS, DETECT_MS
from circinus_coordinator.generation.templates import (
    Family,
    Level,
    OperatorTemplate,
    PipelineTemplate,
    knob,
)

__all__ = ["FUSION"]

_OPERATORS = (
    OperatorTemplate(
        name="decode-camera", work_ms=6.0, memory_mb=110, output_bytes=90e3, spread=0.25,
        tiers=("device", "edge"), knobs=DECODE_KNOBS,
    ),
    OperatorTemplate(
        name="detect-camera", work_ms=DETECT_MS, neural=0.97, memory_mb=420,
        output_bytes=3e3, knobs=DETECT_KNOBS,
    ),
    # A 32-beam lidar gives some 30,000 points of 16 bytes per turn; assumed.
    OperatorTemplate(
        name="filter-points", work_ms=12.0, memory_mb=100, output_bytes=200e3, spread=0.2,
        tiers=("device", "edge"),
        knobs=(
            knob("voxel_cm", {
                5: Level(value=5),
                10: Level(value=10, work=0.7, output=0.5, loss=0.01),
                20: Level(value=20, work=0.5, output=0.22, loss=0.04),
            }),
            knob("range_m", {
                80: Level(value=80),
                40: Level(value=40, work=0.6, output=0.6, loss=0.03),
            }),
            knob("ground", {"fit": (1.0, 0.0), "height": (0.6, 0.01)}),
        ),
    ),
    OperatorTemplate(
        name="cluster-points", work_ms=160.0, neural=0.7, memory_mb=300, output_bytes=4e3,
        knobs=(
            knob("method", {"pillars": (1.0, 0.0), "dbscan": (0.4, 0.03), "grid": (0.1, 0.08)}),
            knob("classes", {3: (1.0, 0.0), 1: (0.8, 0.02)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.45, 0.01)}),
        ),
    ),
    OperatorTemplate(
        name="fuse-tracks", work_ms=9.0, memory_mb=90, output_bytes=3e3, spread=0.4,
        knobs=(
            knob("filter", {"imm": (1.0, 0.0), "ukf": (0.6, 0.008), "kalman": (0.2, 0.025)}),
            knob("assignment", {"joint": (1.0, 0.0), "greedy": (0.3, 0.015)}),
            knob("history", {10: (1.0, 0.0), 3: (0.6, 0.012)}),
        ),
    ),
    OperatorTemplate(
        name="predict-paths", work_ms=70.0, neural=0.9, memory_mb=250, output_bytes=2e3,
        knobs=(
            knob("model", {"transformer": (1.0, 0.0), "lstm": (0.3, 0.02), "linear": (0.01, 0.07)}),
            knob("horizon_s", {5: (1.0, 0.0), 3: (0.6, 0.01)}),
            knob("modes", {6: (1.0, 0.0), 1: (0.4, 0.02)}),
        ),
    ),
    OperatorTemplate(
        name="spectrum-vibration", work_ms=10.0, memory_mb=50, output_bytes=32e3, spread=0.2,
        tiers=("device", "edge"),
        knobs=(
            knob("bins", {
                1024: Level(value=1024),
                512: Level(value=512, work=0.55, output=0.5, loss=0.012),
                256: Level(value=256, work=0.3, output=0.25, loss=0.04),
            }),
            knob("window", {"kaiser": (1.0, 0.0), "hann": (0.8, 0.004)}),
            knob("overlap", {0.5: (1.0, 0.0), 0.0: (0.5, 0.012)}),
        ),
    ),
    OperatorTemplate(
        name="spectrum-sound", work_ms=18.0, memory_mb=60, output_bytes=40e3, spread=0.2,
        tiers=("device", "edge"),
        knobs=(
            knob("mels", {
                128: Level(value=128),
                64: Level(value=64, work=0.6, output=0.5, loss=0.012),
                32: Level(value=32, work=0.4, output=0.25, loss=0.04),
            }),
            knob("denoise", {"spectral": (1.0, 0.0), "off": (0.4, 0.02)}),
            knob("hop_ms", {
                10: Level(value=10),
                20: Level(value=20, work=0.55, output=0.5, loss=0.012),
            }),
        ),
    ),
    OperatorTemplate(
        name="join-features", work_ms=14.0, memory_mb=70, output_bytes=12e3,
        knobs=(
            knob("alignment", {"dtw": (1.0, 0.0), "resample": (0.3, 0.01),
                               "nearest": (0.1, 0.03)}),
            knob("features", {
                96: Level(value=96),
                48: Level(value=48, work=0.6, output=0.5, loss=0.015),
            }),
            knob("scaling", {"robust": (1.0, 0.0), "fixed": (0.6, 0.01)}),
        ),
    ),
    OperatorTemplate(
        name="score-anomaly", work_ms=65.0, neural=0.9, memory_mb=220, output_bytes=600,
        knobs=(
            knob("model", {"autoencoder": (1.0, 0.0), "forest": (0.25, 0.025),
                           "threshold": (0.01, 0.1)}),
            knob("ensemble", {4: (1.0, 0.0), 2: (0.5, 0.01), 1: (0.25, 0.025)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.45, 0.006)}),
        ),
    ),
    OperatorTemplate(
        name="diagnose", work_ms=30.0, neural=0.8, memory_mb=180, output_bytes=400,
        knobs=(
            knob("classifier", {"network": (1.0, 0.0), "boosting": (0.5, 0.01),
                                "tree": (0.05, 0.05)}),
            knob("history", {32: (1.0, 0.0), 8: (0.4, 0.015)}),
            knob("faults", {24: (1.0, 0.0), 8: (0.6, 0.02)}),
        ),
    ),
    OperatorTemplate(
        name="filter-motion", work_ms=4.0, memory_mb=30, output_bytes=6e3, spread=0.2,
        tiers=("device", "edge"),
        knobs=(
            knob("rate_hz", {
                100: Level(value=100),
                50: Level(value=50, work=0.5, output=0.5, loss=0.01),
                25: Level(value=25, work=0.25, output=0.25, loss=0.04),
            }),
            knob("gravity", {"fusion": (1.0, 0.0), "lowpass": (0.5, 0.01)}),
            knob("axes", {9: (1.0, 0.0), 6: (0.7, 0.012)}),
        ),
    ),
    OperatorTemplate(
        name="filter-heart", work_ms=6.0, memory_mb=30, output_bytes=4e3, spread=0.2,
        tiers=("device", "edge"),
        knobs=(
            knob("rate_hz", {
                250: Level(value=250),
                125: Level(value=125, work=0.5, output=0.5, loss=0.015),
            }),
            knob("baseline", {"wavelet": (1.0, 0.0), "highpass": (0.3, 0.015)}),
            knob("leads", {
                3: Level(value=3),
                2: Level(value=2, work=0.7, output=0.67, loss=0.01),
                1: Level(value=1, work=0.4, output=0.34, loss=0.03),
            }),
        ),
    ),
    OperatorTemplate(
        name="classify-activity", work_ms=40.0, neural=0.9, memory_mb=150, output_bytes=200,
        knobs=(
            knob("model", {"transformer": (1.0, 0.0), "cnn": (0.4, 0.015), "forest": (0.1, 0.05)}),
            knob("window_s", {8: (1.0, 0.0), 4: (0.55, 0.015)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.45, 0.008)}),
        ),
    ),
)  # fmt: skip

FUSION = Family(
    name="fusion",
    operators=_OPERATORS,
    pipelines=(
        PipelineTemplate(
            name="intersection",
            needs={
                "decode-camera": (),
                "filter-points": (),
                "detect-camera": ("decode-camera",),
                "cluster-points": ("filter-points",),
                "fuse-tracks": ("detect-camera", "cluster-points"),
                "predict-paths": ("fuse-tracks",),
            },
            input_bytes={"decode-camera": 90e3, "filter-points": 480e3},
            best=0.9,
            rate_rps=1.0,
        ),
        PipelineTemplate(
            name="machine-health",
            needs={
                "spectrum-vibration": (),
                "spectrum-sound": (),
                "join-features": ("spectrum-vibration", "spectrum-sound"),
                "score-anomaly": ("join-features",),
                "diagnose": ("score-anomaly",),
            },
            input_bytes={"spectrum-vibration": 64e3, "spectrum-sound": 96e3},
            best=0.93,
            rate_rps=1.0,
        ),
        PipelineTemplate(
            name="wearable",
            needs={
                "filter-motion": (),
                "filter-heart": (),
                "join-features": ("filter-motion", "filter-heart"),
                "classify-activity": ("join-features",),
            },
            input_bytes={"filter-motion": 12e3, "filter-heart": 8e3},
            best=0.95,
            rate_rps=1.5,
        ),
    ),
)
