"""Games of a model before it has learnt anything by self-play, which show whether it can play and win at all."""

import time

import torch

from sparring.agents.core import derive_seed
from sparring.agents.rollout import Episode, Match

from ..data.word_sets import round_tasks
from ..runtime.distributed import Ranks
from ..runtime.progress import Progress, counted
from .rollouts import play_across
from .session import Session

NAME = "start"


def start_games(session: Session, games: int, ranks: Ranks, progress: Progress) -> list[Episode]:
    """Games of the session's model against itself, or against its fixed opponent, as the first round would play them."""
    config = session.config
    seed = derive_seed(config.seed, NAME)
    agents = session.agents(session.agent(session.model, config.model))
    tasks = round_tasks(session.words.in_round(1, max(1, config.rounds)), games, 1, seed, NAME)
    matches = [Match(task.id, session.game, task, agents, derive_seed(seed, task.id)) for task in tasks]
    with progress.phase("games of the first model", games) as advance:
        episodes = play_across(ranks, matches, concurrency=config.concurrency, progress=counted(advance, ranks.size))
    session.model.forget_caches()
    return episodes


def seconds_at_most(session: Session, games: int) -> float:
    """About how long so many games take at most: a pass of one token a game, as often as utterances have tokens."""
    model = session.model.model
    tokens = torch.zeros(games, 1, dtype=torch.int64, device=next(model.parameters()).device)
    with torch.no_grad():
        model(input_ids=tokens, use_cache=False)
        began = time.perf_counter()
        float(model(input_ids=tokens, use_cache=False).logits[0, 0, 0])  # waits for a GPU
    return (time.perf_counter() - began) * session.game.horizon * session.config.max_new_tokens
