"""A training run: how it begins, its rounds, its evaluations, its interruptions."""
