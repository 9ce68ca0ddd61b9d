"""Words by frequency. No other module imports wordfreq (Robyn Speer; a frozen list of English words, data CC
BY-SA 4.0)."""

from functools import lru_cache

from wordfreq import top_n_list


@lru_cache(maxsize=4)
def ranked(n: int) -> tuple[str, ...]:
    """The n most frequent English words, most frequent first."""
    return tuple(top_n_list("en", n))
