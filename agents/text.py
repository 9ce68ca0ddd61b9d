"""Texts from outside for use in our messages."""


def one_line(value: object, most: int = 300) -> str:
    """A text or a library's error as one short line that a terminal can show."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)[: 10 * most]).split()) or type(value).__name__
    return text if len(text) <= most else f"{text[: most - 3]}..."
