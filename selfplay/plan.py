"""What a run is going to need and write, before it begins. Bounds, from the configuration and the model alone; nothing is played."""

from typing import Any

from . import lora
from .method import Method
from .session import Session

MASTER_BYTES = 4
ADAM_BYTES = 8


def plan(session: Session, method: Method) -> dict[str, Any]:
    """Model, memory in bytes (weights: sampler, reference; training: float32 master weights where the sampler's are not float32, or those
    of an adapter, gradients and Adam's averages; cache: keys and values at most; activations are not counted), tokens and steps of a
    round at most, and what is written.
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
    rows = config.games_per_round * len(session.trained)
    return {
        "model": {
            "name": config.model,
            "parameters": parameters,
            "dtype": str(first.dtype).removeprefix("torch."),
            "device": str(first.device),
            "context_tokens": model.loop.max_length,
        },
        "words": session.words.counts,
        "memory_bytes": {
            "weights": weights * copies,
            "training": master + (MASTER_BYTES + ADAM_BYTES) * trained,
            "cache_at_most": model.loop.memory_bound() * (2 if config.rounds and compared else 1),
        },
        "round": {
            "games": config.games_per_round,
            "utterances_at_most": utterances,
            "sampled_tokens_at_most": utterances * config.max_new_tokens,
            "optimiser_steps_at_most": config.learner.epochs * -(-rows // config.learner.minibatch),
        },
        "rounds": config.rounds,
        "imitation_steps": config.imitation.steps,
        "writes": {"folder": str(config.out) if config.out else "runs/", "bytes": bytes_needed(session)},
    }


def bytes_needed(session: Session, done: int = 0) -> int:
    """About what a run is going to write after round `done`: its checkpoints, four optimisers at most, and its games."""
    config = session.config
    parameters = list(session.model.model.parameters())
    weights: int = sum(p.numel() * p.element_size() for p in parameters)
    rounds = config.rounds - done
    kept = rounds + 1 if config.keep == 0 else min(rounds + 1, config.keep + 2)
    trained = lora.size(session.model.model, config.learner.lora_rank) if config.learner.lora_rank else sum(p.numel() for p in parameters)
    each = 4 * trained if config.learner.lora_rank else weights
    return weights + each * (kept + 1) + 4 * 12 * trained + 2000 * config.games_per_round * rounds
