"""Decisions: what the planner answers, and its file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from circinus import _documents as documents
from circinus.advice import (
    PriceDocument,
    Relaxation,
    RelaxationDocument,
    ResourcePrice,
    price_document,
    relaxation_document,
)
from circinus.errors import InvalidInput
from circinus.operator import KnobValue
from circinus.pipeline import Config

__all__ = [
    "Assignment",
    "Decision",
    "Deployment",
    "Estimate",
    "Plan",
    "Rehearsed",
    "Rejection",
    "Relaxation",
    "ResourcePrice",
    "Step",
    "TenantShare",
    "decode_decision",
    "encode_decision",
    "load_decision",
    "save_decision",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where and how one operator of a plan runs.

    Attributes:
        device: Device id.
        config: The knobs' values.
        batch: Requests per batch at most.
        replicas: Instances of this (operator, config, batch) on the device, for everybody.
    """

    device: str
    config: Config = field(default_factory=Config)
    batch: int = 1
    replicas: int = 1


Plan = Mapping[str, Step]
"""For one query: each operator's step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """How sure a latency is that was seen in a simulation of the whole decision.

    Attributes:
        low_ms, high_ms: 95 % interval.
        requests: Of the plan, that were counted.
    """

    low_ms: float
    high_ms: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan promises: latency at the SLO's percentile, accuracy (None: unknown), cost.

    Attributes:
        rehearsed: Of a latency that was seen in a simulation; None where it is the planner's model
            that says so.
    """

    latency_ms: float
    accuracy: float | None
    cost_usd_per_1000: float
    rehearsed: Rehearsed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A plan of a query with its share of the query's traffic."""

    query: str
    share: float
    plan: Plan
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A query that got no traffic, or not all.

    Attributes:
        reason: A sentence for people.
        binding: The constraint in the way (``latency``, ``accuracy``, ``cost``,
            ``cores of edge-2`` ...).
        relaxation: The cheapest change that would admit it, if known: a sentence.
        relaxations: The same for programs: all of these changes together admit it.
    """

    query: str
    reason: str
    binding: str
    relaxation: str | None = None
    relaxations: tuple[Relaxation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantShare:
    """What became of a tenant's minimum share; weighted requests per second.

    Attributes:
        tenant: The label.
        min_share: The part of `reach_rps` that was to be served at least.
        reach_rps: What its queries would reach with the fleet to themselves, as if nothing waited
            and any traffic could be split.
        goodput_rps: What they reach.
        attainable: No proof that the minimum cannot be kept beside those of others.
    """

    tenant: str
    min_share: float
    reach_rps: float
    goodput_rps: float
    attainable: bool = True

    @property
    def share(self) -> float:
        """The part of its reach that is served; 1 where nothing is within reach."""
        return self.goodput_rps / self.reach_rps if self.reach_rps > 0 else 1.0

    @property
    def kept(self) -> bool:
        """Whether the minimum is, but for rounding."""
        return self.share >= self.min_share * (1 - 1e-6)

    def __str__(self) -> str:
        told = f"tenant {self.tenant}: {self.share:.1%} of what it could reach alone"
        if self.kept:
            return f"{told}, {self.min_share:.1%} promised"
        why = "no plan was found that keeps it" if self.attainable else "no plan keeps it"
        return f"{told}, short of the {self.min_share:.1%} promised: {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Cost of a decision in US dollars per hour."""

    usage: float = 0.0
    machines: float = 0.0
    network: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.usage + self.machines + self.network


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to a scenario.

    Attributes:
        planner: Name of the planner.
        seed: Seed it ran with.
        goodput_rps: Weighted requests per second that meet all their SLOs.
        bound_rps: No assignment can exceed this; None where no bound was computed.
        certified: True if `bound_rps` is a proof and not an estimate.
        deployment: Cost per hour.
        open_devices: Devices that carry anything, sorted.
        seconds: Wall time of each phase.
        evaluations: Plans whose latency and cost were worked out; None where nobody counted.
        prices: What resources are worth, dearest first; those that are worth nothing are left
            out. Empty where nobody priced them.
        deployment_bound_usd_hour: No decision of at least this goodput costs less per hour in
            all (`deployment.total`); None where that was not proved.
        tenants: Those with a minimum share, in the scenario's order.
    """

    planner: str
    seed: int = 0
    goodput_rps: float = 0.0
    bound_rps: float | None = None
    certified: bool = False
    deployment: Deployment = field(default_factory=Deployment)
    open_devices: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    assignments: tuple[Assignment, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    evaluations: int | None = None
    prices: tuple[ResourcePrice, ...] = ()
    deployment_bound_usd_hour: float | None = None
    tenants: tuple[TenantShare, ...] = ()

    @property
    def gap(self) -> float | None:
        """How far from optimal it can be: (bound - goodput) / bound; None without a bound."""
        if self.bound_rps is None:
            return None
        return max(0.0, 1 - self.goodput_rps / self.bound_rps) if self.bound_rps > 0 else 0.0


class _Step(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    device: str
    config: dict[str, KnobValue] = {}
    batch: int = 1
    replicas: int = 1


class _Rehearsed(msgspec.Struct, forbid_unknown_fields=True):
    low_ms: float
    high_ms: float
    requests: int


class _Estimate(msgspec.Struct):
    latency_ms: float
    cost_usd_per_1000: float
    accuracy: float | None = None
    rehearsed: _Rehearsed | None = None


class _Assignment(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    share: float
    plan: dict[str, _Step]
    estimate: _Estimate


class _Rejection(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    reason: str
    binding: str
    relaxation: str | None = None
    relaxations: list[RelaxationDocument] = []


class _TenantShare(msgspec.Struct, forbid_unknown_fields=True):
    tenant: str
    min_share: float
    reach_rps: float
    goodput_rps: float
    attainable: bool = True


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    circinus: int
    planner: str
    assignments: list[_Assignment]
    rejected: list[_Rejection]
    seed: int = 0
    goodput_rps: float = 0.0
    bound_rps: float | None = None
    gap: float | None = None
    certified: bool = False
    deployment_usd_hour: dict[str, float] = {}
    open_devices: list[str] = []
    seconds: dict[str, float] = {}
    evaluations: int | None = None
    prices: list[PriceDocument] = []
    deployment_bound_usd_hour: float | None = None
    tenants: list[_TenantShare] = []


def encode_decision(decision: Decision) -> bytes:
    """The decision as the JSON document of the contract."""
    cost = decision.deployment
    document: dict[str, Any] = {
        "circinus": documents.VERSION,
        "planner": decision.planner,
        "seed": decision.seed,
        "goodput_rps": decision.goodput_rps,
        "bound_rps": decision.bound_rps,
        "gap": decision.gap,
        "certified": decision.certified,
        "deployment_usd_hour": {
            "usage": cost.usage,
            "machines": cost.machines,
            "network": cost.network,
            "total": cost.total,
        },
        "open_devices": list(decision.open_devices),
        "seconds": dict(decision.seconds),
        "assignments": [_assignment_document(a) for a in decision.assignments],
        "rejected": [_rejection_document(r) for r in decision.rejected],
    }
    if decision.evaluations is not None:
        document["evaluations"] = decision.evaluations
    if decision.prices:
        document["prices"] = [price_document(price) for price in decision.prices]
    if decision.deployment_bound_usd_hour is not None:
        document["deployment_bound_usd_hour"] = decision.deployment_bound_usd_hour
    if decision.tenants:
        document["tenants"] = [
            _TenantShare(t.tenant, t.min_share, t.reach_rps, t.goodput_rps, t.attainable)
            for t in decision.tenants
        ]
    return documents.encode(document)


def _assignment_document(a: Assignment) -> dict[str, Any]:
    seen = a.estimate.rehearsed
    return {
        "query": a.query,
        "share": a.share,
        "plan": {
            name: _Step(step.device, dict(step.config), step.batch, step.replicas)
            for name, step in a.plan.items()
        },
        "estimate": {
            "latency_ms": a.estimate.latency_ms,
            "accuracy": a.estimate.accuracy,
            "cost_usd_per_1000": a.estimate.cost_usd_per_1000,
            **({"rehearsed": _Rehearsed(seen.low_ms, seen.high_ms, seen.requests)} if seen else {}),
        },
    }


def _rejection_document(r: Rejection) -> dict[str, Any]:
    document: dict[str, Any] = {
        "query": r.query,
        "reason": r.reason,
        "binding": r.binding,
        "relaxation": r.relaxation,
    }
    if r.relaxations:
        document["relaxations"] = [relaxation_document(one) for one in r.relaxations]
    return document


def decode_decision(data: bytes, *, name: str = "decision") -> Decision:
    """The decision in a JSON document.

    Raises:
        InvalidInput: Naming `name` as the file, and the key.
    """
    raw = documents.decode(data, _Decision, name=name, yaml=False)
    documents.check_version(raw.circinus, name)
    cost = raw.deployment_usd_hour
    try:
        return Decision(
            planner=raw.planner,
            seed=raw.seed,
            goodput_rps=raw.goodput_rps,
            bound_rps=raw.bound_rps,
            certified=raw.certified,
            deployment=Deployment(
                usage=cost.get("usage", 0.0),
                machines=cost.get("machines", 0.0),
                network=cost.get("network", 0.0),
            ),
            open_devices=tuple(raw.open_devices),
            seconds=raw.seconds,
            assignments=tuple(_assignment(i, a) for i, a in enumerate(raw.assignments)),
            rejected=tuple(_rejection(r) for r in raw.rejected),
            evaluations=raw.evaluations,
            prices=tuple(_price(i, p) for i, p in enumerate(raw.prices)),
            deployment_bound_usd_hour=raw.deployment_bound_usd_hour,
            tenants=tuple(
                TenantShare(**{name: getattr(t, name) for name in _TenantShare.__struct_fields__})
                for t in raw.tenants
            ),
        )
    except InvalidInput as error:
        raise error.within(file=name) from None


def _assignment(index: int, raw: _Assignment) -> Assignment:
    key = f"assignments[{index}]"
    if not 0 <= raw.share <= 1:
        raise InvalidInput(f"must lie between 0 and 1, not {raw.share}", key=f"{key}.share")
    seen = raw.estimate.rehearsed
    return Assignment(
        query=raw.query,
        share=raw.share,
        plan={
            name: Step(device=s.device, config=Config(s.config), batch=s.batch, replicas=s.replicas)
            for name, s in raw.plan.items()
        },
        estimate=Estimate(
            latency_ms=raw.estimate.latency_ms,
            accuracy=raw.estimate.accuracy,
            cost_usd_per_1000=raw.estimate.cost_usd_per_1000,
            rehearsed=Rehearsed(low_ms=seen.low_ms, high_ms=seen.high_ms, requests=seen.requests)
            if seen
            else None,
        ),
    )


def _rejection(raw: _Rejection) -> Rejection:
    return Rejection(
        query=raw.query,
        reason=raw.reason,
        binding=raw.binding,
        relaxation=raw.relaxation,
        relaxations=tuple(one.model() for one in raw.relaxations),
    )


def _price(index: int, raw: PriceDocument) -> ResourcePrice:
    ends = 2 if raw.resource == "link" else 1
    for key in ("devices", "machines"):
        if len(getattr(raw, key)) != ends:
            raise InvalidInput(
                f"{ends} needed for {raw.resource!r}, not {len(getattr(raw, key))}",
                key=f"prices[{index}].{key}",
            )
    return raw.model()


def load_decision(path: str | Path) -> Decision:
    """Read a decision file.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    return decode_decision(documents.read(path), name=str(path))


def save_decision(decision: Decision, path: str | Path) -> None:
    """Write a decision file, whole or not at all."""
    documents.write(path, encode_decision(decision))
