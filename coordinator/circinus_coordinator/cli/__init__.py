"""The ``circinus`` command line."""

from circinus_coordinator.cli.app import main

__all__ = ["main"]
