"""Studies over seeds, with controls."""
