"""sparring games: the games of a run, read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import console, print_json
from .options import parse, positional

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Games:
    """Prints games of a run, unedited.

    Examples:
      sparring games runs/x
      sparring games runs/x --round 1 --first 10 --count 5
    """

    run: Path
    """A run folder."""
    round: int | None = None
    """Which round; None: the last one."""
    first: int = 0
    """Number of the first game shown."""
    count: int = 3
    """How many."""
    word: str | None = None
    """Only games about this word."""
    json: bool = False
    """Print one JSON object a line instead."""


def games(arguments: list[str]) -> int:
    """Prints games of a run, unedited."""
    options: Games = parse(positional(Games), "sparring games", arguments)

    from ..storage.episodes import read_episodes
    from ..storage.folder import RunFolder

    folder = RunFolder.open(options.run)
    there = folder.played()
    if not there:
        raise ValueError(f"{options.run} has no games yet")
    number = there[-1] if options.round is None else options.round
    if number not in there:
        raise ValueError(f"{options.run} has no games of round {number}; it has rounds {there[0]} to {there[-1]}")
    terminal = console()
    shown = 0
    for place, episode in enumerate(read_episodes(folder.games(number))):
        if place < options.first or (options.word is not None and episode.task.secret != options.word):
            continue
        if shown == options.count:
            break
        shown += 1
        if options.json:
            print_json(episode.record)
        else:
            terminal.print(f"game {place} of round {number}")
            show_game(terminal, episode.record)
    if not shown:
        raise ValueError("no game fits these options")
    return 0


def show_game(console: "Console", game: dict[str, Any]) -> None:
    """One game, with what decided it highlighted and named in the verdict. What models said is printed as it is, never as markup."""
    from rich.text import Text

    from sparring.envs.views import INSET, one_line, printable

    from ..storage.episodes import verdict

    evidence = game["outcome"]["evidence"]
    if game["task"]["secret"]:
        console.print(Text(f"secret word: {one_line(game['task']['secret'])}", style="bold"))
    for turn, utterance in enumerate(game["utterances"]):
        text = Text(printable(utterance["text"]))
        if evidence and evidence["turn"] == turn:
            text.stylize("bold reverse", evidence["start"], evidence["end"])
        lines = Text(f"\n{INSET}").join(text.split("\n", allow_blank=True))
        console.print(Text(f"  {one_line(utterance['role'])}: ").append_text(lines))
    console.print(Text(f"  -- {verdict(game)}\n", style="bold"))
