"""Speed and size, measured: `make bench`, or one of them by `circinus bench NAME`."""
