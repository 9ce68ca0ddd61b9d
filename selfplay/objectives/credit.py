"""Credit assignment: which tokens of a round are trained on, and with what advantages.

Every function here takes a round's experience, its returns and the method's running state, and gives training samples (or pairs) and the
state for the next round. Games come in the order of their ids, so nothing depends on which ended first.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from sparring.agents.core import Segment
from sparring.agents.rollout import Episode

from ..learner.batch import Example, Pair, Sample, sample_from_segment
from .advantages import centred, group_relative, returns_to_go, running_baseline
from .returns import Returns

State = Mapping[str, float]
"""What a method keeps from round to round (running baselines); it is part of every checkpoint."""


LEARNING_ROLE = "learning_role"
"""The tag of a match in which one role alone learns: that role. Where a match has no such tag, all trained roles learn."""

Paraphrase = Callable[[Episode, str, int], tuple[list[int], list[bool]]]
"""An utterance (of a game, by a role, by its number) in a paraphrased prompt: ids [n] and loss_mask [n]."""


@dataclass(frozen=True)
class Experience:
    """What a round has collected.

    episodes: finished games. examples: training samples or pairs that need no returns (experts' talk, SPIN's pairs). roles: those that are
    trained; None: all of them. metrics: for the round's record. sampled_tokens: what collecting has cost the model. paraphrase: of methods
    that train on paraphrased prompts.
    """

    episodes: Sequence[Episode] = ()
    examples: Sequence[Example] = ()
    roles: Sequence[str] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    sampled_tokens: int = 0
    paraphrase: Paraphrase | None = None

    def sides(self, returns: Returns) -> list[tuple[Episode, str]]:
        """Every game that has a return, from the side of every role that learns in it."""
        counted = sorted((p for p in self.episodes if p.match.id in returns), key=lambda p: p.match.id)
        roles = [(p, role) for p in counted for role in p.match.game.roles if self.roles is None or role in self.roles]
        return [(p, role) for p, role in roles if p.match.tags.get(LEARNING_ROLE, role) == role]


Credit = Callable[[Experience, Returns, State], tuple[list[Example], State]]


def group_samples(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
    """Advantage: the return minus the mean of the games about the same word, in the same role, against the same opponent."""
    sides = experience.sides(returns)
    keys = [(p.match.task.group, role, _opponents(p, role)) for p, role in sides]
    return _samples(sides, group_relative(_values(sides, returns), keys)), state


def baseline_samples(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
    """Advantage: the return minus a running baseline per game and role (RAE)."""
    sides = experience.sides(returns)
    keys = [f"{p.match.game.name}/{role}" for p, role in sides]
    advantages, baselines = running_baseline(_values(sides, returns), keys, state)
    return _samples(sides, advantages), baselines


def turn_samples(experience: Experience, returns: Returns, state: State, *, discount: float = 1.0) -> tuple[list[Example], State]:
    """Advantage of each turn: its return-to-go minus the mean over all turns of the same role in the round (MARSHAL, arXiv 2510.15414:
    sums before normalisation, normalised per agent). Not divided by the standard deviation, as `group_samples` is not.

    Our games reward their end alone, so with discount 1 all turns of a side share its return, and a long game weighs in the mean by its
    number of turns.
    """
    sides = experience.sides(returns)
    turns = [[span for segment in trainable(p, role) for span in segment.turns] for p, role in sides]
    values = [returns_to_go(returns[p.match.id][role], len(spans), discount) for (p, role), spans in zip(sides, turns, strict=True)]
    flat = np.concatenate(values) if values else np.zeros(0)
    keys = [role for (_, role), spans in zip(sides, turns, strict=True) for _ in spans]
    advantages = iter(centred(flat, keys))
    samples: list[Example] = []
    for p, role in sides:
        for segment in trainable(p, role):
            per_token = np.zeros(len(segment.ids), np.float32)
            for span in segment.turns:
                per_token[span.start : span.end] = next(advantages)
            samples.append(sample_from_segment(segment, per_token, role=role))
    return samples, state


def preference_pairs(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
    """Within a word and a role each game won beside one lost, as long as there are both; a tie is neither.

    A side whose stream was cut into several segments is left out: a pair is of two samples.
    """
    return list(_pairs(experience.sides(returns), returns)), state


def given_examples(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
    """What was collected as examples already, as it is."""
    return list(experience.examples), state


def without_outcomes(credit: Credit, reasons: Collection[str]) -> Credit:
    """The same credit without games that ended for one of these reasons: nothing is learnt from them."""

    def kept(experience: Experience, returns: Returns, state: State) -> tuple[list[Example], State]:
        dropped = {p.match.id for p in experience.episodes if p.outcome.reason in reasons}
        return credit(experience, {id: values for id, values in returns.items() if id not in dropped}, state)

    return kept


def trainable(episode: Episode, role: str) -> list[Segment]:
    """The segments of a role that hold something to train on."""
    return [segment for segment in episode.segments[role] if segment.loss_mask.any()]


def _opponents(episode: Episode, role: str) -> tuple[str, ...]:
    return tuple(agent.name for other, agent in sorted(episode.match.agents.items()) if other != role)


def _values(sides: Sequence[tuple[Episode, str]], returns: Returns) -> list[float]:
    return [returns[p.match.id][role] for p, role in sides]


def _samples(sides: Sequence[tuple[Episode, str]], advantages: Sequence[float] | np.ndarray[Any, Any]) -> list[Example]:
    """Samples whose advantages are all zero stay, so that a KL penalty sees them."""
    return [
        sample_from_segment(segment, float(advantage), role=role)
        for (p, role), advantage in zip(sides, advantages, strict=True)
        for segment in trainable(p, role)
    ]


def _pairs(sides: Sequence[tuple[Episode, str]], returns: Returns) -> Iterator[Pair]:
    def key(side: tuple[Episode, str]) -> tuple[str, str]:
        return side[0].match.task.group, side[1]

    for _, group in groupby(sorted(sides, key=key), key=key):
        samples: dict[bool, list[Sample]] = {True: [], False: []}
        for p, role in group:
            segments = trainable(p, role)
            utility, best = returns[p.match.id][role], max(value for other, value in returns[p.match.id].items() if other != role)
            if len(segments) == 1 and utility != best:
                samples[utility > best].append(sample_from_segment(segments[0], 0.0, role=role))
        yield from (Pair(chosen, rejected) for chosen, rejected in zip(samples[True], samples[False], strict=False))
