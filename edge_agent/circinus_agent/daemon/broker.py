"""The agent's link to the broker: address, identity, presence."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from circinus import __version__
from circinus.errors import InvalidInput
from circinus.messages import Status, encode
from circinus.mqtt import BrokerAddress, MessageHandler, MqttLink, Presence, PresenceState
from circinus.topics import COORDINATOR_STATUS, DeviceTopics
from circinus_agent.config import AgentConfig, BrokerConfig

__all__ = ["make_link"]


def make_link(
    config: AgentConfig,
    boot_id: str,
    on_message: MessageHandler,
    on_birth: Callable[[], None],
) -> MqttLink:
    """The link, not yet running.

    Args:
        on_birth: Called at each connection, to write the retained topics anew: the broker may
            have lost them, or be another one.

    Raises:
        InvalidInput: If a certificate or key cannot be read.
    """
    broker, topics = config.broker, DeviceTopics(config.device)
    loop = asyncio.get_running_loop()

    def presence(state: PresenceState, boot: str, session: int) -> bytes:
        if state is PresenceState.BIRTH:
            loop.call_soon(on_birth)
        return encode(
            Status(
                device=config.device,
                boot_id=boot,
                session=session,
                online=state is PresenceState.BIRTH,
                clean=state is PresenceState.GOODBYE,
                version=__version__,
            )
        )

    return MqttLink(
        BrokerAddress(
            host=broker.host,
            port=broker.port,
            tls=broker.tls,
            # Without certificates a name proves nothing, but brokers started by the coordinator
            # hold a client to its own topics by it.
            username=broker.username or config.device,
            password=broker.password,
        ),
        client_id=f"circinus-{config.device}",
        on_message=on_message,
        subscriptions=[(topics.all_down, 1), (COORDINATOR_STATUS, 1)],
        presence=Presence(topic=topics.status, payload=presence),
        boot_id=boot_id,
        tls=_tls(broker),
    )


def _tls(broker: BrokerConfig) -> ssl.SSLContext | None:
    if not broker.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
        if broker.cert_file is not None:
            context.load_cert_chain(broker.cert_file, broker.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(
            f"certificates cannot be used: {error}",
            key="broker",
            remedy="check ca_file, cert_file and key_file",
        ) from None
    return context
