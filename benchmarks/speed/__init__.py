"""Games and tokens per second, beside the loops that people otherwise use."""
