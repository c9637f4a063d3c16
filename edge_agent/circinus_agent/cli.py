"""The agent's command line; everything heavy is imported only when it is needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from circinus import __version__
from circinus.errors import CircinusError, InvalidInput

__all__ = ["build_parser", "main"]

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2


def build_parser() -> argparse.ArgumentParser:
    """The parser; flags and the file's keys mean the same."""
    parser = argparse.ArgumentParser(
        prog=os.environ.get("CIRCINUS_PROG", "circinus-agent"),
        description="Runs operators on this device as a Circinus coordinator plans them.",
        epilog="Exit codes: 0 ended in order, 1 failed, 2 bad settings.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"circinus-agent {__version__}")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["run", "capabilities"],
        default="run",
        help="run (default), or print what this device is and has as JSON",
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with the settings")
    parser.add_argument("--device", metavar="ID", help="this device's id in the fleet")
    parser.add_argument("--class", dest="device_class", metavar="NAME", help="its device class")
    parser.add_argument("--tier", metavar="NAME", help="its tier: device, edge, cloud, ...")
    parser.add_argument(
        "--broker", metavar="HOST[:PORT]", help="MQTT broker, or mqtts://HOST (127.0.0.1:1883)"
    )
    parser.add_argument(
        "--listen", metavar="HOST[:PORT]", help="data plane and HTTP (127.0.0.1:7400; port 0: any)"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="ws://HOST:PORT that inner devices dial, or auto"
    )
    parser.add_argument("--state", metavar="DIR", help="folder for what outlives a restart")
    parser.add_argument("--cache-quota-mb", type=float, metavar="MB", help="room for artifacts")
    parser.add_argument(
        "--path", action="append", metavar="DIR", help="folder with operators (repeatable)"
    )
    parser.add_argument(
        "--hang-timeout",
        type=float,
        metavar="SECONDS",
        help="a batch that takes longer is a hang; its process is killed (60)",
    )
    parser.add_argument("--slowdown", type=float, metavar="X", help="emulate a CPU X times slower")
    parser.add_argument("--cores", type=float, metavar="N", help="emulate N cores")
    parser.add_argument("--memory-mb", type=float, metavar="MB", help="emulate this much memory")
    parser.add_argument(
        "--link",
        action="append",
        metavar="PEER=RTT_MS,MBPS",
        help="emulate the link to a peer (repeatable)",
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], help="info by default"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        if arguments.command == "capabilities":
            return _capabilities(arguments)
        return _run(arguments)
    except InvalidInput as error:
        print(f"circinus-agent: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except CircinusError as error:
        print(f"circinus-agent: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:  # a full disk, no rights: nothing a traceback would explain
        where = f"{error.filename}: " if error.filename else ""
        print(f"circinus-agent: {where}{error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    from circinus_agent.config import load_config

    config = load_config(arguments.config, overrides(arguments))
    from circinus_agent.daemon import run

    return run(config)


def _capabilities(arguments: argparse.Namespace) -> int:
    """Print capabilities; works without any settings, to see what a new device offers."""
    from pathlib import Path

    from circinus_agent.config import load_config

    values = overrides(arguments)
    if arguments.config is None:
        unnamed = {"device": "unnamed", "device_class": "unknown", "tier": "device"}
        values = {**unnamed, "state_dir": str(Path.cwd()), **values}
    config = load_config(arguments.config, values)
    import msgspec

    from circinus_agent.capabilities import capabilities

    found = capabilities(config, boot_id="", cache_dir=None)
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    return EXIT_OK


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given, by dotted settings key."""
    values: dict[str, Any] = {
        "device": arguments.device,
        "device_class": arguments.device_class,
        "tier": arguments.tier,
        "state_dir": _absolute(arguments.state),
        "cache_quota_mb": arguments.cache_quota_mb,
        "path": [_absolute(folder) for folder in arguments.path] if arguments.path else None,
        "log_level": arguments.log_level,
        "data_plane.endpoint": arguments.endpoint,
        "runtime.hang_timeout_s": arguments.hang_timeout,
        "emulate.slowdown": arguments.slowdown,
        "emulate.cores": arguments.cores,
        "emulate.memory_mb": arguments.memory_mb,
    }
    if arguments.broker is not None and "://" in arguments.broker:
        values.update(_broker_url(arguments.broker))
    elif arguments.broker is not None:
        values["broker.host"], values["broker.port"] = _address(arguments.broker, "--broker")
    if arguments.listen is not None:
        values["data_plane.host"], values["data_plane.port"] = _address(
            arguments.listen, "--listen"
        )
    if arguments.link:
        values["emulate.links"] = [_link(text) for text in arguments.link]
    return {key: value for key, value in values.items() if value is not None}


def _broker_url(url: str) -> dict[str, Any]:
    from circinus.mqtt.address import BrokerAddress

    try:
        address = BrokerAddress.parse(url)
    except InvalidInput as error:
        raise error.within(key="--broker") from None
    names = ("host", "port", "tls", "username", "password")
    return {f"broker.{name}": getattr(address, name) for name in names}


def _absolute(folder: str | None) -> str | None:
    """Workers may run elsewhere, so that a relative path would mean another folder there."""
    return os.path.abspath(os.path.expanduser(folder)) if folder else None  # noqa: PTH100, PTH111


def _address(text: str, flag: str) -> tuple[str, int | None]:
    """Host and port of ``HOST[:PORT]`` or ``[V6][:PORT]``; no port leaves the file's."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    host = host.removeprefix("[").removesuffix("]")
    if (
        not host
        or (port and not port.isascii())
        or (port and not port.isdigit())
        or (colon and not port and not text.endswith("]"))
    ):
        raise InvalidInput(f"{text!r} is no address", key=flag, remedy="write HOST or HOST:PORT")
    return host, int(port) if port else None


def _link(text: str) -> dict[str, Any]:
    peer, _, figures = text.partition("=")
    rtt, _, bandwidth = figures.partition(",")
    try:
        return {"peer": peer, "rtt_ms": float(rtt), "bandwidth_mbps": float(bandwidth)}
    except ValueError:
        raise InvalidInput(
            f"{text!r} describes no link", key="--link", remedy="write PEER=RTT_MS,MBPS"
        ) from None
