"""Opponents in training beside the mirror: past checkpoints of the run and fixed agents."""
