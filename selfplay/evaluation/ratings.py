"""How strong players are in each role, from the games that they played against each other.

The model is that of Bradley and Terry with two strengths a player, one per role, with an advantage of the role and with ties (Rao and
Kupper 1967): an ordered logit in which the log-odds of a better result for the first role are its player's strength, less the strength of
the second role's player, less a threshold. statsmodels fits it. A strength is given in Elo points (400 points are odds of ten to one); zero
is the mean of the rated players. Words are drawn, and games about one word are alike, so errors are clustered by word.

Not every strength has a finite estimate: not of players who won or lost every game, of groups whose games against each other all went one
way, of groups that never met. They are looked for before the fit, which does not show them (findings/ordered_model.sh), and get no number.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, stats

from .game_results import GameResult, counted

ELO = 400 / math.log(10)
"""Elo points of a unit of log-odds."""
GTOL = 1e-6
"""Largest component of the gradient of the log-likelihood, over the number of different results, with which the fit ends."""
NEAREST = 1e-3
"""Log-odds by which the fit may miss the maximum where rounding ends it early."""


class Estimate(NamedTuple):
    """A number with its 95 % interval; low and high are None where all games are about one word, or are too few."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Rating:
    """A player in a role. games, wins, losses, ties: that count. strength: in Elo points; None where the games give none, and then
    `bound` says why."""

    player: str
    role: str
    games: int
    wins: int
    losses: int
    ties: int
    strength: Estimate | None
    bound: str | None

    @property
    def order(self) -> tuple[int, float]:
        """Sorts a ladder from the weakest on: who lost every game, the others by strength, who won every game."""
        points = (self.wins + self.ties / 2) / self.games
        if self.strength is None:
            return (self.wins == self.games) - (self.losses == self.games), ELO * (2 * points - 1)
        return 0, self.strength.value


@dataclass(frozen=True)
class Ratings:
    """ladder: the players in each role, the strongest first. advantage: of the first role over the second, in Elo points, between players
    of mean strength. even: the probabilities that the first role wins against an equal player, that nobody does, that the second role
    wins. Both are None where the games give no strengths. games, words: that count. notes: what a reader has to know."""

    ladder: tuple[Rating, ...]
    advantage: Estimate | None
    even: tuple[float, float, float] | None
    games: int
    words: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Fit:
    """strengths: by role (0, 1) and player."""

    strengths: dict[tuple[int, str], Estimate]
    advantage: Estimate | None
    even: tuple[float, float, float]


def rate(results: Iterable[GameResult], roles: Sequence[str], without: Sequence[str] = ()) -> Ratings:
    """The ratings of all players, in whatever order games come. roles: the game's. without: reasons of games that are left out, as void
    ones always are. Raises ValueError for a game that has not two roles."""
    if len(roles) != 2:
        raise ValueError(f"ratings are of games with two roles, not with {len(roles)}")
    games = counted(results, without)
    names = [sorted({game.players[role] for game in games}) for role in (0, 1)]
    words = sorted({game.cluster for game in games})
    fit, note = _fit_games(games, names, words) if games else (None, "no game counts")
    ladder = [_rating(games, number, role, player, fit) for number, role in enumerate(roles) for player in names[number]]
    ladder.sort(key=lambda rating: (roles.index(rating.role), *(-value for value in rating.order), rating.player))
    notes = [note] if note else []
    if fit and len(words) == 1:
        notes.append("all games are about one word: nothing says how strengths differ with other words, so there are no intervals")
    advantage, even = (fit.advantage, fit.even) if fit else (None, None)
    return Ratings(tuple(ladder), advantage, even, len(games), len(words), tuple(notes))


def _rating(games: Sequence[GameResult], number: int, role: str, player: str, fit: _Fit | None) -> Rating:
    scores = Counter(game.score(number) for game in games if game.players[number] == player)
    total = scores.total()
    strength = fit.strengths.get((number, player)) if fit else None
    bound = None
    if scores[1.0] == total:
        bound = f"no loss in {total} games"
    elif scores[0.0] == total:
        bound = f"no win in {total} games"
    elif strength is None:
        bound = f"not comparable by {total} games"
    return Rating(player, role, total, scores[1.0], scores[0.0], scores[0.5], strength, None if strength else bound)


