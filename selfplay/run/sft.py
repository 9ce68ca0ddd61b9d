"""Supervised fine-tuning (SFT) before the first round: what the model of round 0 has learnt from demonstrations."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sparring.agents.core import derive_seed
from sparring.agents.models.adapter_folders import merge

from ..config.config import EXPERT_GAMES, NO_MIX
from ..learner.batch import Example, Sample
from ..learner.learner import Learner
from ..learner.scoring import language_model_scorer, with_reference
from ..objectives.advantages import role_weights
from ..objectives.sft_loss import SFTLoss, SFTWithKLLoss
from .demonstrations import demonstration_samples, provided_chats, sft_mix_samples
from .partial_updates import PartialUpdates
from .session import Session

CHUNK = 20
"""Steps between two draws of the SFT mix."""


def run_sft(session: Session, partial_updates: PartialUpdates) -> None:
    """Trains the session's model on demonstrations: expert games, or the conversations of a file. An adapter is merged into the weights, so
    that self-play begins from a model without one."""
    config, settings, model = session.config, session.config.sft, session.model
    seed = derive_seed(config.seed, "imitation")
    learner_config = replace(
        config.learner,
        lr=settings.lr,
        minibatch=settings.minibatch,
        schedule=f"cosine:{min(20, settings.steps // 5)}",
        epochs=1,
        # SPAG's loss is one of samples. So that of the SFT mix is one too, or the step would not be the mean over its conversations.
        aggregation="sequence" if settings.kl > 0 else config.learner.aggregation,
    )
    loss = SFTWithKLLoss(settings.kl) if settings.kl > 0 else SFTLoss()
    learner = Learner(
        model.model,
        loss,
        sft_mix_loss=SFTLoss("sft_mix_loss"),
        config=learner_config,
        total_steps=settings.steps,
        products=model.products,
    )
    scorer = language_model_scorer(model)

    def with_kl_reference(samples: Sequence[Sample]) -> Sequence[Example]:
        """With the log-probabilities of the initial model, where there is a KL to it."""
        return with_reference(scorer, samples, config.learner.token_budget, ranks=partial_updates.ranks) if settings.kl > 0 else samples

    shown = demonstration_samples(session, settings.games, seed, winners_only=settings.winners_only)
    examples = with_kl_reference(_balanced(shown) if settings.winners_only else shown)
    order = _in_order(examples, random.Random(derive_seed(seed, "order")), drawn=provided_chats(session) is None)
    mixed = session.words.everyday and config.sft_mix.source not in (NO_MIX, EXPERT_GAMES)
    mixed_in = round(settings.minibatch * settings.mix_share) if mixed else 0
    starts = range(0, settings.steps, CHUNK)
    sft_mix = {
        s: with_kl_reference(sft_mix_samples(session, min(CHUNK, settings.steps - s) * mixed_in, derive_seed(seed, "replay", s)))
        for s in starts
    }
    metrics: dict[str, float] = {}
    saved = partial_updates.load(0, {"seed": seed}, learner)
    with partial_updates.progress.phase("sft", settings.steps, "steps") as advance, partial_updates.interrupts.held():
        for start in starts:
            steps = min(CHUNK, settings.steps - start)
            samples = list(islice(order, steps * (settings.minibatch - mixed_in)))
            if start < saved.get("start", 0):
                continue
            samples += sft_mix[start]
            metrics = learner.update(
                samples,
                seed=derive_seed(seed, start),
                progress=lambda _, tokens: advance(1, tokens),
                watch=lambda *_, at=start: partial_updates.after_step(0, learner, {"seed": seed, "start": at}),
                partial=saved["metrics"] if start == saved.get("start") else None,
            )
    learner.sync_weights()
    if learner.adapter:
        merge(model.model)
    if partial_updates.ranks.main:
        record = {"round": 0, "sft_loss": metrics["sft_loss"], "sft_steps": learner.steps}
        partial_updates.folder.append(partial_updates.folder.metrics, record)


def _balanced(samples: Sequence[Sample]) -> list[Sample]:
    """Samples with SPAG's weights, half for each role however seldom it wins; those of no game keep theirs."""
    weights = {"": 1.0} | role_weights([sample.role for sample in samples if sample.role], cap=math.inf)
    return [replace(sample, weight=sample.weight * weights[sample.role]) for sample in samples]


def _in_order(examples: Sequence[Example], rng: random.Random, *, drawn: bool) -> Iterator[Example]:
    """Examples without end. drawn: each by chance, as of experts' games there could be any number; else in shuffled passes, so that none
    comes again before all have come."""
    while True:
        yield from [rng.choice(examples)] if drawn else rng.sample(examples, k=len(examples))
