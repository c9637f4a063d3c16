"""Plans tried out in the simulator before they are promised. Pure; knows no clock."""

from circinus_coordinator.rehearsal.playing import Budget, Rehearsal, play

__all__ = ["Budget", "Rehearsal", "play"]
