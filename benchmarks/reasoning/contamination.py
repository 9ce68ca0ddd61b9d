"""How much of a benchmark's questions stands word for word in what a model was trained on.

A question counts as seen where a sequence of `WORDS` of its words (all of them, where it has fewer) occurs in
the material: games, supervised data, the SFT mix. What many questions of a task have in common, such as an
instruction, is no evidence and is left out. Words are compared without case and punctuation. Letters:
material is a stream of texts and is never held in memory.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sparring.selfplay.config.config import BASE_TEXTS, NO_MIX, TrainConfig
from sparring.selfplay.config.yaml_io import load
from sparring.selfplay.mini.corpus import conversations
from sparring.selfplay.storage.folder import RunFolder

WORDS = 8
COMMON = 0.05
"""What so large a share of a task's questions has in common is its instruction."""
CONVERSATIONS = 20_000
"""Of the embedded model's endless base texts so many are searched."""

Gram = tuple[str, ...]


class Overlap(NamedTuple):
    """One task. seen: numbers of the questions of which a sequence occurs in the material; example: one
    such sequence, empty for none."""

    questions: int
    seen: tuple[int, ...]
    example: str


def overlaps(tasks: Mapping[str, Sequence[str]], material: Iterable[str], words: int = WORDS) -> dict[str, Overlap]:
    """By task, which of its questions (texts, options included) share a sequence of words with the material."""
    asked: dict[Gram, list[tuple[str, int]]] = {}
    for task, texts in tasks.items():
        grams = [set(_grams(text, words)) for text in texts]
        common = Counter(gram for own in grams for gram in own)
        for number, own in enumerate(grams):
            for gram in own:
                if common[gram] <= max(1, COMMON * len(texts)):
                    asked.setdefault(gram, []).append((task, number))
    sizes = sorted({len(gram) for gram in asked})
    seen: dict[str, dict[int, Gram]] = {task: {} for task in tasks}
    for text in material:
        split = _words(text)
        for size in sizes:
            for i in range(len(split) - size + 1):
                for task, number in asked.get(tuple(split[i : i + size]), ()):
                    seen[task].setdefault(number, tuple(split[i : i + size]))
    return {
        task: Overlap(len(texts), tuple(sorted(seen[task])), " ".join(next(iter(seen[task].values()), ()))) for task, texts in tasks.items()
    }


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _grams(text: str, words: int) -> Iterator[Gram]:
    split = _words(text)
    size = min(words, len(split))
    return (tuple(split[i : i + size]) for i in range(len(split) - size + 1) if size)


def material_of(places: Sequence[str]) -> Iterator[str]:
    """All texts of runs (their games, supervised data and SFT mix), of JSON, JSON lines or text files,
    plain or gzipped, and of `base`, the embedded model's base texts. Raises ValueError for a place that is
    none of these."""
    for place in places:
        if place == BASE_TEXTS:
            yield from (message.content for chat in islice(conversations(0), CONVERSATIONS) for message in chat)
        elif Path(place).is_dir():
            yield from _of_run(RunFolder.open(Path(place)))
        else:
            yield from _of_file(Path(place))


def _of_run(run: RunFolder) -> Iterator[str]:
    config = load(run.config, TrainConfig)
    for number in run.played():
        yield from _of_file(run.games(number))
    mixed = [] if config.sft_mix.source == NO_MIX else [config.sft_mix.source]
    yield from material_of([*([str(config.sft.data)] if config.sft.data else []), *mixed])


def _of_file(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as file:
            if path.name.removesuffix(".gz").endswith(".json"):
                yield from _strings(json.load(file))
                return
            for line in file:
                yield from _strings(json.loads(line)) if line[:1] in "{[" else (line,)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as training material: {error}") from error


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for value in data.values() if isinstance(data, dict) else data:
            yield from _strings(value)
