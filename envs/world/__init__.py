"""The everyday world: facts, its small English, exact questions about it."""
