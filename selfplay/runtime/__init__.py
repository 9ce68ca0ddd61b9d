"""Processes, signals and progress bars: what surrounds a run."""