def _fit_games(games: Sequence[GameResult], names: Sequence[list[str]], words: list[str]) -> tuple[_Fit | None, str | None]:
    """The fit to the games that bound the strengths of their players, and what is to be said of it."""
    places = [{name: place for place, name in enumerate(column)} for column in (*names, words)]
    keys = [(places[0][g.players[0]], places[1][g.players[1]], int(2 * g.score(0))) for g in games]
    cells, cell_of = np.unique(np.array(keys), axis=0, return_inverse=True)
    by_word = np.zeros((len(words), len(cells)))
    np.add.at(by_word, (np.array([places[2][g.cluster] for g in games]), cell_of.ravel()), 1)
    chosen = _bounded(cells, by_word.sum(axis=0))
    if not chosen.any():
        return (
            None,
            "strengths need at least three players whose games against each other went both ways",
        )
    fit = _fit(cells[chosen], by_word[:, chosen], names)
    return (fit, None) if fit else (None, "the fit of the strengths did not converge")


def _bounded(cells: NDArray[np.int_], counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which cells bound each other's strengths: the largest group of players who met, left after all results that no finite strength
    explains best. cells: int [C, 3], first player, second player, result (0 the second role won, 1 tie, 2 the first role won).
    Returns bool [C], True where the cell is of the fit; none where fewer than two players in a role or two results are left.
    """
    chosen = np.ones(len(cells), bool)
    while True:
        kept = chosen.copy()
        kept[chosen] = ~_separated(cells[chosen])
        kept[kept] = _largest_group(cells[kept], counts[kept])
        different = [len(np.unique(column)) for column in cells[kept].T]
        if max(different[:2], default=0) < 2 or different[2] < 2:
            return np.zeros(len(cells), bool)
        if (kept == chosen).all():
            return chosen
        chosen = kept


def _separated(cells: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Which results become ever more likely while strengths grow without bound and none becomes less likely; bool [C].

    A linear programme looks for such a direction of strengths and thresholds with as many certain results as there can be (Albert and
    Anderson 1984; Konis 2007): each result lies between its two thresholds, and the slack of each, up to 1, is maximised.
    """
    first, second = (np.unique(column, return_inverse=True)[1] for column in cells.T[:2])
    levels, level = np.unique(cells[:, 2], return_inverse=True)
    offsets = np.cumsum([0, first.max() + 1, second.max() + 1, len(levels) - 1])
    above, below = np.flatnonzero(level > 0), np.flatnonzero(level < len(levels) - 1)
    cell = np.concatenate([above, below])
    sign = np.repeat([1.0, -1.0], [len(above), len(below)])
    threshold = np.concatenate([level[above] - 1, level[below]])
    if not len(cell):
        return np.zeros(len(cells), bool)
    row = np.arange(len(cell))
    columns = [first[cell], offsets[1] + second[cell], offsets[2] + threshold, offsets[3] + row]
    values = [sign, -sign, -sign, np.full(len(cell), -1.0)]
    slacks = sparse.csr_array((np.concatenate(values), (np.tile(row, 4), np.concatenate(columns))))
    bounds = [(None, None)] * int(offsets[3]) + [(0, 1)] * len(cell)
    target = np.repeat([0.0, -1.0], [offsets[3], len(cell)])
    solved = optimize.linprog(target, A_ub=-slacks, b_ub=np.zeros(len(cell)), bounds=bounds)
    assert solved.success, solved.message
    open_cells = np.unique(cell[solved.x[offsets[3] :] < 0.5])
    return ~np.isin(np.arange(len(cells)), open_cells)


def _largest_group(cells: NDArray[np.int_], counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which cells are of the largest group of players who met, directly or through others; bool [C]."""
    if not len(cells):
        return np.zeros(0, bool)
    first, second = (np.unique(column, return_inverse=True)[1] for column in cells.T[:2])
    nodes = first.max() + second.max() + 2
    met = sparse.coo_array((np.ones(len(cells)), (first, first.max() + 1 + second)), shape=(nodes, nodes))
    group = sparse.csgraph.connected_components(met, directed=False)[1]
    sizes = [((group == number).sum(), counts[group[first] == number].sum()) for number in range(group.max() + 1)]
    chosen: NDArray[np.bool_] = group[first] == sizes.index(max(sizes))
    return chosen


def _fit(cells: NDArray[np.int_], by_word: NDArray[np.float64], names: Sequence[list[str]]) -> _Fit | None:
    """The fit to cells that bound it. by_word: games per word and cell, [W, C]. None where the optimiser fails."""
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    class Counted(OrderedModel):  # type: ignore[misc]
        """Each row stands for so many games. NOTE: OrderedModel takes freq_weights= and does not use it."""

        def loglikeobs(self, params: Any) -> Any:
            return counts * super().loglikeobs(params)

    by_word = by_word[by_word.any(axis=1)]
    counts = by_word.sum(axis=0)
    players = [np.unique(column) for column in cells.T[:2]]
    first, second = ((column[:, None] == who).astype(float) for column, who in zip(cells.T[:2], players, strict=True))
    levels, level = np.unique(cells[:, 2], return_inverse=True)  # a result that never came up is no category
    model = Counted(level, np.hstack([first[:, 1:], -second[:, 1:]]), distr="logit")
    fitted = model.fit(method="bfgs", disp=0, gtol=GTOL, warn_convergence=False)
    bread, of_cell = fitted.normalized_cov_params, model.score_obs(fitted.params)
    if bread is None or not np.abs(bread @ of_cell.sum(axis=0)).max() < NEAREST:
        return None
    variance = _variance(bread, by_word @ (of_cell / counts[:, None]), int(counts.sum()))

    slopes, thresholds = model.k_vars, len(levels) - 1
    raw = np.concatenate([fitted.params[:slopes], model.transform_threshold_params(fitted.params)[1:-1]])
    change = np.eye(slopes + thresholds)  # of raw by fitted.params, whose second threshold is the log of the distance from the first
    if thresholds == 2:
        change[-1, -2:] = 1, np.exp(fitted.params[-1])
    unit = np.eye(slopes + thresholds)
    ends = np.cumsum([0, *(len(who) - 1 for who in players)])
    strengths = [np.vstack([0 * unit[:1], unit[ends[role] : ends[role + 1]]]) for role in (0, 1)]  # the first player's is 0
    means = [part.mean(axis=0) for part in strengths]
    centred = unit[slopes:] - means[0] + means[1]
    rows = [*(strengths[0] - means[0]), *(strengths[1] - means[1]), -centred.mean(axis=0)]
    estimates = _estimates(np.array(rows), raw, change, variance, len(by_word) - 1)
    who = [(role, names[role][place]) for role in (0, 1) for place in players[role]]
    chances = dict(zip(levels.tolist(), np.diff(stats.logistic.cdf([-np.inf, *(centred @ raw), np.inf])).tolist(), strict=True))
    return _Fit(
        dict(zip(who, estimates[:-1], strict=True)),
        estimates[-1] if {0, 2} <= chances.keys() else None,
        (chances.get(2, 0.0), chances.get(1, 0.0), chances.get(0, 0.0)),
    )


def _variance(bread: NDArray[np.float64], scores: NDArray[np.float64], games: int) -> NDArray[np.float64] | None:
    """The covariance of the parameters clustered by word, as statsmodels computes it from one row a game (cov_type="cluster"); None where
    there are too few words or games. bread: the inverse of the information, [k, k]. scores: gradients of the log-likelihood, [W, k]."""
    words, k = scores.shape
    if words < 2 or games <= k:
        return None
    factor = words / (words - 1) * (games - 1) / (games - k)
    return np.asarray(factor * bread @ (scores.T @ scores) @ bread)


def _estimates(
    linear: NDArray[np.float64], raw: NDArray[np.float64], change: NDArray[np.float64], variance: NDArray[np.float64] | None, freedom: int
) -> list[Estimate]:
    """Linear functions [m, k] of raw parameters [k], in Elo points, with Student intervals. change: derivatives of the raw parameters by
    those whose covariance is given."""
    values = ELO * (linear @ raw)
    if variance is None:
        return [Estimate(float(value), None, None) for value in values]
    slope = linear @ change
    half = stats.t.ppf(0.975, freedom) * ELO * np.sqrt(np.einsum("ij,jk,ik->i", slope, variance, slope))
    return [Estimate(float(value), float(value - h), float(value + h)) for value, h in zip(values, half, strict=True)]
