"""Versions of the file formats: one of another version is refused in a sentence."""

RUN = 2
"""Of a run folder: its settings, measurements, checkpoints' states and metrics."""
EPISODES = 2
"""Of a line of games."""
STREAMS = 2
"""Of a round's token streams."""
SUMMARY = 3
"""Of summary.json."""


def require_schema(found: object, wanted: int, name: str) -> None:
    """Raises ValueError where a file's schema is not the one that is read."""
    if found != wanted:
        raise ValueError(f"{name} has schema {found!r}, but this version reads schema {wanted} (sparring 0.1 reads older ones)")
