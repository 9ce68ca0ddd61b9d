"""SPIN's pairs (arXiv 2401.01335): what an expert said in a conversation, and what the model says in its place.

Knows conversations and models by their protocols; the loss is `PreferenceLoss`, against the model that answered.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sparring.agents.core import Request, Sampling, Segment, derive_seed
from sparring.agents.models.language_model import LanguageModel

from ..learner.batch import Pair, sample_from_segment, sft_sample
from .chats import Chat, Conversation


def spin_pairs(
    chats: Sequence[Chat],
    model: LanguageModel,
    sampling: Sampling,
    n: int,
    seed: int,
    *,
    concurrency: int = 256,
    progress: Callable[[int], None] | None = None,
) -> list[Pair]:
    """n pairs, about: of each chat drawn, one assistant message and the model's own answer to what stands before it.

    Chats that leave no room for an answer in the model's context are left out, as are answers that failed. The log-probabilities of the
    pairs are still to be made the reference's.
    """
    places = [found for chat in chats if (found := _places(chat))]
    if not places:
        raise ValueError("SPIN needs conversations in which an assistant answers somebody")
    rng = random.Random(derive_seed(seed, "places"))
    drawn = [rng.choice(rng.choice(places)) for _ in range(n)]
    room = model.loop.max_length - sampling.max_new_tokens
    contexts = [(said[:-1], said[-1].content) for said in drawn if len(model.format.open(said[:-1])) <= room]
    pairs = []
    for start in range(0, len(contexts), concurrency):
        part = contexts[start : start + concurrency]
        answered = answers(model, [context for context, _ in part], sampling, derive_seed(seed, "answers", start))
        for (context, expert), segment in zip(part, answered, strict=True):
            prompt, reply = model.format.open(context), model.format.reply(expert)
            if segment is not None and len(prompt) + len(reply) <= model.loop.max_length:
                chosen = sft_sample(prompt + reply, [False] * len(prompt) + [True] * len(reply))
                pairs.append(Pair(replace(chosen, temperature=segment.temperature), sample_from_segment(segment, 0.0)))
        if progress is not None:
            progress(len(part))
    return pairs


def _places(chat: Chat) -> list[Conversation]:
    """The conversation up to each assistant message that is to be learnt from and answers somebody else."""
    said = chat.messages
    answering = [i for i in range(1, len(said)) if said[i].role == "assistant" != said[i - 1].role]
    return [said[: i + 1] for i in answering if i >= chat.start]


def answers(model: LanguageModel, contexts: Sequence[Conversation], sampling: Sampling, seed: int) -> Iterator[Segment | None]:
    """The model's reply to each conversation as a segment; None where there is none."""
    waiting = set()
    for i, context in enumerate(contexts):
        model.submit(Request(model, f"spin:{i}", context, sampling, derive_seed(seed, i)))
        waiting.add(f"spin:{i}")
    while waiting:
        waiting -= {request.stream for request, _ in model.poll()}
    for i in range(len(contexts)):
        segments = model.close(f"spin:{i}")
        yield segments[0] if segments and segments[0].loss_mask.any() else None
