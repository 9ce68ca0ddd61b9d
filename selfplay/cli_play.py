"""sparring play: games against an agent, or between two."""

from dataclasses import dataclass

from .cli_common import console, parse, print_json
from .cli_games import show_game
from .cli_matches import MatchOptions, agents_of, make, secrets


@dataclass(frozen=True)
class Play(MatchOptions):
    """A person, or an agent, plays games against an agent.

    An agent is one of mini, mini@imitation, scripted, scripted:NAME, random, silent, human, PATH, RUN@N, RUN@latest, hf:ID,
    openai:MODEL@URL, vllm:MODEL@URL.

    Examples:
      sparring play --role defender --opponent mini@imitation
      sparring play --game TwentyQuestions --role answerer
      sparring play --game textarena:TicTacToe-v0 --opponent random
      sparring play --player runs/x@latest --role attacker --opponent scripted --games 200 --show 2 --json
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
    """How many of them are printed; JSON holds all."""


def play(arguments: list[str]) -> int:
    """Plays games of two agents and shows them."""
    options: Play = parse(Play, "sparring play", arguments)

    from sparring.agents.rollout import Played, play_all

    from .episodes import record
    from .evaluate import cell, schedule

    if options.games < 1 or options.show < 0:
        raise ValueError(f"--games must be at least 1, --show at least 0, got {options.games}, {options.show}")
    game = make(options.game, options.max_turns)
    role = options.role or next(role for role in game.roles if role not in game.informed)
    if role not in game.roles:
        raise ValueError(f"unknown role {role!r}; the roles of {game.name} are {', '.join(game.roles)}")
    specs = {seat: options.player if seat == role else options.opponent for seat in game.roles}
    agents = agents_of(specs, options.temperature, options.device)
    words = secrets(game, options.words, options.seed)
    together = 1 if "human" in specs.values() else 256
    terminal = console()

    def ended(p: Played) -> None:
        if together == 1:
            show_game(terminal, record(p))

    played = play_all(schedule(agents, game, words, options.games, options.seed), concurrency=together, progress=ended)
    cells = [cell(played, agents[other].name, seat, "all") for seat, other in zip(game.roles, reversed(game.roles), strict=True)]
    if options.json:
        print_json({"games": [record(p) for p in played], "cells": [dict(vars(c)) for c in cells]})
        return 0
    for p in played[: options.show] if together > 1 else ():
        show_game(terminal, record(p))
    void = f", and {cells[0].void} void" if cells[0].void else ""
    terminal.print(
        f"{cells[0].games} {'game' if cells[0].games == 1 else 'games'}: "
        + ", ".join(f"{c.seat} won {c.wins}" for c in cells)
        + f", ties {cells[0].ties}{void}"
    )
    return 0
