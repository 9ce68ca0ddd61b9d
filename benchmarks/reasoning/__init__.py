"""Reasoning before and after training."""
