from __future__ import annotations

import pytest

from circinus.errors import InvalidInput
from circinus.mqtt import BrokerAddress


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtt://broker:1999/", "broker", 1999, False),
        ("mqtts://broker", "broker", 8883, True),
        ("10.0.0.5:1884", "10.0.0.5", 1884, False),
        ("broker", "broker", 1883, False),
        ("mqtt://[::1]:1884", "::1", 1884, False),
    ],
)
def test_host_port_and_tls_are_read(url: str, host: str, port: int, tls: bool) -> None:
    address = BrokerAddress.parse(url)
    assert (address.host, address.port, address.tls) == (host, port, tls)


def test_credentials_are_unquoted() -> None:
    address = BrokerAddress.parse("mqtt://gate%2F3:p%40ss@broker")
    assert (address.username, address.password) == ("gate/3", "p@ss")


def test_url_shows_no_password() -> None:
    assert str(BrokerAddress.parse("mqtts://me:secret@broker")) == "mqtts://me@broker:8883"


@pytest.mark.parametrize(
    "url",
    ["http://broker", "mqtt://", "mqtt://broker:0", "mqtt://broker:70000", "mqtt://broker:x",
     "mqtt://broker/topic"],
)  # fmt: skip
def test_what_is_no_broker_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        BrokerAddress.parse(url)
