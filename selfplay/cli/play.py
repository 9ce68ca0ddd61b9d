"""sparring play: games against an agent, or between two."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any, TextIO, cast

from .common import console, json_line
from .games import show_game
from .matches import MatchOptions, bar_of, make, players, require_names, secrets, shown
from .options import parse

if TYPE_CHECKING:
    from ..evaluation.win_rates import Cell


@dataclass(frozen=True)
class Play(MatchOptions):
    """A person, or an agent, plays games against an agent.

    An agent is one of mini, mini@imitation, smollm2, scripted, scripted:NAME, random, silent, human, PATH, FILE.gguf, RUN@N, RUN@latest,
    hf:ID, openai:MODEL@URL, vllm:MODEL@URL. A person types what is said; /help explains, /quit or Ctrl-D leaves.

    Examples:
      sparring play --role defender --opponent mini@imitation
      sparring play --game TwentyQuestions --role answerer
      sparring play --game textarena:TicTacToe-v0 --opponent random
      sparring play --player runs/x@latest --role attacker --opponent scripted --games 200 --show 2 --json
      sparring play --player mini@imitation --opponent scripted --games 100000 --out games.jsonl.gz
      sparring play --player openai:llama3.2@http://127.0.0.1:11434/v1 --opponent mini@imitation --games 20
    """

    opponent: str = "mini@imitation"
    """The other player."""
    role: str | None = None
    """The player's: attacker or defender (TwentyQuestions: asker or answerer; TextArena: player_0 or player_1); None: who must find the
    word out, or player_0."""
    player: str = "human"
    """Who plays that role."""
    games: int = 3
    """How many games."""
    show: int = 3
    """How many of them are printed, each when it has ended; JSON holds all."""
    out: Path | None = None
    """A new file for the games, .jsonl.gz, as in a run folder. None: they are not kept."""


def play(arguments: list[str]) -> int:
    """Plays games of two agents and shows them."""
    options: Play = parse(Play, "sparring play", arguments)

    from ..storage.locks import new_file

    if options.games < 1 or options.show < 0:
        raise ValueError(f"--games must be at least 1, --show at least 0, got {options.games}, {options.show}")
    with new_file(options.out) if options.out is not None else nullcontext():
        return _play(options)


def _play(options: Play) -> int:
    """Plays the games. Nobody else writes options.out meanwhile."""
    game = make(options.game, options.game_options)
    role = options.role or next(role for role in game.roles if role not in game.secret_roles)
    if role not in game.roles:
        raise ValueError(f"unknown role {role!r}; the roles of {game.name} are {', '.join(game.roles)}")
    words = secrets(game, options.words, options.seed)
    specs = {each: options.player if each == role else options.opponent for each in game.roles}
    require_names(specs.items(), game, words)

    from sparring.agents.players.human import Left, human
    from sparring.agents.rollout import Episode

    from ..data.streaming import play_to
    from ..evaluation.win_rates import Tally, schedule
    from ..runtime.progress import Quiet
    from ..storage.episodes import episode_writer, read_episodes, record

    agents = players(specs, options)
    by_hand = "human" in specs.values()
    if by_hand and options.json:
        agents |= {role: human(_ask_aside, partial(print, file=sys.stderr)) for role, spec in specs.items() if spec == "human"}
    terminal = console(stderr=options.json)
    if by_hand and sys.stdin.isatty():
        terminal.print("/help explains the game, /quit leaves it.\n")
    bar = Quiet() if by_hand else bar_of(json=options.json)
    tallies = {role: Tally(role) for role in game.roles}
    ended = 0
    # Games that are in a file are read from there when they are printed as JSON.
    spooled = options.json and options.out is None
    with (
        TemporaryFile("w+", encoding="utf-8", errors="surrogatepass") if spooled else nullcontext() as spool,
        ExitStack() as stack,
    ):
        write = stack.enter_context(episode_writer(options.out)) if options.out is not None else None
        progress = stack.enter_context(shown(bar, "play", options.games, agents.values()))

        def keep(p: Episode) -> None:
            nonlocal ended
            if write is not None:
                write(p)
            if spool is not None:
                _put(spool, record(p))
            if by_hand or (ended < options.show and not options.json):
                with bar.aside():
                    show_game(terminal, record(p))
            for tally in tallies.values():
                tally.add(p)
            ended += 1

        stopped = play_to(
            keep,
            schedule(agents, game, words, options.games, options.seed),
            concurrency=1 if by_hand else 256,
            progress=progress,
        )
        left = isinstance(stopped, Left)
        if stopped is not None and not ended and not left:
            raise stopped
        stack.close()
        cells = [tallies[role].cell(agents[other].name, "all") for role, other in zip(game.roles, reversed(game.roles), strict=True)]
        if options.json:
            _print_json(cells, _lines(spool) if spool else (e.record for e in read_episodes(cast(Path, options.out))))
        else:
            terminal.print(_line(cells))
    if stopped is not None and not left:
        kept = f"; they are in {options.out}" if options.out is not None else ""
        stopped.add_note(f"{ended} of {options.games} games had ended{kept}")
        raise stopped
    return 0


def _ask_aside(prompt: str) -> str:
    """As `ask_line`, with the prompt on standard error."""
    from sparring.agents.players.human import ask_line

    print(prompt, end="", file=sys.stderr, flush=True)
    return ask_line("")


def _put(spool: TextIO, game: Mapping[str, Any]) -> None:
    """Keeps a game until it is printed. Raises OSError that names the folder of temporary files where its disk is full."""
    try:
        spool.write(json.dumps(game, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n")
        spool.flush()
    except OSError as error:
        raise OSError(
            f"no more games can be kept in {gettempdir()} until they are printed ({error.strerror}): free some space there, set TMPDIR to "
            "another folder, or keep the games with --out FILE"
        ) from error


def _lines(spool: TextIO) -> Iterator[dict[str, Any]]:
    """The games that `_put` kept."""
    spool.seek(0)
    yield from map(json.loads, spool)


def _print_json(cells: list["Cell"], games: Iterable[Mapping[str, Any]]) -> None:
    """One object, as print_json would print it, without all games in memory."""
    print('{"cells": ' + json_line([dict(vars(c)) for c in cells]), end="")
    ahead = ', "games": ['
    for game in games:
        print(ahead + json_line(game), end="")
        ahead = ", "
    print("]}")


def _line(cells: list["Cell"]) -> str:
    """How games ended, for people."""
    first = cells[0]
    void = f", and {first.void} void" if first.void else ""
    won = ", ".join(f"{c.role} won {c.wins}" for c in cells)
    return f"{first.games} {'game' if first.games == 1 else 'games'}: {won}, ties {first.ties}{void}"
