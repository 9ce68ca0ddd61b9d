"""Which of two players is better: the same words and seeds, paired, tested word by word."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from scipy import optimize

from .game_results import GameResult, counted
from .ratings import Ratings
from .statistics import holm, mcnemar, paired_difference


@dataclass(frozen=True)
class Comparison:
    """Two players, `player` with the better rank, in a role or (role None) against each other in both.

    pairs: of games, about the same word with the same seed: in a role, games of both against the same third player; else one game in each
    role. difference: how much more points a game `player` makes than `other` (a win 1, a tie 0.5), with its 95 % interval over words
    (None where all pairs are about one word). words_better, words_worse: on how many words it makes more, or fewer. p: of the exact McNemar
    test over those words; p_holm: adjusted for all comparisons of its kind.
    """

    player: str
    other: str
    role: str | None
    pairs: int
    difference: float
    low: float | None
    high: float | None
    words_better: int
    words_worse: int
    p: float
    p_holm: float


def neighbours(results: Iterable[GameResult], ratings: Ratings, roles: Sequence[str]) -> list[Comparison]:
    """Each player beside the next one on the ladder of each role, by their games against the same others."""
    games = counted(results)
    found = []
    for number, role in enumerate(roles):
        points: dict[str, dict[tuple[str, str, int], float]] = defaultdict(dict)
        for game in games:
            points[game.players[number]][game.players[1 - number], game.cluster, game.seed] = game.score(number)
        for one, other in pairwise(rating.player for rating in ratings.ladder if rating.role == role):
            mine, theirs = points[one], points[other]
            common = [key for key in mine if key in theirs]
            found.append(_compared(one, other, role, [(key[1], mine[key] - theirs[key]) for key in common]))
    return _adjusted(found)


def head_to_head(results: Iterable[GameResult]) -> list[Comparison]:
    """Each two players by their games against each other, both roles together."""
    points: dict[tuple[str, str], dict[tuple[str, int], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for game in counted(results):
        if game.players[0] != game.players[1]:
            one, other = sorted(game.players)
            points[one, other][game.cluster, game.seed][game.players[0]] = game.score(game.players.index(one))
    found = []
    for (one, other), by_task in sorted(points.items()):
        both = [(word, sum(scores.values()) - 1) for (word, _), scores in by_task.items() if len(scores) == 2]
        ahead = sum(difference for _, difference in both) >= 0
        pairs = both if ahead else [(word, -difference) for word, difference in both]
        found.append(_compared(*((one, other) if ahead else (other, one)), None, pairs))
    return _adjusted(found)


def _compared(player: str, other: str, role: str | None, pairs: Sequence[tuple[str, float]]) -> Comparison | None:
    """pairs: a word and a difference of points each."""
    if not pairs:
        return None
    words, differences = zip(*pairs, strict=True)
    by_word: Counter[str] = Counter()
    for word, difference in pairs:
        by_word[word] += difference  # type: ignore[assignment]
    better, worse = sum(total > 0 for total in by_word.values()), sum(total < 0 for total in by_word.values())
    low = high = None
    if len(by_word) > 1:
        _, low, high, *_ = paired_difference(np.zeros(len(pairs)), differences, words)
    p = mcnemar(better, worse)
    return Comparison(player, other, role, len(pairs), float(np.mean(differences)), low, high, better, worse, p, p)


def _adjusted(found: Iterable[Comparison | None]) -> list[Comparison]:
    made = [comparison for comparison in found if comparison is not None]
    return [replace(comparison, p_holm=p) for comparison, p in zip(made, holm([c.p for c in made]), strict=True)]


@dataclass(frozen=True)
class Cycles:
    """Whether one ladder can hold these players. triads: of three players of whom each met both others and no two are even. cyclic: those
    in which each beats one and loses to the other; players in the order in which they beat each other. lottery: the maximal lottery: with
    which probability to take each player so that no other is expected to beat the draw; None where nothing is cyclic."""

    triads: int
    cyclic: tuple[tuple[str, str, str], ...]
    lottery: Mapping[str, float] | None

    @property
    def share(self) -> float | None:
        return len(self.cyclic) / self.triads if self.triads else None


def cycles(compared: Iterable[Comparison]) -> Cycles:
    """Of head-to-head comparisons."""
    margins: dict[tuple[str, str], float] = {}
    for comparison in compared:
        margins[comparison.player, comparison.other] = comparison.difference
        margins[comparison.other, comparison.player] = -comparison.difference
    players = sorted({player for player, _ in margins})
    triads, cyclic = 0, []
    for a, b, c in combinations(players, 3):
        sides = [margins.get(pair, 0.0) for pair in ((a, b), (b, c), (c, a))]
        triads += all(sides)
        if all(side > 0 for side in sides):
            cyclic.append((a, b, c))
        elif all(side < 0 for side in sides):
            cyclic.append((a, c, b))
    return Cycles(triads, tuple(cyclic), _lottery(players, margins) if cyclic else None)


def _lottery(players: Sequence[str], margins: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Optimal play of the symmetric zero-sum game whose payoffs are the margins (Fishburn 1984)."""
    payoffs = np.array([[margins.get((one, other), 0.0) for other in players] for one in players])
    n = len(players)
    solved = optimize.linprog(np.zeros(n), A_ub=-payoffs.T, b_ub=np.zeros(n), A_eq=np.ones((1, n)), b_eq=[1.0], bounds=(0, 1))
    assert solved.success, solved.message
    return {player: float(share) for player, share in zip(players, solved.x, strict=True) if share > 1e-9}
