"""The agent: capabilities, probes, reconciler, operator runtime and data plane."""
