"""What the model of a run is given to imitate: experts' conversations, and replayed ones, as training rows that fit its context."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from sparring.agents.core import derive_seed
from sparring.agents.players.scripted import CLEAR, ScriptedAgent, scripted
from sparring.agents.rollout import Match, Played, play_all
from sparring.envs.core import Game, Task

from ..data.chats import Chat, sides, supervised
from ..learner.batch import Row
from ..mini.corpus import conversations
from ..storage.folder import RunFolder, read_lines
from .session import Session


EXPERTS = {"mixed": scripted(), "clear": ScriptedAgent(*CLEAR)}
"""Scripted players by the name that settings give them."""


def expert_games(game: Game, words: Sequence[str], n: int, seed: int, experts: str = "mixed") -> list[Played]:
    """n games of scripted players, about words in turn, in an order that the seed draws. experts: one of EXPERTS."""
    if not words:
        raise ValueError("expert games need at least one word")
    order = random.Random(derive_seed(seed, "words")).sample(list(words), k=len(words))
    matches = []
    for i in range(n):
        word = order[i % len(order)]
        task = Task(f"expert-{i}", word, word, derive_seed(seed, "task", i))
        agents = dict.fromkeys(game.roles, EXPERTS[experts])
        matches.append(Match(task.id, game, task, agents, derive_seed(seed, "match", i)))
    return play_all(matches)


def expert_talks(session: Session, games: int, seed: int, *, winners_only: bool = False) -> Sequence[Chat]:
    """The conversations that were given to imitate, else those of so many expert games."""
    given = given_talks(session)
    if given is not None:
        return given
    words, experts = session.words.imitated or session.words.played, session.config.imitation.experts
    played = expert_games(session.game, words, games, seed, experts)
    return [chat for p in played for chat in sides(p, session.card.prompts, winners_only=winners_only)]


def given_talks(session: Session) -> Sequence[Chat] | None:
    """Conversations of the file that is to be imitated, or of the replay file where scripted experts do not know the words; None where
    experts play."""
    return session.replay if session.taught is None and not session.words.everyday else session.taught


def expert_rows(session: Session, games: int, seed: int, *, winners_only: bool = False) -> list[Row]:
    """Rows of `expert_talks`. Raises ValueError where none fits."""
    limit = session.model.loop.max_length
    rows = list(supervised(expert_talks(session, games, seed, winners_only=winners_only), session.model.format, limit))
    if not rows:
        raise ValueError(f"no conversation to imitate fits into the model's context of {limit} tokens")
    return rows


def expert_round(session: Session, seed: int, tokens: int | None, *, winners_only: bool = False) -> list[Row]:
    """Rows of new expert games: as many games as a round has, or until `tokens` are trained on. Of given conversations, in an order that
    the seed draws, instead."""
    games = session.config.games_per_round
    rows = expert_rows(session, games, seed, winners_only=winners_only)
    if given_talks(session) is not None:
        random.Random(derive_seed(seed, "order")).shuffle(rows)
    if tokens is None:
        return rows
    while sum(row.actions for row in rows) < tokens:
        rows += expert_rows(session, games, derive_seed(seed, len(rows)), winners_only=winners_only)
    taken = total = 0
    while total < tokens:
        total += rows[taken].actions
        taken += 1
    return rows[:taken]


def tokens_of(run: Path, number: int) -> int:
    """How many tokens a round of a run was trained on, replay apart. Raises ValueError where it has no such round."""
    for record in read_lines(RunFolder.open(run).metrics):
        if record["round"] == number and number > 0:
            return int(record.get("own_tokens", 0))
    raise ValueError(f"{run} has no round {number} to match")


def replay_rows(session: Session, n: int, seed: int) -> list[Row]:
    """Rows of n replayed conversations, drawn by the seed; none where there is nothing to replay. Raises ValueError where none fits."""
    if n == 0 or session.config.replay == "none":
        return []
    if session.replay is not None:
        drawn: Iterator[Chat] = iter(random.Random(seed).choices(session.replay, k=n))
    elif session.config.replay == "experts":
        chats = expert_talks(session, n, seed)
        drawn = iter(random.Random(derive_seed(seed, "order")).sample(chats, k=len(chats)))
    else:
        drawn = map(Chat, islice(conversations(seed), 2 * n))
    rows = list(islice(supervised(drawn, session.model.format, session.model.loop.max_length), n))
    if not rows:
        raise ValueError("no conversation to replay fits into the model's context; set --replay none")
    return rows
