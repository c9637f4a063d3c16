"""What a decision says beyond its assignments: what resources are worth, what would help whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["Relaxation", "ResourcePrice", "percent"]

_UNITS = {"link": "Mbit/s", "uplink": "Mbit/s", "cores": "core"}


def percent(part: float) -> str:
    """A part in words; what is neither nothing nor all is never told as either."""
    text = f"{part:.0%}"
    if 0 < part < 1 and text in ("0%", "100%"):
        return "under 1%" if text == "0%" else "over 99%"
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePrice:
    """What one more unit of a resource would be worth, everything else as it is.

    Attributes:
        resource: ``cores``, an accelerator's name, ``link`` (between two devices) or ``uplink``.
        devices: Where, by device id: one machine, or the two ends of a link. Where alike machines
            share a price, one of them stands for all.
        machines: For each of `devices`, how many alike machines it stands for; 1: itself alone.
        weighted_rps_per_unit: Weighted requests per second of goodput for one more core,
            accelerator or Mbit/s of one of these machines or links. What may not be planned of it
            (`max_utilisation`) is taken off already. The worth of a first little, not of much more.
    """

    resource: str
    devices: tuple[str, ...]
    machines: tuple[int, ...]
    weighted_rps_per_unit: float

    @property
    def unit(self) -> str:
        """What one more is one of: ``core``, ``Mbit/s``, or the accelerator's name."""
        return _UNITS.get(self.resource, self.resource)

    def __str__(self) -> str:
        """For people: ``edge-2 cores: worth 3.1 weighted req/s per core``."""
        ends = [
            name if count == 1 else f"{name} (or any of the {count} machines like it)"
            for name, count in zip(self.devices, self.machines, strict=True)
        ]
        where = " - ".join(ends)
        name = f"link {where}" if self.resource == "link" else f"{where} {self.resource}"
        return f"{name}: worth {self.weighted_rps_per_unit:.3g} weighted req/s per {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """One change to the scenario; all changes of a rejection together admit its query.

    Attributes:
        what: ``latency``, ``accuracy``, ``cost``, ``rate``, ``weight`` or ``count`` of the query;
            ``memory``, ``cores``, an accelerator or ``uplink`` of the device in `devices`;
            ``link`` between the two `devices` (where there is none yet: a new one);
            ``profile`` or ``accuracy profile``, which must first be measured.
        amount: By how much it changes (USD per 1,000 requests, ms, MB, Mbit/s, cores): more,
            and for accuracy, rate and count less. None where it is no number.
        to: The new value: of the SLO, of the device, of the link. None where it is no number.
        devices: Device ids, where it is about one or two.
        operator: Operator that lacks a profile.
        rtt_ms: Of a new link: what it may take at most.
    """

    what: str
    amount: float | None = None
    to: float | None = None
    devices: tuple[str, ...] = ()
    operator: str | None = None
    rtt_ms: float | None = None


class PriceDocument(msgspec.Struct, forbid_unknown_fields=True):
    """`ResourcePrice` in a file."""

    resource: str
    devices: list[str]
    machines: list[int]
    weighted_rps_per_unit: float

    def model(self) -> ResourcePrice:
        """What it describes."""
        return ResourcePrice(
            resource=self.resource,
            devices=tuple(self.devices),
            machines=tuple(self.machines),
            weighted_rps_per_unit=self.weighted_rps_per_unit,
        )


class RelaxationDocument(msgspec.Struct, forbid_unknown_fields=True):
    """`Relaxation` in a file."""

    what: str
    amount: float | None = None
    to: float | None = None
    devices: list[str] = []
    operator: str | None = None
    rtt_ms: float | None = None

    def model(self) -> Relaxation:
        """What it describes."""
        return Relaxation(
            what=self.what,
            amount=self.amount,
            to=self.to,
            devices=tuple(self.devices),
            operator=self.operator,
            rtt_ms=self.rtt_ms,
        )


def price_document(price: ResourcePrice) -> Mapping[str, Any]:
    """As in a decision file."""
    return {
        "resource": price.resource,
        "devices": list(price.devices),
        "machines": list(price.machines),
        "weighted_rps_per_unit": price.weighted_rps_per_unit,
    }


def relaxation_document(relaxation: Relaxation) -> Mapping[str, Any]:
    """As in a decision file: what is not known is left out."""
    told = {
        "amount": relaxation.amount,
        "to": relaxation.to,
        "devices": list(relaxation.devices) or None,
        "operator": relaxation.operator,
        "rtt_ms": relaxation.rtt_ms,
    }
    known = {key: value for key, value in told.items() if value is not None}
    return {"what": relaxation.what, **known}
