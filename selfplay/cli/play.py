"""sparring play: games against an agent, or between two."""

import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .common import console, json_line
from .games import show_game
from .matches import MatchOptions, bar_of, make, players, require_names, secrets, shown
from .options import parse

if TYPE_CHECKING:
    from sparring.agents.rollout import Episode

    from ..storage.summary import Cell


@dataclass(frozen=True)
class Play(MatchOptions):
    """A person, or an agent, plays games against an agent.

    An agent is one of mini, mini@imitation, smollm2, scripted, scripted:NAME, random, silent, human, PATH,
    FILE.gguf, RUN@N, RUN@latest, hf:ID, openai:MODEL@URL, vllm:MODEL@URL. A person types what is said; /help
    explains, /quit or Ctrl-D leaves.

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
    """The player's: attacker or defender (TwentyQuestions: asker or answerer; TextArena: player_0 or
    player_1); None: who must find the word out, or player_0."""
    player: str = "human"
    """Who plays that role."""
    games: int = 3
    """How many games."""
    show: int = 3
    """How many of them are printed, each when it has ended; JSON holds all."""
    out: Path | None = None
    """A new file for the games, .jsonl.gz, as in a run folder. None: they are not kept."""
    tournament: Path | None = None
    """The folder of a tournament that a person joins against --opponent, one of its players, on its words;
    other settings are its own."""


def play(arguments: list[str]) -> int:
    """Plays games of two agents and shows them."""
    options: Play = parse(Play, "sparring play", arguments)

    from ..storage.locks import new_file

    if options.games < 1 or options.show < 0:
        raise ValueError(f"--games must be at least 1, --show at least 0, got {options.games}, {options.show}")
    if options.tournament is not None:
        from .tournament_guest import join

        return join(options, options.tournament)
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

    from sparring.agents.players.human import human

    from ..data.play import play_games
    from ..runtime.progress import Quiet
    from ..storage.episodes import read_episodes, record
    from ..storage.spool import Spool

    agents = players(specs, options)
    by_hand = "human" in specs.values()
    if by_hand and options.json:
        agents |= {role: human(_ask_aside, partial(print, file=sys.stderr)) for role, spec in specs.items() if spec == "human"}
    terminal = console(stderr=options.json)
    if by_hand and sys.stdin.isatty():
        terminal.print("/help explains the game, /quit leaves it.\n")
    bar = Quiet() if by_hand else bar_of(json=options.json)
    left = options.games if by_hand else 0 if options.json else options.show
    # Games that are in a file are read from there when they are printed as JSON.
    with Spool() if options.json and options.out is None else nullcontext() as spool:

        def each(episode: "Episode") -> None:
            nonlocal left
            if spool is not None:
                spool.put(record(episode))
            if left > 0:
                with bar.aside():
                    show_game(terminal, record(episode))
            left -= 1

        with shown(bar, "play", options.games, agents.values()) as progress:
            result = play_games(
                agents,
                game,
                words,
                options.games,
                options.seed,
                out=options.out,
                each=each,
                concurrency=1 if by_hand else 256,
                progress=progress,
            )
        if options.json:
            games = spool if spool is not None else (episode.record for episode in read_episodes(cast(Path, options.out)))
            _print_json(result.cells, games)
        else:
            terminal.print(_line(result.cells))
    if result.stopped is not None:
        kept = f"; they are in {options.out}" if options.out is not None else ""
        result.stopped.add_note(f"{result.episodes} of {options.games} games had ended{kept}")
        raise result.stopped
    return 0


def _ask_aside(prompt: str) -> str:
    """As `ask_line`, with the prompt on standard error."""
    from sparring.agents.players.human import ask_line

    print(prompt, end="", file=sys.stderr, flush=True)
    return ask_line("")


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
