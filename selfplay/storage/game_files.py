"""Where games lie: the game files of a run, of a tournament or of a path, read line by line. Knows no
results.

A line that cannot be read is reported and skipped: one that was damaged costs one game.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sparring.envs.text_files import read_lines
from sparring.envs.views import brief

from .episodes import EpisodeRecord, parse_record
from .folder import CONFIG, RunFolder

SHOWN_ERRORS = 10
"""Lines that could not be read and are named; of further ones there is the number."""


@dataclass(frozen=True)
class GameFile:
    """A file of games. name: how it is told from the others of its folder, such as "round 3"; empty of a
    single file. round: of a run's, None of others."""

    path: Path
    name: str = ""
    round: int | None = None


@dataclass(frozen=True)
class StoredGame:
    """A game read back. number: its place in its file, from 0."""

    file: GameFile
    number: int
    episode: EpisodeRecord


class Unreadable:
    """Lines that could not be read. messages: of the first, each with its file and line. count: of all."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self.messages: list[str] = []
        self.count = 0
        self._say = say

    def __call__(self, message: str) -> None:
        self.count += 1
        if self.count <= SHOWN_ERRORS:
            self.messages.append(message)
            self._say(message)

    @property
    def total(self) -> str:
        """How many, in a sentence; empty where there are none."""
        if not self.count:
            return ""
        lines, are = ("line", "is") if self.count == 1 else ("lines", "are")
        return f"{self.count:,} {lines} of game files could not be read and {are} left out"


def game_files(path: Path) -> list[GameFile]:
    """The files of games of a run folder, by round; of any other folder, a tournament's for instance, those
    called games*.jsonl or games*.jsonl.gz and those in its folder games, by name; or the file itself. Raises
    ValueError where there are none."""
    if path.is_file():
        return [GameFile(path)]
    if not path.is_dir():
        raise ValueError(f"{path}: no such run folder, tournament folder or file of games")
    if (path / CONFIG).is_file():
        folder = RunFolder(path)
        files = [GameFile(folder.games(number), f"round {number}", number) for number in folder.played()]
    else:
        found = [file for file in (*path.glob("games*.jsonl*"), *path.glob("games/*.jsonl*")) if file.suffix in (".jsonl", ".gz")]
        named = sorted((file.relative_to(path).as_posix().removesuffix(".gz").removesuffix(".jsonl"), file) for file in found)
        files = [GameFile(file, name * (len(named) > 1)) for name, file in named]
    if not files:
        raise ValueError(f"{path} has no games: it is neither a run that has played nor a folder with games*.jsonl.gz")
    return files


def count_games(files: Iterable[GameFile]) -> tuple[int, int]:
    """How many games some files hold, going by their lines, and how many characters."""
    games = characters = 0
    for file in files:
        try:
            for _, line in read_lines(file.path):
                games += 1
                characters += len(line) if isinstance(line, str) else 0
        except ValueError:
            continue  # said by `read_games`
    return games, characters


def read_games(
    files: Iterable[GameFile], unreadable: Callable[[str], None], keep: Callable[[int], bool] = lambda _: True
) -> Iterator[StoredGame]:
    """The games of some files, in order. unreadable: told of each line, and of each rest of a file, that is
    skipped. keep: which lines are read, by their number over all files, from 0."""
    total = 0
    for file in files:
        try:
            for number, (where, line) in enumerate(read_lines(file.path)):
                total += 1
                if not keep(total - 1):
                    continue
                try:
                    if isinstance(line, ValueError):
                        raise line
                    game = StoredGame(file, number, parse_record(line, where))
                except ValueError as error:
                    unreadable(brief(error))
                else:
                    yield game
        except ValueError as error:
            unreadable(brief(error))
