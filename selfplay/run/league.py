"""A league in a run: past checkpoints and fixed agents as opponents beside the mirror.

What it keeps from round to round is its records of wins, which are part of every checkpoint; the rest follows from the seed and from which
rounds there are, so that a resumed run pairs as an uninterrupted one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparring.agents.core import Agent, derive_seed
from sparring.agents.models.adapter_folders import forget_adapter
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import checkpoint_model
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Episode, Match
from sparring.envs.core import VOID, Task

from ..config.league import LeagueOptions
from ..league.matchmaking import Pairing, Record, pairings
from ..objectives.credit import LEARNING_ROLE
from .session import Session, load_agent

OPPONENT = "opponent"
"""The tag of a match against an opponent of the league: its name."""


@dataclass
class League:
    """run: the run's folder. records: of the learner against each opponent, by its name. players: those of this round, by name and role."""

    session: Session
    run: Path
    options: LeagueOptions
    records: dict[str, Record] = field(default_factory=dict)
    players: dict[tuple[str, str], Agent] = field(default_factory=dict)

    def pool(self, number: int) -> list[str]:
        """Who can be met in a round, the oldest first: fixed agents, and the models of earlier rounds but that which learns now."""
        rounds = [past for past in range(0, number - 1, self.options.every) if checkpoint_model(self.run, past).is_dir()]
        return [*self.options.fixed, *map(_name, rounds)]

    def matches(self, number: int, seed: int, tasks: Sequence[Task], learner: Agent) -> list[Match]:
        """The games of a round: those about one word have one opponent, and one role that learns."""
        groups = list(dict.fromkeys(task.group for task in tasks))
        roles, options = self.session.game.roles, self.options
        drawn = pairings(self.pool(number), self.records, options.draw, len(groups), options.mirror, roles, derive_seed(seed, "league"))
        by_group = dict(zip(groups, drawn, strict=True))
        self._keep({pairing.opponent for pairing in drawn if pairing.opponent})
        return [self._match(task, by_group[task.group], seed, learner) for task in tasks]

    def _match(self, task: Task, pairing: Pairing, seed: int, learner: Agent) -> Match:
        game = self.session.game
        agents = {
            role: learner if pairing.role in (None, role) or pairing.opponent is None else self._agent(pairing.opponent, role)
            for role in game.roles
        }
        tags = {LEARNING_ROLE: pairing.role, OPPONENT: pairing.opponent} if pairing.role and pairing.opponent else {}
        return Match(task.id, game, task, agents, derive_seed(seed, task.id), tags)

    def _keep(self, names: set[str]) -> None:
        """Drops players that this round does not meet, and forgets what those it meets have cached of games that a resumed run has not
        played."""
        self.players = {key: player for key, player in self.players.items() if key[0] in names}
        for player in self.players.values():
            if isinstance(player, ModelAgent) and isinstance(player.model, LanguageModel) and player.model is not self.session.model:
                player.model.forget_caches()

    def _agent(self, name: str, role: str) -> Agent:
        """The player of a role. Both roles of one past model share its weights."""
        if (name, role) not in self.players:
            others = [player for (known, _), player in self.players.items() if known == name]
            past = _round(name)
            if past is None:
                self.players[name, role] = load_agent(self.session.config, name, role, self.session.day)
            else:
                self.players[name, role] = others[0] if others else self._past(name, past)
        return self.players[name, role]

    def _past(self, name: str, number: int) -> ModelAgent:
        """The model of an earlier round. In a LoRA run it is an adapter, or no adapter, on the weights of the model that learns."""
        session = self.session
        if session.model.adapter is None:
            return session.agent(session.load_round(self.run, number), name)
        if number == 0:
            return session.agent(session.first_model(self.run), name)
        adapter = session.model.load_adapter(checkpoint_model(self.run, number))
        return ModelAgent(session.model, session.card.prompts, session.sampling, name=name, trainable=False, adapter=adapter)

    def update(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Takes a round's games into the records; metrics by opponent: games and the learner's win rate, ties as half."""
        metrics: dict[str, float] = {}
        met = [episode for episode in episodes if OPPONENT in episode.match.tags and episode.outcome.reason != VOID]
        for name in sorted({episode.match.tags[OPPONENT] for episode in met}):
            games = [episode for episode in met if episode.match.tags[OPPONENT] == name]
            wins = sum(_worth(episode) for episode in games)
            self.records[name] = self.records.get(name, Record()).after(wins, len(games))
            metrics |= {f"league/{name}/games": len(games), f"league/{name}/win_rate": wins / len(games)}
        return metrics

    @property
    def state(self) -> dict[str, list[float]]:
        """The records, as JSON."""
        return {name: [record.wins, record.games] for name, record in self.records.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Takes up the records of a checkpoint, and drops all players: after a rollback a round's model may be another one."""
        model = self.session.model
        self.players = {}
        for adapter in model.adapters.values():
            forget_adapter(model.model, adapter)
        if model.adapters:
            model.adapters.clear()
            model.forget_caches()
        self.records = {name: Record(wins, games) for name, (wins, games) in state.items()}


def _name(number: int) -> str:
    return f"round {number}"


def _round(name: str) -> int | None:
    """The round of a past model's name; None for a fixed agent."""
    return int(name.removeprefix("round ")) if name.startswith("round ") else None


def _worth(episode: Episode) -> float:
    """What a game counts for who learns: 1 won, 0.5 tied, 0 lost."""
    winner = episode.outcome.winner
    return 0.5 if winner is None else float(winner == episode.match.tags[LEARNING_ROLE])
