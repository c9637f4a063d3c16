"""Which devices there are, and which of them are there now.

Birth and will share one retained topic and may overtake one another; boot id and session sort
them out, no clock of a device does:

* within an incarnation (boot id), a message of a session before the last is ignored,
* a will of an incarnation that is not the present one takes nobody offline: if it is the present
  one's after all, its silence tells soon enough,
* an incarnation that another one replaced comes back by a birth with a session it never had, or,
  while the present one is away, by a sign of life. It was never gone then: two agents use one id
  (a copied disk), which is told, and each takes the broker's connection from the other until one
  is stopped.

A device that is online and silent for `liveness_s` counts as offline until it is heard again,
unless it is the coordinator itself that is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from circinus.messages import Capabilities, Status, Telemetry

__all__ = ["DeviceChange", "DeviceState", "Incarnation", "Registry"]

# Enough to outlast any message still on its way; a device that restarts in a loop stays bounded.
_REMEMBERED_BOOTS = 16
# Two agents of one id meet at least every reconnect, whose pauses grow to 8 s.
_CONTESTED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """An earlier start of an agent, with the last that is known of it.

    Attributes:
        ended: Its last session is known to be over.
        until_s: When another one took its place.
    """

    boot_id: str
    session: int
    ended: bool
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """What is known of a device.

    Attributes:
        id: Identifier.
        boot_id: Of the present incarnation; empty before its first birth.
        session: Its last session; commands are addressed to it.
        online: Born and not silent.
        heard_s: When it was last heard of, on the coordinator's clock; None if not since start.
        lost_s: When it went offline; None while online.
        capabilities: Its last report.
        retired: Earlier incarnations, the latest last.
        contested_s: When two agents were last found to use this id; None if never.
        ended: Its last session is known to be over: only a birth brings it back.
    """

    id: str
    boot_id: str = ""
    session: int = 0
    online: bool = False
    heard_s: float | None = None
    lost_s: float | None = None
    capabilities: Capabilities | None = None
    retired: tuple[Incarnation, ...] = ()
    contested_s: float | None = None
    ended: bool = False

    def earlier(self, boot_id: str) -> Incarnation | None:
        """What is known of an earlier incarnation; None if it is not one."""
        return next((one for one in self.retired if one.boot_id == boot_id), None)

    def warning(self, now: float) -> str | None:
        """What somebody should look after: that two agents use this id."""
        if self.contested_s is None or now - self.contested_s >= _CONTESTED_S:
            return None
        return f"another agent uses the id {self.id!r}: start one of them with another --device"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """A device came, went, started anew or is another than before.

    Attributes:
        device: Its id.
        online: None where that did not change.
        session: It has a new session: commands sent before are void.
        capabilities: What it is or has changed.
        contested: It was found that two agents use this id.
        cause: For people.
    """

    device: str
    online: bool | None = None
    session: bool = False
    capabilities: bool = False
    contested: bool = False
    cause: str = ""


@dataclass(slots=True)
class Registry:
    """All devices; every method takes the present time in seconds and returns what changed.

    Args:
        liveness_s: Silence after which a device counts as offline.
        known: From the store; they count as offline since `now` until heard of.
    """

    liveness_s: float
    _devices: dict[str, DeviceState] = field(default_factory=dict)
    _connected: bool = True

    def restore(self, known: Iterable[DeviceState], now: float) -> None:
        """Take over what an earlier coordinator knew."""
        for state in known:
            self._devices[state.id] = replace(state, online=False, heard_s=None, lost_s=now)

    @property
    def devices(self) -> Mapping[str, DeviceState]:
        """By id, in order of id."""
        return dict(sorted(self._devices.items()))

    def get(self, device: str) -> DeviceState | None:
        """One device."""
        return self._devices.get(device)

    def is_online(self, device: str) -> bool:
        """Known and online."""
        state = self._devices.get(device)
        return state is not None and state.online

    def is_present(self, device: str, boot_id: str) -> bool:
        """This incarnation is the device's present one, online or not."""
        state = self._devices.get(device)
        return state is not None and state.boot_id == boot_id

    def status(self, message: Status, now: float) -> list[DeviceChange]:
        """A birth or a will."""
        state = self._devices.get(message.device) or DeviceState(id=message.device, lost_s=now)
        earlier = state.earlier(message.boot_id)
        if earlier is not None:
            return self._not_gone(state, earlier, message, now)
        same_boot = message.boot_id == state.boot_id
        if same_boot and message.session < state.session:
            return []
        if not message.online:
            return self._will(state, message, same_boot, now)
        return self._born(state, message.boot_id, message.session, now)

    def _born(
        self, state: DeviceState, boot_id: str, session: int, now: float, cause: str = ""
    ) -> list[DeviceChange]:
        """This incarnation is the present one, and is there."""
        same_boot = boot_id == state.boot_id
        retired = tuple(one for one in state.retired if one.boot_id != boot_id)
        if not same_boot and state.boot_id:
            replaced = Incarnation(
                boot_id=state.boot_id, session=state.session, ended=state.ended, until_s=now
            )
            retired = (*retired, replaced)[-_REMEMBERED_BOOTS:]
        self._devices[state.id] = replace(
            state,
            boot_id=boot_id,
            session=session,
            online=True,
            heard_s=now,
            lost_s=None,
            retired=retired,
            ended=False,
        )
        new_session = not same_boot or session > state.session
        if state.online and not new_session:
            return []
        return [
            DeviceChange(
                device=state.id,
                online=None if state.online else True,
                session=new_session,
                cause=cause or ("connected" if same_boot else "started"),
            )
        ]

    def _not_gone(
        self, state: DeviceState, earlier: Incarnation, message: Status, now: float
    ) -> list[DeviceChange]:
        """A birth or a will of an incarnation that was replaced."""
        if message.online:
            if message.session <= earlier.session:
                return []  # overtaken
            back = self._born(state, message.boot_id, message.session, now, "connected")
            return [*back, *self._contested(state.id, now)]
        if message.session >= earlier.session:
            over = replace(earlier, session=message.session, ended=True)
            retired = tuple(over if one is earlier else one for one in state.retired)
            self._devices[state.id] = replace(state, retired=retired)
        return []

    def _contested(self, device: str, now: float) -> list[DeviceChange]:
        """Two agents use this id: told once per dispute."""
        state = self._devices[device]
        self._devices[device] = replace(state, contested_s=now)
        if state.warning(now):
            return []
        cause = self._devices[device].warning(now) or ""
        return [DeviceChange(device=device, contested=True, cause=cause)]

    def _will(
        self, state: DeviceState, message: Status, same_boot: bool, now: float
    ) -> list[DeviceChange]:
        if not same_boot:
            # Known by its will alone: worth listing, and its later birth has a larger session.
            if message.device not in self._devices:
                self._devices[state.id] = replace(
                    state, boot_id=message.boot_id, session=message.session, ended=True
                )
                return [DeviceChange(device=state.id, cause="known to be offline")]
            return []
        was_online = state.online
        self._devices[state.id] = replace(
            state,
            session=message.session,
            online=False,
            ended=True,
            lost_s=now if was_online or state.lost_s is None else state.lost_s,
        )
        cause = "said good-bye" if message.clean else "connection lost"
        return [DeviceChange(device=state.id, online=False, cause=cause)] if was_online else []

    def capabilities(self, message: Capabilities, now: float) -> list[DeviceChange]:
        """A report of what a device is and has."""
        state = self._devices.get(message.device) or DeviceState(id=message.device, lost_s=now)
        if state.earlier(message.boot_id) is not None:
            return []
        changed = _lasting(state.capabilities) != _lasting(message)
        self._devices[state.id] = replace(state, capabilities=message)
        if not changed:
            return []
        return [DeviceChange(device=state.id, capabilities=True, cause="capabilities reported")]

    def telemetry(self, message: Telemetry, now: float) -> list[DeviceChange]:
        """A sign of life."""
        return self.heard(message.device, message.boot_id, now)

    def heard(self, device: str, boot_id: str, now: float) -> list[DeviceChange]:
        """Any message of the present incarnation shows it is there, unless its session ended.

        One of an earlier incarnation shows that this was not replaced after all.
        """
        state = self._devices.get(device)
        if state is None:
            return []
        earlier = state.earlier(boot_id)
        if earlier is not None and not earlier.ended:
            if not state.online:
                return self._born(state, boot_id, earlier.session, now, "heard again")
            # Within this time it may have been on its way since before the replacement.
            late = now - earlier.until_s >= self.liveness_s
            return self._contested(device, now) if late else []
        if state.boot_id != boot_id or state.ended:
            return []
        self._devices[device] = replace(state, heard_s=now, online=True, lost_s=None)
        if state.online:
            return []
        return [DeviceChange(device=device, online=True, cause="heard again")]

    def link(self, *, up: bool, now: float) -> None:
        """The coordinator's own connection came or went: silence meanwhile means nothing."""
        back = up and not self._connected
        self._connected = up
        if back:
            for device, state in self._devices.items():
                if state.online:
                    self._devices[device] = replace(state, heard_s=now)

    def tick(self, now: float) -> list[DeviceChange]:
        """Time passed."""
        if not self._connected:
            return []
        changes = []
        for device, state in self._devices.items():
            heard_s = now if state.heard_s is None else state.heard_s
            if state.online and now - heard_s >= self.liveness_s:
                self._devices[device] = replace(state, online=False, lost_s=now)
                changes.append(DeviceChange(device=device, online=False, cause="silent"))
        return changes

    def present(self, now: float, grace_s: float) -> list[DeviceState]:
        """Devices that plans may count on: online, or lost for less than `grace_s`; by id."""
        return [
            state
            for state in self.devices.values()
            if state.online or (state.lost_s is not None and now - state.lost_s < grace_s)
        ]


def _lasting(message: Capabilities | None) -> tuple[object, ...] | None:
    """What of the capabilities matters to plans and probes: not boot id nor temperature."""
    if message is None:
        return None
    return (
        message.device_class,
        message.tier,
        message.cores,
        message.memory_mb,
        message.accelerators,
        message.providers,
        message.operators,
        message.endpoint,
        message.emulation,
    )
