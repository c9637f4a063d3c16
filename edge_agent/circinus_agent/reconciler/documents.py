"""Which documents may be applied."""

from __future__ import annotations

from circinus.messages import Desired, body_hash
from circinus_agent.reconciler.model import local_keys

__all__ = ["out_of_order", "problem_of"]


def problem_of(desired: Desired, device: str) -> str | None:
    """Why a document must not be applied on `device`; None where it may."""
    if desired.device != device:
        return f"it is for {desired.device}, this is {device}"
    if desired.version < 1:
        return f"version {desired.version} is below 1"
    if body_hash(desired.body) != desired.hash:
        return f"the hash of version {desired.version} does not match its content"
    keys = {spec.key for spec in desired.body.instances}
    missing = sorted(local_keys(device, desired.body.routes) - keys)
    if missing:
        return f"a route of version {desired.version} needs {missing[0]}, which is not in it"
    return None


def out_of_order(desired: Desired, newest: Desired) -> str | None:
    """Why `desired` must not follow `newest` of the same store; None where it may."""
    if desired.version < newest.version:
        return f"version {desired.version} is older than {newest.version}"
    if desired.version == newest.version:
        return f"version {desired.version} was given out with another content before"
    return None
