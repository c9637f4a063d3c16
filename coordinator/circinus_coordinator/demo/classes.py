"""The catalogue of device classes: one YAML file each, in ``devices/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from circinus import _checks as check
from circinus import _documents as documents
from circinus.errors import InvalidInput
from circinus.fleet import DeviceClass
from circinus_coordinator.demo.resources import resource

__all__ = ["CatalogueEntry", "Emulate", "load_class", "load_classes"]

HOURS_PER_YEAR = 8760.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulate:
    """How one machine plays a class: all assumed.

    Attributes:
        slowdown: CPU time on the class over CPU time here, per core.
        cores: Cores it pretends to have.
        memory_mb: Memory it pretends to have for operators, megabytes.
    """

    slowdown: float
    cores: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A device class with what stands beside it in the catalogue.

    Attributes:
        device_class: What the planner sees.
        description: One line for people.
        sources: Where each figure comes from.
        emulate: How to play it on one machine; None where nobody has said.
    """

    device_class: DeviceClass
    description: str
    sources: dict[str, str]
    emulate: Emulate | None


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    pass


class _Price(_Strict, frozen=True):
    usd_hour: float | None = None
    purchase_usd: float | None = None
    lifetime_years: float | None = None
    watts: float | None = None
    usd_per_kwh: float | None = None


class _Emulate(_Strict, frozen=True):
    slowdown: float
    cores: float
    memory_mb: float


class _Document(_Strict, frozen=True):
    circinus: int
    name: str
    description: str
    cores: float
    memory_mb: float
    price: _Price
    sources: dict[str, str]
    accelerators: dict[str, float] = {}
    emulate: _Emulate | None = None


def load_class(path: str | Path) -> CatalogueEntry:
    """Read one class.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    name = str(path)
    raw = documents.decode(documents.read(path), _Document, name=name, yaml=True)
    documents.check_version(raw.circinus, name)
    try:
        return _entry(raw)
    except InvalidInput as error:
        raise error.within(file=name) from None


def load_classes(folder: str | Path | None = None) -> dict[str, CatalogueEntry]:
    """Every class of a folder (by default the catalogue that comes with Circinus), by name.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    found: dict[str, CatalogueEntry] = {}
    for path in sorted(Path(folder or resource("devices")).glob("*.yaml")):
        entry = load_class(path)
        if entry.device_class.name != path.stem:
            raise InvalidInput(
                f"is {entry.device_class.name!r} in a file called {path.name}",
                file=str(path),
                key="name",
                remedy="file and class carry the same name",
            )
        found[path.stem] = entry
    return found


def _entry(raw: _Document) -> CatalogueEntry:
    for figure in ("cores", "memory_mb", "price"):
        _sourced(figure, raw)
    if raw.accelerators:
        _sourced("accelerators", raw)
    emulate = None
    if raw.emulate:
        _sourced("emulate", raw)
        for name in ("slowdown", "cores", "memory_mb"):
            check.positive(getattr(raw.emulate, name), f"emulate.{name}")
        emulate = Emulate(
            slowdown=raw.emulate.slowdown,
            cores=raw.emulate.cores,
            memory_mb=raw.emulate.memory_mb,
        )
    return CatalogueEntry(
        device_class=DeviceClass(
            name=raw.name,
            cores=raw.cores,
            memory_mb=raw.memory_mb,
            accelerators=raw.accelerators,
            price_usd_hour=_price_usd_hour(raw.price),
        ),
        description=raw.description,
        sources=raw.sources,
        emulate=emulate,
    )


def _sourced(figure: str, raw: _Document) -> None:
    if not raw.sources.get(figure, "").strip():
        raise InvalidInput(
            "no source is given",
            key=f"sources.{figure}",
            remedy="say where the figure comes from, or that it is assumed",
        )


def _price_usd_hour(price: _Price) -> float:
    """Rent, or purchase over the lifetime plus electricity."""
    bought = (price.purchase_usd, price.lifetime_years, price.watts, price.usd_per_kwh)
    if price.usd_hour is not None:
        if any(part is not None for part in bought):
            raise InvalidInput(
                "is both rented and bought", key="price", remedy="keep usd_hour or the others"
            )
        check.not_negative(price.usd_hour, "price.usd_hour")
        return price.usd_hour
    purchase, years, watts, kwh = bought
    if purchase is None or years is None or watts is None or kwh is None:
        raise InvalidInput(
            "is incomplete",
            key="price",
            remedy="give usd_hour, or purchase_usd, lifetime_years, watts and usd_per_kwh",
        )
    check.not_negative(purchase, "price.purchase_usd")
    check.positive(years, "price.lifetime_years")
    check.not_negative(watts, "price.watts")
    check.not_negative(kwh, "price.usd_per_kwh")
    return purchase / (years * HOURS_PER_YEAR) + watts / 1000 * kwh
