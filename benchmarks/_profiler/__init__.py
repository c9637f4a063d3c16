"""Parts of the profiler benchmark."""
