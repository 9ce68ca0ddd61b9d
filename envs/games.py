"""The games that the project ships: importing this module registers them."""

from . import taboo, twenty_questions

__all__ = ["taboo", "twenty_questions"]
