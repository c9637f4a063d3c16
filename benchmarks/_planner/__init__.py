"""What `benchmarks.planner` is made of: options, cases, runs, comparisons, and what is written."""
