"""Finished games written by hand, for the tests of what is learnt from them."""

import numpy as np

from sparring.agents.core import Segment, TurnSpan
from sparring.agents.players.simple import SilentAgent
from sparring.agents.rollout import Episode, Match, Turn
from sparring.envs.core import Outcome, Task, Utterance, replay
from sparring.envs.games.taboo import AdversarialTaboo

WIN, LOSS = "I know the word! It is a lemon.", "I know the word! It is a pear."


def make_episode(id: str, *texts: str, group: str = "lemon") -> Episode:
    """A game about a lemon in which each utterance is two sampled tokens after one token of prompt."""
    game = AdversarialTaboo()
    task = Task(id, "lemon", group, 0)
    roles = [game.roles[i % 2] for i in range(len(texts))]
    state = replay(game, task, [Utterance(role, text) for role, text in zip(roles, texts, strict=True)])
    segments = {}
    for role in game.roles:
        turns = [i for i, speaker in enumerate(roles) if speaker == role]
        loss_mask = np.array([False, True, True] * len(turns), np.bool_)
        spans = tuple(TurnSpan(turn, 3 * k + 1, 3 * k + 3, "stop") for k, turn in enumerate(turns))
        ids = np.arange(len(loss_mask))
        segments[role] = (Segment(ids, loss_mask, np.where(loss_mask, -1, 0).astype(np.float32), spans, 1.0, "0"),) if turns else ()
    match = Match(id, game, task, dict.fromkeys(game.roles, SilentAgent()), 0)
    outcome = state.outcome or Outcome(dict.fromkeys(game.roles, 0.0), None, "void")
    return Episode(match, state, outcome, segments, tuple(Turn(role, "", "stop", 2) for role in roles), 0.0)
