"""sparring tournament: every player against every other."""

from dataclasses import dataclass
from itertools import product

from .common import console, parse, positional, print_json
from .matches import MatchOptions, bar_of, make, players, require_names, secrets, shown


@dataclass(frozen=True, kw_only=True)
class Tournament(MatchOptions):
    """Every player against every other, in both roles, on the same words.

    Examples:
      sparring tournament mini@imitation scripted random
      sparring tournament runs/x@0 runs/x@latest --games 400 --json
    """

    players: tuple[str, ...]
    """Agents, two or more."""
    games: int = 200
    """Games per ordered pair."""
    temperature: float = 0.5
    """Sampling temperature of models; 0 is greedy."""


def tournament(arguments: list[str]) -> int:
    """Every player against every other, in both roles."""
    options: Tournament = parse(positional(Tournament), "sparring tournament", arguments)

    if len(set(options.players)) < len(options.players):
        raise ValueError("a player is named twice; every player plays every other once in each role")
    if len(options.players) < 2:
        raise ValueError(f"a tournament needs at least two players, got {len(options.players)}")
    if options.games < 1:
        raise ValueError(f"--games must be at least 1, got {options.games}")
    if "human" in options.players:
        raise ValueError("a tournament is for players that need no keyboard; use sparring play")
    game = make(options.game, options.max_turns)
    words = secrets(game, options.words, options.seed)
    require_names(product(game.roles, options.players), game, words)

    from ..evaluation.tournament import tournament as hold
    from ..report.tables import of_gibberish, tournament_table

    agents = players({spec: spec for spec in options.players}, options)
    total = len(agents) * (len(agents) - 1) * options.games
    with shown(bar_of(json=options.json), "tournament", total, agents.values()) as progress:
        result = hold(agents, game, words, options.games, options.seed, progress=progress)
    if options.json:
        print_json(result)
        return 0
    for title in ("players", "pairs"):
        console().print(tournament_table(title, result[title]))
    if note := of_gibberish(result["players"]):
        console().print(note)
    return 0
