"""Runs killed at any point, servers and model families that must agree."""
