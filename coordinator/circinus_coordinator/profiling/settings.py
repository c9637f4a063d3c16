"""What to measure, and when it is enough."""

from __future__ import annotations

from dataclasses import dataclass

from circinus import _checks as check
from circinus.errors import InvalidInput

__all__ = ["ProfilingSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilingSettings:
    """Parameters of the profiler.

    Attributes:
        seek: Measure what can change a decision, and stop once it cannot; else everything that
            any query could use.
        batches: Batch sizes every operator is measured at.
        first_samples: Samples by which it is decided what is worth a closer look.
        min_samples: Plans are promised on no fewer; 20 is the least that shows a p95.
        max_samples: No target goes on after.
        precision: A target is done once the 95 % confidence interval of its mean latency
            reaches no further than this fraction of the mean, to either side.
        target_budget_s: Time for one target on its device; a probe gets this times its targets.
        accuracy_samples: Labelled inputs each config vector is scored on, at most.
        accuracy_budget_s: Time for one config vector.
        accuracy_chunk: Config vectors per accuracy probe.
        operator_chunk: Targets per operator probe.
        waiting_share: Part of its time that a device which serves may be probed, while a query
            without a plan waits for it.
        refining_share: The same for what could only make served plans cheaper.
        max_parallel: Probes at one time in the whole fleet; None for one per device. Agents
            that share one machine disturb one another's measurements.
        attempts: A target that failed so often is given up on this device class.
        answer_s: So long past its budget a probe may stay silent before it counts as lost.
        stale_after_s: Older measurements of devices and links count as stale. Accuracy does not
            age: it belongs to versions of operators and of the data set.
    """

    seek: bool = True
    batches: tuple[int, ...] = (1,)
    first_samples: int = 3
    min_samples: int = 20
    max_samples: int = 60
    precision: float = 0.05
    target_budget_s: float = 10.0
    accuracy_samples: int = 100
    accuracy_budget_s: float = 30.0
    accuracy_chunk: int = 24
    operator_chunk: int = 64
    waiting_share: float = 0.5
    refining_share: float = 0.05
    max_parallel: int | None = None
    attempts: int = 2
    answer_s: float = 30.0
    stale_after_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if not self.batches or any(batch < 1 for batch in self.batches):
            raise InvalidInput("at least one size of at least 1 is needed", key="batches")
        for name in (
            "target_budget_s",
            "accuracy_budget_s",
            "answer_s",
            "precision",
            "stale_after_s",
        ):
            check.positive(getattr(self, name), name)
        for name in ("waiting_share", "refining_share"):
            check.positive(getattr(self, name), name)
            check.fraction(getattr(self, name), name)
        if not 2 <= self.min_samples <= self.max_samples:
            raise InvalidInput("must be at least 2 and at most max_samples", key="min_samples")
        for name in (
            "accuracy_samples", "accuracy_chunk", "operator_chunk", "attempts", "first_samples",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidInput("must be at least 1", key=name)
