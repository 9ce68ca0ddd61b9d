"""Demonstrations and the SFT mix as training samples: conversations of scripted experts, of files, and of the base texts."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from sparring.agents.core import derive_seed
from sparring.agents.players.scripted import CLEAR, ScriptedAgent, scripted
from sparring.agents.rollout import Episode, Match, play_all
from sparring.envs.core import Game, Task

from ..config.config import EXPERT_GAMES, NO_MIX
from ..data.chats import Chat, sides, supervised
from ..learner.batch import Sample
from ..mini.corpus import conversations
from ..storage.folder import RunFolder, read_lines
from .session import Session

MIX_POOL = 1024
"""Conversations of the SFT mix that are drawn afresh for a round, at most; steps take them in turn."""


EXPERTS = {"mixed": scripted(), "clear": ScriptedAgent(*CLEAR)}
"""Scripted players by the name that settings give them."""


def expert_games(game: Game, words: Sequence[str], n: int, seed: int, experts: str = "mixed") -> list[Episode]:
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


def demonstration_chats(session: Session, games: int, seed: int, *, winners_only: bool = False) -> Sequence[Chat]:
    """The conversations of the demonstrations' file, else those of so many expert games."""
    chats = provided_chats(session)
    if chats is not None:
        return chats
    words, experts = session.words.sft or session.words.played, session.config.sft.experts
    episodes = expert_games(session.game, words, games, seed, experts)
    return [chat for p in episodes for chat in sides(p, session.card.prompts, winners_only=winners_only)]


def provided_chats(session: Session) -> Sequence[Chat] | None:
    """Conversations of the demonstrations' file, or of the SFT mix's where scripted experts do not know the words; None where experts
    play."""
    return session.sft_mix if session.demonstrations is None and not session.words.everyday else session.demonstrations


def demonstration_samples(session: Session, games: int, seed: int, *, winners_only: bool = False) -> list[Sample]:
    """Samples of `demonstration_chats`. Raises ValueError where none fits."""
    limit = session.model.loop.max_length
    samples = list(supervised(demonstration_chats(session, games, seed, winners_only=winners_only), session.model.format, limit))
    if not samples:
        raise ValueError(f"no demonstration fits into the model's context of {limit} tokens")
    return samples


def round_demonstrations(session: Session, seed: int, tokens: int | None, *, winners_only: bool = False) -> list[Sample]:
    """Samples of new expert games: as many games as a round has, or until `tokens` are trained on. Of given conversations, in an order that
    the seed draws, instead."""
    games = session.config.games_per_round
    samples = demonstration_samples(session, games, seed, winners_only=winners_only)
    if provided_chats(session) is not None:
        random.Random(derive_seed(seed, "order")).shuffle(samples)
    if tokens is None:
        return samples
    while sum(sample.trained_tokens for sample in samples) < tokens:
        samples += demonstration_samples(session, games, derive_seed(seed, len(samples)), winners_only=winners_only)
    taken = total = 0
    while total < tokens:
        total += samples[taken].trained_tokens
        taken += 1
    return samples[:taken]


def tokens_of(run: Path, number: int) -> int:
    """How many tokens a round of a run was trained on, without the SFT mix. Raises ValueError where it has no such round."""
    for record in read_lines(RunFolder.open(run).metrics):
        if record["round"] == number and number > 0:
            return int(record.get("trained_tokens", 0))
    raise ValueError(f"{run} has no round {number} to match")


def round_sft_mix(session: Session, samples: int, seed: int) -> list[Sample]:
    """Samples of the SFT mix, drawn by the seed, for an update with so many samples."""
    learner = session.config.learner
    steps = learner.epochs * -(-samples // learner.minibatch)
    return sft_mix_samples(session, min(MIX_POOL, steps * session.config.sft_mix.per_step(learner.minibatch)), seed)


def sft_mix_samples(session: Session, n: int, seed: int) -> list[Sample]:
    """Samples of n conversations of the SFT mix, drawn by the seed; none where there is no mix. Raises ValueError where none fits."""
    if n == 0 or session.config.sft_mix.source == NO_MIX:
        return []
    if session.sft_mix is not None:
        drawn: Iterator[Chat] = iter(random.Random(seed).choices(session.sft_mix, k=n))
    elif session.config.sft_mix.source == EXPERT_GAMES:
        chats = demonstration_chats(session, n, seed)
        drawn = iter(random.Random(derive_seed(seed, "order")).sample(chats, k=len(chats)))
    else:
        drawn = map(Chat, islice(conversations(seed), 2 * n))
    samples = list(islice(supervised(drawn, session.model.format, session.model.loop.max_length), n))
    if not samples:
        raise ValueError("no conversation of the SFT mix fits into the model's context; set --sft-mix.source none")
    return samples
