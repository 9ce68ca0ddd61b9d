"""Imitation before the first round: what the model of round 0 has learnt from experts."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sparring.agents.core import derive_seed
from sparring.agents.models.adapter_folders import merge

from ..learner.batch import Example, Row
from ..learner.learner import Learner
from ..learner.scoring import Scorer, with_reference
from ..objectives.advantages import role_weights
from ..objectives.sft_loss import AnchoredSFTLoss, SFTLoss
from .demonstrations import expert_rows, given_talks, replay_rows
from .partial_updates import Pauses
from .session import Session

CHUNK = 20
"""Steps between two draws of replay."""


def imitate(session: Session, pauses: Pauses) -> None:
    """Teaches the model of the session expert games, or the conversations of the replay file where experts do not know the words. An
    adapter is merged into the weights, so that what self-play begins from is the model without one."""
    config, of, model = session.config, session.config.imitation, session.model
    seed = derive_seed(config.seed, "imitation")
    settings = replace(
        config.learner,
        lr=of.lr,
        minibatch=of.minibatch,
        schedule="cosine",
        warmup=min(20, of.steps // 5),
        total_steps=of.steps,
        per_round=False,
        epochs=1,
        # SPAG's loss is one of rows. So that of replay is one too, or the step would not be the mean over its conversations.
        aggregation="sequence" if of.kl > 0 else config.learner.aggregation,
    )
    loss = AnchoredSFTLoss(of.kl) if of.kl > 0 else SFTLoss()
    learner = Learner(model.model, loss, replay_loss=SFTLoss("replay_loss"), config=settings)
    scorer = Scorer(model.model, around=model.speaking)

    def anchored(rows: Sequence[Row]) -> Sequence[Example]:
        """With the log-probabilities of the model as it came, where there is a KL to it."""
        return with_reference(scorer, rows, config.learner.token_budget, ranks=pauses.ranks) if of.kl > 0 else rows

    shown = expert_rows(session, of.games, seed, winners_only=of.winners_only)
    examples = anchored(_balanced(shown) if of.winners_only else shown)
    order = _in_order(examples, random.Random(derive_seed(seed, "order")), drawn=given_talks(session) is None)
    replayed = round(of.minibatch * of.replay_share) if session.words.everyday and config.replay not in ("none", "experts") else 0
    starts = range(0, of.steps, CHUNK)
    replay = {s: anchored(replay_rows(session, min(CHUNK, of.steps - s) * replayed, derive_seed(seed, "replay", s))) for s in starts}
    metrics: dict[str, float] = {}
    stopped = pauses.taken_up(0, {"seed": seed}, learner)
    with pauses.progress.phase("imitation", of.steps, "steps") as advance, pauses.interrupts.held():
        for start in starts:
            steps = min(CHUNK, of.steps - start)
            rows = list(islice(order, steps * (of.minibatch - replayed)))
            if start < stopped.get("start", 0):
                continue
            rows += replay[start]
            metrics = learner.update(
                rows,
                seed=derive_seed(seed, start),
                progress=lambda _, tokens: advance(1, tokens),
                watch=lambda *_, at=start: pauses.after_step(0, learner, {"seed": seed, "start": at}),
                done=stopped["done"] if start == stopped.get("start") else None,
            )
    learner.publish()
    if learner.adapter:
        merge(model.model)
    if pauses.ranks.main:
        record = {"round": 0, "imitation_loss": metrics["sft_loss"], "imitation_steps": learner.steps}
        pauses.folder.append(pauses.folder.metrics, record)


def _balanced(rows: Sequence[Row]) -> list[Row]:
    """Rows with SPAG's weights, half for each role however seldom it wins; those of no game keep theirs."""
    weights = {"": 1.0} | role_weights([row.role for row in rows if row.role], cap=math.inf)
    return [replace(row, weight=row.weight * weights[row.role]) for row in rows]


def _in_order(examples: Sequence[Example], rng: random.Random, *, drawn: bool) -> Iterator[Example]:
    """Examples without end. drawn: each by chance, as of experts' games there could be any number; else in shuffled passes, so that none
    comes again before all have come."""
    while True:
        yield from [rng.choice(examples)] if drawn else rng.sample(examples, k=len(examples))
