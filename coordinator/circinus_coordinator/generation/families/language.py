"""Large language models, local and by the call, shared by speech and retrieval."""

from __future__ import annotations

from circinus_coordinator.generation.templates import Knob, Level

__all__ = ["API_FULL_USD", "API_MINI_USD", "LOCAL_MS", "language_models"]

# 8-billion-parameter model, 4 bits: each token reads ~4.7 GB of weights. A server core's share of
# memory bandwidth gives ~2 tokens/s; 130 tokens, the median answer in Azure's conversation trace
# (Patel et al., Splitwise, ISCA 2024, section 3), take about a minute on the reference core.
LOCAL_MS = 60_000.0
LOCAL_MB = 5600.0
# 1,000 tokens in (the same trace's median is 1,020), 130 out, at OpenAI's list prices of October
# 2024: gpt-4o-mini 0.15 and 0.60, gpt-4o 2.50 and 10 USD per million tokens.
API_MINI_USD = 1000 * 0.15e-6 + 130 * 0.60e-6
API_FULL_USD = 1000 * 2.50e-6 + 130 * 10e-6
# Answering times of such services, whole answer: assumed, 100 and 60 tokens/s after 400 ms.
_MINI_MS = 400 + 130 / 100 * 1000
_FULL_MS = 400 + 130 / 60 * 1000


def language_models(loss: float = 1.0, size: float = 1.0) -> Knob:
    """The knob `model`: three local sizes and two services.

    Args:
        loss: Factor on the losses; tasks differ in what they ask of the model.
        size: Factor on tokens, for shorter or longer answers than the trace's median.
    """
    tiny = 1e-5  # calling a service takes hardly any computation
    return Knob(
        name="model",
        levels=(
            Level(value="api-full", work=tiny, memory=0.015, remote_ms=_FULL_MS * size,
                  price_usd=API_FULL_USD * size),
            Level(value="api-mini", work=tiny, memory=0.015, remote_ms=_MINI_MS * size,
                  price_usd=API_MINI_USD * size, loss=0.03 * loss),
            Level(value="local-8b", loss=0.05 * loss),
            Level(value="local-3b", work=0.4, memory=0.42, loss=0.1 * loss),
            Level(value="local-1b", work=0.15, memory=0.2, loss=0.2 * loss),
        ),
    )  # fmt: skip
