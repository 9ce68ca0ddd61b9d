"""Reasoning before and after training, playing strength, and speed."""
