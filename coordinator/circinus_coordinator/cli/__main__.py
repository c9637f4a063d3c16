"""``python -m circinus_coordinator.cli``: the command line without its script."""

from circinus_coordinator.cli.app import main

main()
