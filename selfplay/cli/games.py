"""sparring games: stored games, found, read and written as data."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .common import console, print_json
from .options import parse, positional

if TYPE_CHECKING:
    from rich.console import Console

    from ..storage.game_files import GameFile, StoredGame, Unreadable


@dataclass(frozen=True)
class Games:
    """Prints games of a run, a tournament or a file of games, unedited; lists them, or writes them as data.

    Filters are those of the report's page: role, agent, result and text are of one role of a game, which is
    meant where all hold of it. Lines that cannot be read are named and left out.

    Examples:
      sparring games runs/x
      sparring games runs/x --round all --list --result won --role defender
      sparring games runs/x/rounds/001/games.jsonl.gz --text "a kind of" --count 5
      sparring games runs/x --round all --out talk.jsonl --format messages --result won
      sparring games runs/x --round all --out games.parquet --format parquet
    """

    path: Path
    """A run folder, a tournament's folder, or a file of games (.jsonl or .jsonl.gz)."""
    round: int | Literal["last", "all"] = "last"
    """Of a run: which round."""
    role: str | None = None
    """A role of the game: attacker, defender."""
    agent: str | None = None
    """Who plays the role, with or without the folders before the name."""
    result: Literal["won", "lost", "tied", "void"] | None = None
    """What the game was for the role; without a role or an agent, for either."""
    text: str | None = None
    """What the role says somewhere, in capitals or not."""
    reason: str | None = None
    """How the game ended: uttered, declared_right, ..."""
    word: str | None = None
    """The secret word."""
    id: str | None = None
    """The game's own, as lists and pages show it."""
    first: int = 0
    """How many games that fit are passed over."""
    count: int | None = None
    """How many are taken, None: 3 to be printed, all to be listed or written."""
    list: bool = False
    """A line for each game instead of the whole talk."""
    json: bool = False
    """One JSON object a line instead: the games as they are stored, or what was written."""
    out: Path | None = None
    """Write them as data to this new file instead."""
    format: Literal["games", "spag", "spag-rows", "messages", "prompt-completion", "preference", "parquet"] = "games"
    """games (as in a run folder), spag and spag-rows (SPAG's files), messages, prompt-completion and
    preference (TRL's, of the roles that fit), parquet (a table of games, extra parquet)."""
    prompts: str = "full"
    """What messages tell of the rules: full, brief (as sparring-mini is told them), or a JSON file of
    prompts."""


def games(arguments: list[str]) -> int:
    """Finds games of a run, a tournament or a file; prints them, or writes them as data."""
    options: Games = parse(positional(Games), "sparring games", arguments)

    from sparring.envs.views import printable

    from ..storage.game_files import Unreadable

    if options.first < 0 or (options.count is not None and options.count < 1):
        raise ValueError("--first must be at least 0, and --count at least 1")
    if options.out is not None and options.format == "preference" and options.result is not None:
        raise ValueError("preferences pair a game won with a game lost by one role; leave out --result")
    unreadable = Unreadable(lambda message: print(f"sparring games: {printable(message)}", file=sys.stderr))
    several = 3 if options.out is None and not options.list else None
    count = options.count if options.count is not None else several
    chosen = islice(_chosen(options, unreadable), options.first, None if count is None else options.first + count)
    done = _print(options, chosen) if options.out is None else _write(options, options.out, chosen, unreadable)
    if unreadable.count:
        print(f"sparring games: {unreadable.total}", file=sys.stderr)
    if not done:
        raise ValueError("no game fits these options")
    return 0


def _chosen(options: Games, unreadable: "Unreadable") -> "Iterator[tuple[StoredGame, tuple[str, ...]]]":
    """The games that fit, each with the roles that do."""
    from ..storage.game_files import read_games
    from ..storage.selection import Selection

    wanted = Selection(options.role, options.agent, options.result, options.text, options.reason, options.word, options.id)
    for stored in read_games(_files(options), unreadable):
        roles = wanted.roles(stored.episode.record)
        if roles:
            yield stored, roles


def _files(options: Games) -> "list[GameFile]":
    from ..storage.game_files import game_files

    files = game_files(options.path)
    rounds = [file.round for file in files if file.round is not None]
    if options.round == "all" or (options.round == "last" and not rounds):
        return files
    wanted = rounds[-1] if options.round == "last" else options.round
    if wanted not in rounds:
        there = f"it has rounds {rounds[0]} to {rounds[-1]}" if rounds else "it is no run; leave out --round"
        raise ValueError(f"{options.path} has no games of round {wanted}; {there}")
    return [file for file in files if file.round == wanted]


def _print(options: Games, chosen: "Iterator[tuple[StoredGame, tuple[str, ...]]]") -> int:
    """How many games were printed."""
    terminal, count = console(), 0
    for stored, _ in chosen:
        count += 1
        game = stored.episode.record
        if options.json:
            print_json(game)
        elif options.list:
            print(listed(stored))
        else:
            terminal.print(f"game {stored.number}{f' of {stored.file.name}' if stored.file.name else ''}")
            show_game(terminal, game)
    return count


def _write(
    options: Games,
    out: Path,
    chosen: "Iterator[tuple[StoredGame, tuple[str, ...]]]",
    unreadable: "Unreadable",
) -> int:
    """How many games were written."""
    from sparring.envs.games import registered as _games  # noqa: F401  registers the games
    from sparring.envs.games.prompts import load_prompts

    from ..data.stored_talk import export

    written = export(out, options.format, chosen, load_prompts(options.prompts), unreadable)
    if options.json:
        print_json({"file": str(out), "format": options.format, "unreadable": unreadable.count, **written._asdict()})
    else:
        print(f"wrote {out}: {written.entries:,} entries ({options.format}) of {written.games:,} games")
    return written.games


def listed(stored: "StoredGame") -> str:
    """A game in a line: where it is, its word, how it ended, who played."""
    from sparring.envs.views import one_line

    from ..storage.episodes import verdict
    from ..storage.selection import agent_name

    game = stored.episode.record
    agents = " / ".join(dict.fromkeys(one_line(agent_name(str(player.get("agent", "")))) for player in game.get("players", {}).values()))
    where = " ".join(filter(None, (stored.file.name, one_line(game["id"]))))
    word, turns = one_line(game["task"]["secret"]), len(game["utterances"])
    return f"{where:<20} {word:<14} {turns:>2} utterances  {agents}  {verdict(game)}"


def show_game(console: "Console", game: dict[str, Any]) -> None:
    """One game, with what decided it highlighted and named in the verdict. What models said is printed as
    it is, never as markup."""
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
