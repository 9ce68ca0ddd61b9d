"""What a run is going to need and write, before it begins: bounds, from the configuration and the model alone. And what becomes of a few
first games, where they are soon played."""

import resource
import sys
from typing import Any

from ..learner import lora
from ..learner.footprint import learning_bytes, playing_bytes
from ..learner.scoring import Scorer
from .method import Method
from .session import Session, first_prompt

MASTER_BYTES = 4
ADAM_BYTES = 8
TRIED, PATIENCE = 16, 60.0
"""First games that are played, and the seconds that they may take."""
TEMPLATE = 32
"""Tokens that a chat template puts around an utterance, at most."""


def plan(session: Session, method: Method) -> dict[str, Any]:
    """Model, memory in bytes (weights: sampler, reference; training: float32 master weights where the sampler's are not float32, or those
    of an adapter, gradients and Adam's averages; cache: keys and values of all streams in play at their longest, growing: their copy while
    caches grow; passes: activations and logits of the largest pass; libraries: on a CPU, what this process takes without the model; total:
    of all), tokens and steps of a round at most, and what is written.
    """
    config, model = session.config, session.model
    parameters = model.model.num_parameters()
    weights = sum(p.numel() * p.element_size() for p in model.model.parameters())
    first = next(model.model.parameters())
    rank = config.learner.lora_rank
    trained = lora.size(model.model, rank) if rank else parameters
    master = 0 if first.element_size() == MASTER_BYTES and not rank else MASTER_BYTES * trained
    compared = config.evaluation.games > 0 or config.evaluation.control
    copies = 2 if config.rounds and not rank and (compared or method.frozen_model) else 1
    utterances = config.games_per_round * session.game.horizon
    cache, growing = _cache(session, 2 if config.rounds and compared else 1)
    memory = {
        "weights": weights * copies,
        "training": master + (MASTER_BYTES + ADAM_BYTES) * trained,
        "cache_at_most": cache,
        "growing_at_most": growing,
        "passes_at_most": _passes(session, method),
    }
    if first.device.type == "cpu":
        memory["libraries"] = max(0, _resident() - weights)
    return {
        "model": {
            "name": config.model,
            "parameters": parameters,
            "dtype": str(first.dtype).removeprefix("torch."),
            "device": str(first.device),
            "context_tokens": model.loop.max_length,
        },
        "words": session.words.counts,
        "memory_bytes": {**memory, "total_at_most": sum(memory.values())},
        "round": {
            "games": config.games_per_round,
            "utterances_at_most": utterances,
            "sampled_tokens_at_most": utterances * config.max_new_tokens,
            "optimiser_steps_at_most": steps_at_most(session, method),
        },
        "rounds": config.rounds,
        "sft_steps": config.sft.steps,
        "writes": {"folder": str(config.out) if config.out else "runs/", "bytes": bytes_needed(session)},
    }


def steps_at_most(session: Session, method: Method) -> int:
    """Optimiser steps of a round in which every trained role of every game gives a sample, or one of a pair."""
    config, learner = session.config, session.config.learner
    examples = config.games_per_round * len(session.trained) // (2 if method.loss.unit == "pair" else 1)
    return learner.epochs * -(-examples // learner.minibatch)


def _longest(session: Session) -> int:
    """Tokens of the longest stream: a role's first prompt, what it says itself, and what the other says, which is tokenised anew."""
    room = session.model.loop.max_length
    if not session.game.secret_roles:
        return room
    said, others = session.game.horizon // 2, -(-session.game.horizon // 2)
    prompt = first_prompt(session.game, session.words, session.card.prompts, session.model.format)
    return min(room, prompt + said * (session.config.max_new_tokens + TEMPLATE) + others * (2 * session.config.max_new_tokens + TEMPLATE))


def _cache(session: Session, models: int) -> tuple[int, int]:
    """Bytes of the caches of models that play, and those of their copy while one of them grows."""
    config = session.config
    players = len(session.game.roles)
    games = max(config.games_per_round, config.evaluation.games)
    held, growing = session.model.loop.held_bound(min(config.concurrency, games) * players, _longest(session), games * players)
    return held * models, growing


def _passes(session: Session, method: Method) -> int:
    """Bytes of the largest pass, of play or of learning."""
    config, model = session.config, session.model.model
    playing = playing_bytes(model, session.model.loop.max_rows, session.model.loop.prefill_tokens)
    if not (config.rounds or config.sft.steps):
        return playing
    longest = _longest(session)
    samples = config.learner.minibatch * (2 if method.loss.unit == "pair" else 1) + config.sft_mix.per_step(config.learner.minibatch)
    tokens = min(max(config.learner.token_budget, longest), samples * longest)
    learning = learning_bytes(
        Scorer(model), tokens, longest, rank=config.learner.lora_rank, recomputed=config.learner.gradient_checkpointing
    )
    return max(playing, learning)


def _resident() -> int:
    """The most memory that this process has taken so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bytes_needed(session: Session, done: int = 0) -> int:
    """About what a run is going to write after round `done`: its checkpoints, four optimisers at most, and its games."""
    config = session.config
    parameters = list(session.model.model.parameters())
    weights: int = sum(p.numel() * p.element_size() for p in parameters)
    rounds = config.rounds - done
    kept = rounds + 1 if config.keep_checkpoints == 0 else min(rounds + 1, config.keep_checkpoints + 2)
    trained = lora.size(session.model.model, config.learner.lora_rank) if config.learner.lora_rank else sum(p.numel() for p in parameters)
    each = 4 * trained if config.learner.lora_rank else weights
    return weights + each * (kept + 1) + 4 * 12 * trained + 2000 * config.games_per_round * rounds
