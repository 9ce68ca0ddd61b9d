"""What a run is going to need and write, before it begins: bounds, from the configuration and the model
alone. And what becomes of a few first games, where they are soon played."""

import resource
import sys
from typing import Any

from sparring.agents.models.chat_format import ChatFormat
from sparring.envs.views import Message

from ..evaluation.gate import MUTE, share_of
from ..evaluation.round_metrics import describe
from ..learner import lora
from ..learner.footprint import learning_bytes, playing_bytes
from ..learner.scoring import language_model_scorer
from ..runtime.distributed import Ranks
from ..runtime.progress import Progress
from .method import Method
from .session import Session, first_prompt
from .start import seconds_at_most, start_games

MASTER_BYTES = 4
ADAM_BYTES = 8
TRIED, PATIENCE = 16, 60.0
"""First games that are played, and the seconds that they may take."""


def plan(session: Session, method: Method) -> dict[str, Any]:
    """Model, memory in bytes (weights: sampler, reference; training: float32 master weights where the
    sampler's are not float32, or those of an adapter, gradients and Adam's averages; cache: keys and values
    of all streams in play at their longest, growing: their copy while caches grow; passes: activations and
    logits of the largest pass; libraries: on a CPU, what this process takes without the model; total: of
    all), tokens and steps of a round at most, and what is written.
    """
    config, model = session.config, session.model
    parameters = model.model.num_parameters()
    weights = sum(p.numel() * p.element_size() for p in model.model.parameters())
    first = next(model.model.parameters())
    # While float32 weights play in bfloat16 there is a rounded copy.
    rounded = 2 * parameters if model.products != first.dtype else 0
    rank = config.learner.lora_rank
    trained = lora.size(model.model, rank) if rank else parameters
    master = 0 if first.element_size() == MASTER_BYTES and not rank else MASTER_BYTES * trained
    compared = config.evaluation.games > 0 or config.evaluation.control
    copies = 2 if config.rounds and not rank and (compared or method.frozen_model) else 1
    utterances = config.games_per_round * session.game.horizon
    cache, growing = _cache(session, 2 if config.rounds and compared else 1)
    memory = {
        "weights": (weights + rounded) * copies,
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


def tried(session: Session, method: Method, progress: Progress) -> dict[str, Any]:
    """{"first_games": how the first games of the model end, by reason, and a warning where most are
    silence or babble}. Empty where they may take more than a minute, where nothing is played, and where
    the model learns from demonstrations before it plays."""
    config = session.config
    if config.sft.steps or method.baseline or not config.rounds or seconds_at_most(session, TRIED) > PATIENCE:
        return {}
    record = describe(start_games(session, TRIED, Ranks(), progress))
    found: dict[str, Any] = {"games": record["games"], **record["reasons"]}
    if (share_of(record, MUTE) or 0.0) > 0.5:
        found["warning"] = (
            "most games end by silence or over-long speech, so that there is nothing to learn from; a supervised start "
            "(--sft.steps 100), a lower --temperature or more --max-new-tokens may help"
        )
    return {"first_games": found}


def _longest(session: Session) -> int:
    """Tokens of the longest stream: a role's first prompt, what it says itself, and what the other says,
    which is tokenised anew."""
    room = session.model.loop.max_length
    if not session.game.secret_roles:
        return room
    turns = -(-session.game.horizon // 2)
    prompt = first_prompt(session.game, session.words, session.card.prompts, session.model.format)
    return min(room, prompt + turns * (_template_tokens(session.model.format) + 3 * session.config.max_new_tokens))


def _template_tokens(chat: ChatFormat) -> int:
    """Tokens that a chat template puts around an utterance of each side, at most."""
    pair = [Message("user", "a"), Message("assistant", "a")]
    return len(chat.conversation(pair * 2)[0]) - len(chat.conversation(pair)[0])


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
    rank, again = config.learner.lora_rank, config.learner.gradient_checkpointing
    learning = learning_bytes(language_model_scorer(session.model), tokens, longest, rank=rank, recomputed=again)
    return max(playing, learning)


def _resident() -> int:
    """The most memory that this process has taken so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bytes_needed(session: Session, done: int = 0) -> int:
    """About what a run is going to write after round `done`: its checkpoints, four optimisers at most, and
    its games."""
    config = session.config
    parameters = list(session.model.model.parameters())
    weights: int = sum(p.numel() * p.element_size() for p in parameters)
    rounds = config.rounds - done
    kept = rounds + 1 if config.keep_checkpoints == 0 else min(rounds + 1, config.keep_checkpoints + 2)
    trained = lora.size(session.model.model, config.learner.lora_rank) if config.learner.lora_rank else sum(p.numel() for p in parameters)
    each = 4 * trained if config.learner.lora_rank else weights
    return weights + each * (kept + 1) + 4 * 12 * trained + 2000 * config.games_per_round * rounds
