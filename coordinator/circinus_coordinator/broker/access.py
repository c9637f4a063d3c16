"""Who may use which topic, for either broker from one rule.

A client that gives a user name is held to it: a device, named by its id, publishes only under its
own ``up/`` and reads only its own ``down/`` and the coordinator's status. The coordinator's name
may do everything, and so may a client without a name, on whatever address the broker listens:
`start_broker` warns of one beyond the loopback.
"""

from __future__ import annotations

import enum

from circinus.topics import COORDINATOR_STATUS, ROOT

__all__ = ["COORDINATOR_USER", "Access", "may", "mosquitto_acl"]

COORDINATOR_USER = "coordinator"


class Access(enum.Enum):
    """What a client wants to do with a topic."""

    WRITE = "write"
    READ = "read"


def may(user: str | None, access: Access, topic: str) -> bool:
    """Whether `user` may publish to, or be sent, a message of `topic`."""
    if not user or user == COORDINATOR_USER:
        return True
    if access is Access.WRITE:
        return topic.startswith(f"{ROOT}/d/{user}/up/")
    return topic.startswith(f"{ROOT}/d/{user}/down/") or topic == COORDINATOR_STATUS


def mosquitto_acl() -> str:
    """The same rule in Mosquitto's words.

    ``%u`` is the user name; ``%c``, the client id, would be the client's own choice.
    """
    return f"""\
topic readwrite #

user {COORDINATOR_USER}
topic readwrite #

pattern write {ROOT}/d/%u/up/#
pattern read {ROOT}/d/%u/down/#
pattern read {COORDINATOR_STATUS}
"""
