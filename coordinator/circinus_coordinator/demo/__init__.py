"""``circinus demo``: a whole fleet on one machine, with what is emulated said plainly."""
