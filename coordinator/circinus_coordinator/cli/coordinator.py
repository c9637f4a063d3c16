"""``circinus coordinator``: the daemon, its API and its broker."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from circinus.errors import InvalidInput
from circinus_coordinator.api.client import DEFAULT_API

if TYPE_CHECKING:
    from circinus_coordinator.daemon import BrokerSettings

__all__ = ["coordinator"]

DEFAULT_BROKER_PORT = 1883


@click.command()
@click.option(
    "--fleet",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Tiers, device classes and links, as a scenario file has them.",
)
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Where the store is.")
@click.option(
    "--api",
    default=DEFAULT_API,
    show_default=True,
    metavar="HOST:PORT",
    help="Where the HTTP API listens.",
)
@click.option(
    "--broker",
    metavar="KIND|URL",
    help="auto, mosquitto or embedded: start one; or mqtt://HOST:PORT.",
)
@click.option(
    "--broker-port",
    type=click.IntRange(0, 65535),
    help="Port of the broker to start; 0 for any free one.  [default: 1883]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with these and further settings.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
)
def coordinator(
    fleet: Path | None,
    data: Path | None,
    api: str,
    broker: str | None,
    broker_port: int | None,
    config: Path | None,
    log_level: str,
) -> int:
    """Run the coordinator until it is told to stop (Ctrl-C, SIGTERM); agents go on serving."""
    import asyncio
    import logging

    from circinus_coordinator.api.app import parse_address
    from circinus_coordinator.cli.settings import load_settings
    from circinus_coordinator.cli.shell import run_coordinator

    host, port = parse_address(api)
    overrides: dict[str, Any] = {"fleet": fleet, "store": data}
    overrides = {key: value.absolute() for key, value in overrides.items() if value is not None}
    settings = load_settings(config, overrides)
    settings = _with_broker(settings, broker, broker_port)
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("alembic", "amqtt", "transitions"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.root.level))
    asyncio.run(run_coordinator(settings, host, port))
    return 0


def _with_broker(settings: Any, broker: str | None, port: int | None) -> Any:
    import dataclasses

    chosen = settings.broker
    if broker is not None:
        chosen = parse_broker(broker)
    if port is not None:
        if chosen.host is not None:
            raise InvalidInput(
                "is for a broker to start", key="--broker-port", remedy="put it into the URL"
            )
        chosen = dataclasses.replace(chosen, port=port)
    return dataclasses.replace(settings, broker=chosen)


def parse_broker(text: str) -> BrokerSettings:
    """What ``--broker`` means.

    Raises:
        InvalidInput: If it is neither a kind nor an ``mqtt://`` URL.
    """
    from circinus_coordinator.daemon import BrokerSettings

    if text in ("auto", "mosquitto", "embedded"):
        return BrokerSettings(kind=text)
    wrong = InvalidInput(
        f"{text!r} is no broker",
        key="--broker",
        remedy="auto, mosquitto, embedded, or mqtt://[USER:PASSWORD@]HOST[:PORT]",
    )
    try:
        url = urllib.parse.urlsplit(text)
        port = url.port
    except ValueError:
        raise wrong from None
    if url.scheme != "mqtt" or not url.hostname or url.path not in ("", "/"):
        raise wrong
    return BrokerSettings(
        host=url.hostname,
        port=port or DEFAULT_BROKER_PORT,
        username=urllib.parse.unquote(url.username) if url.username else None,
        password=urllib.parse.unquote(url.password) if url.password else None,
    )
