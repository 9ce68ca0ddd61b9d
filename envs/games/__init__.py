"""The games: their rules, and their prompts."""
