"""Answers from documents, with language models paid by the call. A request is one question."""

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

__all__ = ["RETRIEVAL"]

_QUESTION_BYTES = 2e3

_OPERATORS = (
    OperatorTemplate(
        name="rewrite-question", work_ms=LOCAL_MS * 0.15, neural=0.99, memory_mb=LOCAL_MB,
        output_bytes=1500, spread=0.5,
        knobs=(
            language_models(loss=0.25, size=0.15),
            knob("variants", {3: (1.5, 0.0), 1: (1.0, 0.02)}),
            knob("history", {4: (1.2, 0.0), 0: (1.0, 0.015)}),
        ),
    ),
    # e5-large 335, bge-base 109, MiniLM-L6 23 million parameters (their model cards); retrieval
    # losses assumed, in the order of the MTEB leaderboard (Muennighoff et al., 2023).
    OperatorTemplate(
        name="embed-question", work_ms=120.0, neural=0.95, memory_mb=1400, output_bytes=4500,
        knobs=(
            knob("model", {
                "e5-large": Level(value="e5-large"),
                "bge-base": Level(value="bge-base", work=0.32, memory=0.35, loss=0.012),
                "minilm-l6": Level(value="minilm-l6", work=0.05, memory=0.1, loss=0.06),
            }),
            knob("length", {256: (1.0, 0.0), 128: (0.5, 0.01)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.4, 0.008)}),
            threads(1, 4),
        ),
    ),
    OperatorTemplate(
        name="retrieve", work_ms=60.0, memory_mb=3600, output_bytes=24e3, spread=0.4,
        knobs=(
            knob("index", {"flat": (1.0, 0.0), "hnsw": (0.05, 0.012), "ivf": (0.08, 0.025)}),
            knob("passages", {
                16: Level(value=16),
                8: Level(value=8, work=0.95, output=0.5, loss=0.015),
                4: Level(value=4, work=0.9, output=0.25, loss=0.05),
            }),
            knob("bytes", {
                4: Level(value=4),
                1: Level(value=1, work=0.5, memory=0.28, loss=0.01),
            }),
        ),
    ),
    OperatorTemplate(
        name="rerank", work_ms=1500.0, neural=0.95, memory_mb=1200, output_bytes=12e3,
        knobs=(
            knob("model", {
                "bge-base": Level(value="bge-base"),
                "minilm-l6": Level(value="minilm-l6", work=0.2, memory=0.25, loss=0.015),
                "off": Level(value="off", work=0.0005, memory=0.02, loss=0.06),
            }),
            knob("depth", {16: (1.0, 0.0), 8: (0.5, 0.012)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.4, 0.008)}),
        ),
    ),
    OperatorTemplate(
        name="generate-answer", work_ms=LOCAL_MS, neural=0.99, memory_mb=LOCAL_MB,
        output_bytes=700, spread=0.5,
        knobs=(
            language_models(),
            knob("context", {8: (1.0, 0.0), 4: (0.85, 0.02), 2: (0.75, 0.05)}),
            knob("tokens", {130: (1.0, 0.0), 60: (0.5, 0.03)}),
        ),
    ),
    OperatorTemplate(
        name="check-answer", work_ms=600.0, neural=0.95, memory_mb=1300, output_bytes=800,
        knobs=(
            knob("model", {
                "nli-large": Level(value="nli-large"),
                "nli-small": Level(value="nli-small", work=0.25, memory=0.3, loss=0.015),
                "overlap": Level(value="overlap", work=0.005, memory=0.05, loss=0.05),
            }),
            knob("sentences", {"all": (1.0, 0.0), "first": (0.4, 0.015)}),
            knob("precision", {"fp32": (1.0, 0.0), "int8": (0.4, 0.006)}),
        ),
    ),
)  # fmt: skip


def _chain(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (names[i - 1],) if i else () for i, name in enumerate(names)}


RETRIEVAL = Family(
    name="retrieval",
    operators=_OPERATORS,
    pipelines=(
        PipelineTemplate(
            name="faq",
            needs=_chain("embed-question", "retrieve", "generate-answer"),
            input_bytes={"embed-question": _QUESTION_BYTES},
            best=0.86,
            rate_rps=0.3,
            deliver=Deliver.SOURCE,
        ),
        PipelineTemplate(
            name="assistant",
            needs=_chain("embed-question", "retrieve", "rerank", "generate-answer"),
            input_bytes={"embed-question": _QUESTION_BYTES},
            best=0.89,
            rate_rps=0.3,
            deliver=Deliver.SOURCE,
        ),
        PipelineTemplate(
            name="research",
            needs=_chain(
                "rewrite-question",
                "embed-question",
                "retrieve",
                "rerank",
                "generate-answer",
                "check-answer",
            ),
            input_bytes={"rewrite-question": _QUESTION_BYTES * 2},
            best=0.92,
            rate_rps=0.15,
            deliver=Deliver.SOURCE,
        ),
    ),
)
