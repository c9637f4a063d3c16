"""Where a broker is: ``mqtt://host:1883`` or ``mqtts://user:password@host``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from circinus.errors import InvalidInput

__all__ = ["BrokerAddress"]

# Registered with IANA for MQTT in the clear and over TLS.
PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Host, port and credentials of a broker."""

    host: str
    port: int = 1883
    tls: bool = False
    username: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidInput("a broker address needs a host", remedy="mqtt://HOST:PORT")
        if not 0 < self.port < 65536:
            raise InvalidInput(f"{self.port} is no port", remedy="choose 1 to 65535")

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """The address that `url` names; a bare ``host`` or ``host:port`` means ``mqtt://``.

        Raises:
            InvalidInput: not an MQTT URL.
        """
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        if parts.scheme not in PORTS:
            raise InvalidInput(
                f"{parts.scheme}:// is no MQTT address", remedy="use mqtt:// or mqtts://"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise InvalidInput(f"{url} has more than host and port", remedy="mqtt://HOST:PORT")
        try:
            port = parts.port
        except ValueError:
            raise InvalidInput(f"{url} has no valid port", remedy="choose 1 to 65535") from None
        return cls(
            host=parts.hostname or "",
            port=PORTS[parts.scheme] if port is None else port,
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    @property
    def url(self) -> str:
        """The address as a URL, with the user but never with the password."""
        user = f"{quote(self.username, safe='')}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{user}{host}:{self.port}"

    def __str__(self) -> str:
        return self.url
