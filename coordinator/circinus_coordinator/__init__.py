"""The coordinator: registry, profiler, planner, rollout, monitor, store, API and CLI."""
