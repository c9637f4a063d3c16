"""Finds the files that come with the package: the device classes and the examples."""

from __future__ import annotations

from pathlib import Path

from circinus.errors import InvalidInput

__all__ = ["resource"]

PACKAGE = Path(__file__).resolve().parent.parent


def resource(name: str) -> Path:
    """The folder `name` (``devices``, ``examples``) of the installed package or of the checkout.

    Raises:
        InvalidInput: If this installation came without it.
    """
    for root in (PACKAGE / "_data", *PACKAGE.parents[:2]):
        if (root / name).is_dir():
            return root / name
    raise InvalidInput(
        f"this installation has no {name!r} folder",
        remedy="install the wheel, or run from a checkout",
    )
