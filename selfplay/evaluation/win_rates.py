"""Win rates of a player: games against given opponents, in both roles, on word groups apart, with Wilson intervals.

Every model is measured on the same tasks with the same seeds, so that differences between rounds are paired. Win rates count outcomes,
never utilities. Knows agents by their protocol; the truth of hints comes from a function that is passed in.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sparring.agents.core import Agent, AgentMap, derive_seed
from sparring.agents.names import with_sampling
from sparring.agents.rollout import Episode, Match, play_all
from sparring.envs.core import VOID, Game, Task
from sparring.envs.hosting.opponents import require_playable
from sparring.envs.world.english import Truth, TruthOf

from ..storage.summary import Cell
from .statistics import wilson

CLAIMING_ROLE = "attacker"
"""The role that knows the secret, whose claims can be true or false."""
SEED_NAMES = {"sft": "imitated", "rl": "selfplayed"}
"""The names by which the word groups' orders are drawn: those under which results were recorded, so that new ones compare with them."""


def schedule(
    agents: AgentMap,
    game: Game,
    words: Sequence[str],
    n: int,
    seed: int,
    label: str = "",
    tags: Mapping[str, str] | None = None,
) -> Iterator[Match]:
    """n games about words in turn, made as they are asked for. Equal words and seeds give equal tasks, whoever plays. label: what
    their ids begin with. tags: of every match."""
    if n and not words:
        raise ValueError("games need at least one word")

    def match(i: int) -> Match:
        word = words[i % len(words)]
        task = Task(f"{label}{i}", word, word, derive_seed(seed, word, i))
        return Match(task.id, game, task, agents, derive_seed(seed, "play", word, i), tags or {})

    return map(match, range(n))


def win_rates(
    player: Agent,
    opponents: Mapping[str, Agent],
    game: Game,
    words: Mapping[str, Sequence[str]],
    n: int,
    seed: int,
    *,
    temperature: float | None = 0.5,
    concurrency: int = 256,
    truth: TruthOf | None = None,
    progress: Callable[[Episode], None] | None = None,
    play: Callable[..., list[Episode]] = play_all,
) -> list[Cell]:
    """One player against each opponent, in every role, on every group of words: n games per cell, all in one batch. Words come in an order
    that the seed draws. play: as `play_all`, by several processes for instance."""
    for agent in (player, *opponents.values()):
        for own in words.values():
            require_playable(game, dict.fromkeys(game.roles, agent), own)
    me = _at(player, temperature)
    drawn = {
        group: random.Random(derive_seed(seed, SEED_NAMES.get(group, group))).sample(list(of), k=len(of)) for group, of in words.items()
    }
    matches: list[Match] = []
    for name, opponent in opponents.items():
        other = _at(opponent, temperature)
        for role in game.roles:
            agents = {each: me if each == role else other for each in game.roles}
            for group, of in drawn.items():
                tags = {"words": group, "opponent": name, "role": role}
                matches += schedule(agents, game, of, n, seed, f"{group}/{name}/{role}/", tags)
    episodes = play(matches, concurrency=concurrency, progress=progress)
    cells = []
    for name in opponents:
        for role in game.roles:
            mine = [p for p in episodes if (p.match.tags["opponent"], p.match.tags["role"]) == (name, role)]
            cells += _cells(mine, words, name, role, truth)
    return cells


def _at(agent: Agent, temperature: float | None) -> Agent:
    return agent if temperature is None else with_sampling(agent, temperature=temperature)


def _cells(
    episodes: Sequence[Episode],
    groups: Iterable[str],
    opponent: str,
    role: str,
    truth: TruthOf | None,
) -> list[Cell]:
    """A cell per group that has games, and one over all of them where there are several."""
    by_group = {group: [p for p in episodes if p.match.tags["words"] == group] for group in groups}
    found = {group: games for group, games in by_group.items() if games}
    if len(found) != 1:
        found["all"] = list(episodes)
    return [cell(games, opponent, role, group, truth) for group, games in found.items()]


class Tally:
    """Counts games one by one, seen from one role, and keeps none of them."""

    def __init__(self, role: str, truth: TruthOf | None = None) -> None:
        self.role = role
        self.reasons: Counter[str] = Counter()
        self.wins = self.ties = self.void = self.turns = 0
        self._truth = truth if role == CLAIMING_ROLE else None
        self._told = truthfulness((), self._truth)

    def add(self, episode: Episode) -> None:
        if episode.outcome.reason == VOID:
            self.void += 1
            return
        self.reasons[episode.outcome.reason] += 1
        self.wins += episode.outcome.winner == self.role
        self.ties += episode.outcome.winner is None
        self.turns += sum(u.role == self.role for u in episode.state.utterances)
        told = truthfulness([episode], self._truth)
        if self._told is not None and told is not None:
            self._told = Truth(*map(sum, zip(self._told, told, strict=True)))

    @property
    def games(self) -> int:
        """Those that count, void ones apart."""
        return self.reasons.total()

    def cell(self, opponent: str, words: str) -> Cell:
        games = self.games
        interval = wilson(self.wins, games) if games else None
        return Cell(
            opponent=opponent,
            role=self.role,
            words=words,
            games=games,
            wins=self.wins,
            losses=games - self.wins - self.ties,
            ties=self.ties,
            void=self.void,
            win_rate=self.wins / games if games else None,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            reasons=dict(sorted(self.reasons.items())),
            truth=self._told and self._told.true_share,
            unparsed=self._told and self._told.unparsed_share,
            mean_turns=self.turns / games if games else None,
        )


def cell(episodes: Iterable[Episode], opponent: str, role: str, words: str, truth: TruthOf | None = None) -> Cell:
    """The count of some games, seen from one role."""
    tally = Tally(role, truth)
    for one in episodes:
        tally.add(one)
    return tally.cell(opponent, words)


def truthfulness(episodes: Iterable[Episode], truth: TruthOf | None) -> Truth | None:
    """What was said about the secrets by the role that knows them, all games together; None where truth is not known."""
    if truth is None:
        return None
    found = [truth((u.text for u in p.state.utterances if u.role == CLAIMING_ROLE), p.match.task.secret) for p in episodes]
    return Truth(*(sum(one[i] for one in found) for i in range(len(Truth._fields))))
