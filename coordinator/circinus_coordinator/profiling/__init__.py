"""The profiler: what is to be measured, where, and when it is enough."""

from circinus_coordinator.profiling.settings import ProfilingSettings

__all__ = ["ProfilingSettings"]
