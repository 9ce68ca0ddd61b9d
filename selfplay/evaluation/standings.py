"""What a tournament came to, as JSON: games won, strengths, paired tests, cycles, mistakes, cost. No times but those of the cost."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .comparisons import cycles, head_to_head, neighbours
from .game_results import BLUNDERS, RULE_BREAKS, GameResult, counted
from .ratings import Ratings, rate
from .statistics import wilson

SCHEMA = 1
LEFT_OUT: Mapping[str, tuple[str, ...]] = {"all": (), "without_rule_breaks": RULE_BREAKS, "without_blunders": BLUNDERS}
"""Which games ratings leave out, by the ratings' name: a player whose opponents make mistakes looks strong."""


def standings(results: Iterable[GameResult], roles: Sequence[str], seconds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """results.json, but for what was played (docs/tournaments.md has its fields). roles: the game's. seconds: of computing, by player.

    Games with one role more or less than two are counted, but get neither ratings nor tests.
    """
    games = sorted(results, key=lambda r: (r.players, r.word, r.seed, r.id))
    by_player, by_pair = defaultdict(list), defaultdict(list)
    for game in games:
        for number, (role, player) in enumerate(zip(roles, game.players, strict=True)):
            by_player[player, number, role].append(game)
            for opponent in game.players[:number] + game.players[number + 1 :]:
                by_pair[player, number, role, opponent].append(game)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "players": [_cell(p, n, role, "all", own) for (p, n, role), own in sorted(by_player.items())],
        "pairs": [_cell(p, n, role, opponent, own) for (p, n, role, opponent), own in sorted(by_pair.items())],
        "games": len(counted(games)),
        "void": sum(game.void for game in games),
        "mistakes": [_mistakes(p, n, role, own) for (p, n, role), own in sorted(by_player.items())],
        "cost": _cost(games, seconds or {}),
    }
    if len(roles) == 2:
        ratings = {name: rate(games, roles, reasons) for name, reasons in LEFT_OUT.items()}
        against = head_to_head(games)
        cyclic = cycles(against)
        found |= {
            "ratings": {name: _rating_data(ratings[name], reasons) for name, reasons in LEFT_OUT.items()},
            "neighbours": [asdict(comparison) for comparison in neighbours(games, ratings["all"], roles)],
            "head_to_head": [asdict(comparison) for comparison in against],
            "cycles": {**asdict(cyclic), "share": cyclic.share},
        }
    return found


def _cell(player: str, number: int, role: str, opponent: str, games: Sequence[GameResult]) -> dict[str, Any]:
    counting = [game for game in games if not game.void]
    scores = Counter(game.score(number) for game in counting)
    n, wins = len(counting), scores[1.0]
    interval = wilson(wins, n) if n else None
    return {
        "player": player,
        "role": role,
        "opponent": opponent,
        "games": n,
        "wins": wins,
        "losses": scores[0.0],
        "ties": scores[0.5],
        "void": len(games) - n,
        "win_rate": wins / n if n else None,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "reasons": dict(sorted(Counter(game.reason for game in counting).items())),
        "mean_turns": sum(game.turns[number] for game in counting) / n if n else None,
    }


def _mistakes(player: str, number: int, role: str, games: Sequence[GameResult]) -> dict[str, Any]:
    """The games that a player lost by its own mistakes, those that it won by an opponent's, and void ones."""
    counts = {winning: Counter(g.reason for g in games if g.winner is not None and (g.winner == number) == winning) for winning in (0, 1)}
    lost, won = ({reason: counts[winning][reason] for reason in BLUNDERS if counts[winning][reason]} for winning in (0, 1))
    return {"player": player, "role": role, "lost_by": lost, "won_by": won, "void": sum(game.void for game in games)}


def _cost(games: Sequence[GameResult], seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Sampled tokens and seconds of computing by player; void games cost too."""
    played, tokens = Counter[str](), Counter[str]()
    for game in games:
        played.update(game.players)
        for player, count in zip(game.players, game.tokens, strict=True):
            tokens[player] += count
    return [
        {"player": player, "games": played[player], "tokens": tokens[player], "seconds": seconds.get(player)} for player in sorted(played)
    ]


def _rating_data(ratings: Ratings, left_out: Sequence[str]) -> dict[str, Any]:
    data = asdict(ratings)
    for rating in data["ladder"]:
        rating["strength"] = rating["strength"] and rating["strength"]._asdict()
    data["advantage"] = data["advantage"] and data["advantage"]._asdict()
    return {**data, "left_out": list(left_out)}
