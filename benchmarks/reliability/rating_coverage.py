"""Whether 95 % intervals of strengths hold the true ones in 95 % of cases, from few words to many: simulated games of known strengths.

Games about one word are alike: results of a player, of its opponent and of all share part of their luck where the word is the same. Luck is
logistic in every game, so the true strengths are those that the model asks for.

    python -m sparring.benchmarks.reliability.rating_coverage --out benchmarks/results/rating_coverage.json
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sparring.selfplay.evaluation.game_results import GameResult
from sparring.selfplay.evaluation.ratings import ELO, rate
from sparring.selfplay.evaluation.statistics import wilson

from ..command import command, say

ROLES = ("attacker", "defender")
STRENGTHS = ((-1.0, -0.2, 0.3, 0.9), (0.5, -0.6, 0.8, -0.7))
"""Of four players as attackers and as defenders, in units of log-odds."""


@dataclass(frozen=True)
class Coverage:
    """Simulates tournaments and counts how many intervals hold the true strength."""

    words: tuple[int, ...] = (5, 10, 20, 30, 85)
    """Numbers of words."""
    games: int = 100
    """Games per ordered pair."""
    simulations: int = 200
    """Tournaments for each number of words."""
    alike: float = 0.5
    """Share of the variance of luck that games about one word have in common, in [0, 1)."""
    json: bool = False
    """Print one JSON object instead."""
    out: Path | None = None
    """A file for the result."""


def simulated(
    attackers: Sequence[float],
    defenders: Sequence[float],
    games: int,
    words: int,
    seed: int,
    *,
    alike: float = 0.0,
    thresholds: tuple[float, float] = (-0.5, 0.5),
) -> list[GameResult]:
    """Games of players p0, p1, ... of given strengths (log-odds). thresholds: the attacker loses below the first, wins above the second."""
    draw = np.random.default_rng(seed)
    players, word = len(attackers), np.arange(games) % words
    by_attacker, by_defender = draw.normal(size=(2, words, players))
    by_word = draw.normal(size=words)
    results = []
    for one, other in permutations(range(players), 2):
        shared = (by_attacker[word, one] + by_defender[word, other] + by_word[word]) * (alike / 3) ** 0.5
        luck = stats.logistic.ppf(stats.norm.cdf(shared + (1 - alike) ** 0.5 * draw.normal(size=games)))
        value = attackers[one] - defenders[other] + luck
        for number in range(games):
            winner = 1 if value[number] < thresholds[0] else 0 if value[number] > thresholds[1] else None
            id, names = f"{one}-{other}/{number}", (f"p{one}", f"p{other}")
            results.append(GameResult(id, names, f"w{word[number]}", number, winner, "played", (1, 1), (0, 0)))
    return results


def true_strengths(attackers: Sequence[float], defenders: Sequence[float]) -> dict[tuple[str, str], float]:
    """Elo points by player and role, as ratings give them: the mean of a role is zero."""
    by_role = dict(zip(ROLES, (np.array(attackers), np.array(defenders)), strict=True))
    return {(f"p{n}", role): float(ELO * (v - own.mean())) for role, own in by_role.items() for n, v in enumerate(own)}


def covered(words: int, games: int, simulations: int, alike: float) -> tuple[int, int]:
    """How many intervals hold the true strength, and how many there are."""
    true, inside, total = true_strengths(*STRENGTHS), 0, 0
    for seed in range(simulations):
        ratings = rate(simulated(*STRENGTHS, games, words, 1000 * words + seed, alike=alike), ROLES)
        for rating in ratings.ladder:
            if rating.strength is not None and rating.strength.low is not None and rating.strength.high is not None:
                total += 1
                inside += rating.strength.low <= true[rating.player, rating.role] <= rating.strength.high
    return inside, total


def main(options: Coverage) -> None:
    rows: list[dict[str, Any]] = []
    for words in options.words:
        inside, total = covered(words, options.games, options.simulations, options.alike)
        # The eight intervals of a tournament are not independent: the interval is that of as many tournaments.
        low, high = wilson(round(options.simulations * inside / total), options.simulations)
        rows.append({"words": words, "intervals": total, "coverage": inside / total, "low": low, "high": high})
    settings = {"games": options.games, "simulations": options.simulations, "alike": options.alike}
    say({"settings": settings, "rows": rows}, _show, as_json=options.json, file=options.out)


def _show(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        print(f"{row['words']:3} words: {row['coverage']:.1%} of {row['intervals']} intervals hold the true strength")


if __name__ == "__main__":
    command("reliability.rating_coverage", Coverage, main, __doc__)
