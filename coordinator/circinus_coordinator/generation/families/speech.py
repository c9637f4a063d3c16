"""Speech: find it, write it down, say who spoke, sum it up. A request is ten seconds of sound."""

from __future__ import annotations

from circinus.pipeline import Deliver
from circinus_coordinator.generation.families.language import LOCAL_MB, LOCAL_MS, language_models
from circinus_coordinator.generation.templates import (
    Family,
    Level,
    OperatorTemplate,
    PipelineTemplate,
    knob,
    threads,
)

__all__ = ["SPEECH"]

_CLIP_BYTES = 40e3  # ten seconds of Opus at 32 kbit/s

_OPERATORS = (
    OperatorTemplate(
        name="segment-speech", work_ms=25.0, memory_mb=80, output_bytes=36e3, spread=0.2,
        tiers=("device", "edge"),
        knobs=(
            knob("detector", {"neural": (1.0, 0.0), "spectral": (0.3, 0.015),
                              "energy": (0.05, 0.05)}),
            knob("frame_ms", {10: (1.0, 0.0), 30: (0.4, 0.015)}),
            knob("codec_kbps", {
                32: Level(value=32),
                16: Level(value=16, output=0.5, loss=0.02),
            }),
        ),
    ),
    # Whisper: tiny 39, base 74, small 244, medium 769 million parameters; relative speeds 10, 7,
    # 4, 2 of large (openai/whisper, README). Word error rates on LibriSpeech test-clean 7.6, 5.0,
    # 3.4, 2.9 % (Radford et al., 2022, appendix D). Losses three times the difference: meetings
    # are harder than read books (assumed).
    OperatorTemplate(
        name="transcribe", work_ms=9000.0, neural=0.95, memory_mb=3000, output_bytes=1500,
        spread=0.4,
        knobs=(
            knob("model", {
                "medium": Level(value="medium"),
                "small": Level(value="small", work=0.35, memory=0.33, loss=0.015),
                "base": Level(value="base", work=0.12, memory=0.12, loss=0.063),
                "tiny": Level(value="tiny", work=0.07, memory=0.08, loss=0.14),
            }),
            knob("beam", {5: (1.0, 0.0), 1: (0.55, 0.02)}),
            knob("precision", {
                "fp16": Level(value="fp16"),
                "int8": Level(value="int8", work=0.55, memory=0.55, loss=0.01),
            }),
            threads(1, 4),
        ),
    ),
    OperatorTemplate(
        name="diarise", work_ms=420.0, neural=0.8, memory_mb=380, output_bytes=1800,
        knobs=(
            knob("embedding", {"titanet": (1.0, 0.0), "ecapa": (0.6, 0.01),
                               "xvector": (0.2, 0.05)}),
            knob("clustering", {"spectral": (1.0, 0.0), "linkage": (0.75, 0.015)}),
            knob("window_s", {0.5: (1.0, 0.0), 1.5: (0.4, 0.03)}),
        ),
    ),
    OperatorTemplate(
        name="attribute-words", work_ms=15.0, memory_mb=60, output_bytes=2200,
        knobs=(
            knob("overlap", {"keep": (1.0, 0.0), "majority": (0.6, 0.01), "first": (0.3, 0.03)}),
            knob("smoothing", {"viterbi": (1.0, 0.0), "none": (0.3, 0.015)}),
            knob("punctuation", {"model": (1.0, 0.0), "rules": (0.3, 0.01)}),
        ),
    ),
    OperatorTemplate(
        name="recognise-intent", work_ms=45.0, neural=0.9, memory_mb=450, output_bytes=300,
        knobs=(
            knob("model", {
                "bert-base": Level(value="bert-base"),
                "minilm": Level(value="minilm", work=0.3, memory=0.4, loss=0.02),
                "bow": Level(value="bow", work=0.02, memory=0.1, loss=0.12),
            }),
            knob("hypotheses", {3: (1.0, 0.0), 1: (0.35, 0.015)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.45, 0.008)}),
        ),
    ),
    OperatorTemplate(
        name="summarise", work_ms=LOCAL_MS, neural=0.99, memory_mb=LOCAL_MB, output_bytes=900,
        spread=0.5,
        knobs=(
            language_models(loss=0.7, size=0.6),
            knob("tokens", {100: (1.0, 0.0), 50: (0.55, 0.025)}),
            knob("passes", {2: (1.6, 0.0), 1: (1.0, 0.02)}),
        ),
    ),
)  # fmt: skip

SPEECH = Family(
    name="speech",
    operators=_OPERATORS,
    pipelines=(
        PipelineTemplate(
            name="notes",
            needs={
                "segment-speech": (),
                "transcribe": ("segment-speech",),
                "diarise": ("transcribe",),
                "summarise": ("diarise",),
            },
            input_bytes={"segment-speech": _CLIP_BYTES},
            best=0.9,
            rate_rps=0.2,
        ),
        PipelineTemplate(
            name="meeting",
            needs={
                "segment-speech": (),
                "transcribe": ("segment-speech",),
                "diarise": ("segment-speech",),
                "attribute-words": ("transcribe", "diarise"),
                "summarise": ("attribute-words",),
            },
            input_bytes={"segment-speech": _CLIP_BYTES},
            best=0.88,
            rate_rps=0.2,
        ),
        PipelineTemplate(
            name="command",
            needs={
                "segment-speech": (),
                "transcribe": ("segment-speech",),
                "recognise-intent": ("transcribe",),
            },
            input_bytes={"segment-speech": _CLIP_BYTES / 2},
            best=0.95,
            rate_rps=0.3,
            deliver=Deliver.SOURCE,
        ),
    ),
)
