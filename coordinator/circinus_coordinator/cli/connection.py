"""The option that names the coordinator, and the client behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from circinus_coordinator.api.client import DEFAULT_API

__all__ = ["with_api"]

F = TypeVar("F", bound=Callable[..., Any])


def with_api(function: F) -> F:
    """The option ``--api``, or the environment's ``CIRCINUS_API``."""
    return click.option(
        "--api",
        default=DEFAULT_API,
        show_default=True,
        envvar="CIRCINUS_API",
        metavar="HOST:PORT",
        help="Where the coordinator is; or set CIRCINUS_API.",
    )(function)
