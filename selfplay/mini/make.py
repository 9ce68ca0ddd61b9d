"""Makes sparring-mini, the embedded model: its tokenizer and its base weights, from one seed.

    python -m sparring.selfplay.mini.make --out agents/mini

The base learns the everyday world's facts, in both directions and in the game's own chat format (`corpus.py`). Imitation of the scripted
experts comes after it, with `sparring train --preset sft`.
"""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.players.player_card import MINI_CARD
from sparring.envs.world.facts import everyday

from ..config.config import LearnerConfig
from ..learner.batch import Sample, sft_sample
from ..learner.learner import Learner
from ..objectives.sft_loss import SFTLoss
from ..storage.provenance import provenance
from .corpus import Conversation, conversations, description, riddles

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHUNK = 20
"""Optimiser steps between two signs of life."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class MiniConfig:
    """How sparring-mini is made."""

    out: Path = Path("agents/mini")
    """Folder for the model."""
    seed: int = 0
    """Decides texts, initial weights and their order."""
    hidden: int = 128
    """Width, and the size of the word vectors that the embeddings begin with."""
    layers: int = 6
    """Depth."""
    heads: int = 4
    """Attention heads."""
    feed_forward: int = 384
    """Width of the feed-forward layers."""
    vocabulary: int = 1792
    """Most tokens the tokenizer may have."""
    context: int = 1024
    """Longest conversation, in tokens."""
    initial_deviation: float = 0.04
    """Standard deviation of initial weights. 0.02 learnt facts about a third slower."""
    vector_scale: float = 5.0
    """Length of the initial word vectors, in lengths of random ones. At 1, AdamW's first steps, which are all of one size, wipe out what
    the vectors know; at 14 learning starts later."""
    descriptions: int = 12_000
    """Conversations of the first part: full descriptions alone, the densest facts."""
    conversations: int = 200_000
    """Conversations of the second part: every kind."""
    description_share: float = 0.2
    """Share of descriptions in the second part."""
    riddle_share: float = 0.3
    """Share of riddles in the second part."""
    lr: float = 3e-3
    """Peak learning rate; cosine to zero."""
    minibatch: int = 16
    """Conversations in one optimiser step. Larger: fewer steps in the same time, and facts are learnt later."""


def build_tokenizer(texts: Iterator[Conversation], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, so that any text can be encoded; nouns of the everyday world are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    nouns = (f" {noun}" for noun in everyday().nouns for _ in range(2000))
    tokenizer.train_from_iterator(chain(nouns, (message.content for text in texts for message in text)), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", model_max_length=context)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def word_vectors(texts: Sequence[Conversation], chat: ChatFormat, vocabulary: int, size: int, seed: int) -> NDArray[np.float32]:
    """Vectors of tokens by what they occur with, shape [vocabulary, size]: the leading positive eigenvectors of the positive
    pointwise mutual information of tokens in one conversation (Levy and Goldberg, "Neural word embedding as implicit matrix
    factorization", 2014), turned by a random rotation, with median length 1 among tokens that occur.

    A noun's vector then holds its facts from the start, and a model has to learn hundreds of ways to read them out instead of thousands of
    single facts: [measured] 90 % true hints after 1.4 M tokens, against 25 % after 0.7 M and 27 % after 10 M without.
    """
    counts = np.zeros((vocabulary, vocabulary))
    for text in texts:
        ids, loss_mask = chat.conversation(text)
        asked = {i for i, said in zip(ids, loss_mask, strict=True) if not said}
        told = {i for i, said in zip(ids, loss_mask, strict=True) if said}
        for one in asked:
            for other in told - asked:
                counts[one, other] += 1
                counts[other, one] += 1
    own = counts.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.nan_to_num(np.log(counts * counts.sum() / (own * own.T)), nan=0.0, neginf=0.0)
    # The matrix is symmetric. Its positive half keeps words near what they occur with; the negative half, which a plain singular value
    # decomposition mixes in, would put nouns and the words of their facts at right angles.
    values, directions = np.linalg.eigh(np.maximum(information, 0))
    values, directions = values[::-1][:size], directions[:, ::-1][:, :size]
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    vectors = (directions * np.sqrt(np.maximum(values, 0))) @ rotation
    lengths = np.linalg.norm(vectors, axis=1)
    scaled: NDArray[np.float32] = (vectors / np.median(lengths[lengths > 0.1])).astype(np.float32)
    return scaled


def build_model(config: MiniConfig, vectors: NDArray[np.float32], *, end: int, pad: int) -> LlamaForCausalLM:
    """An untrained model whose (tied) embeddings begin with word vectors, and half as much noise as usual."""
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vectors),
            hidden_size=config.hidden,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads // 2,
            max_position_embeddings=config.context,
            initializer_range=config.initial_deviation,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=pad,
        )
    )
    length = config.initial_deviation * config.hidden**0.5
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(0.5).add_(torch.from_numpy(vectors) * length).mul_(config.vector_scale)
    return model


def samples(texts: Iterator[Conversation], chat: ChatFormat) -> Iterator[Sample]:
    """Supervised samples: every assistant message, its end token included, is learnt."""
    for text in texts:
        ids, loss_mask = chat.conversation(text)
        yield sft_sample(ids, loss_mask)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, config: MiniConfig, metrics: dict[str, float]) -> None:
    """Writes a plain transformers folder in bfloat16, with how it was made beside it."""
    model.bfloat16().save_pretrained(config.out)
    tokenizer.save_pretrained(config.out)
    MINI_CARD.save(config.out)
    made = {
        "made_by": "python -m sparring.selfplay.mini.make",
        "config": {**asdict(config), "out": None},
        **metrics,
        "provenance": provenance(config.seed),
    }
    (config.out / "made.json").write_text(json.dumps(made, indent=1) + "\n")


def texts(config: MiniConfig) -> Iterator[Conversation]:
    """What the base learns from, in order."""
    rng = random.Random(config.seed + 1)
    world, mixed = everyday(), conversations(config.seed + 1)
    for _ in range(config.descriptions):
        yield description(world, rng)
    for _ in range(config.conversations):
        draw = rng.random()
        if draw < config.description_share:
            yield description(world, rng)
        elif draw < config.description_share + config.riddle_share:
            yield riddles(world, rng)
        else:
            yield next(mixed)


def main(config: MiniConfig) -> None:
    tokenizer = build_tokenizer(islice(conversations(config.seed), 20_000), config.vocabulary, config.context)
    chat = ChatFormat(tokenizer)
    rng = random.Random(config.seed)
    described = [description(everyday(), rng) for _ in range(7000)]
    vectors = word_vectors(described, chat, len(tokenizer), config.hidden, config.seed)
    model = build_model(config, vectors, end=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(tokenizer):,} tokens")
    steps = -(-(config.descriptions + config.conversations) // config.minibatch)
    learner = Learner(
        model,
        SFTLoss(),
        sft_mix_loss=SFTLoss("sft_mix_loss"),
        config=LearnerConfig(
            lr=config.lr,
            adamw=(0.9, 0.98, 0.0),
            minibatch=config.minibatch,
            token_budget=1200,
            schedule="cosine:50",
            kl=0.0,
        ),
        total_steps=steps,
    )
    source = samples(texts(config), chat)
    started, tokens, metrics = time.perf_counter(), 0, {}
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns) as progress:
        bar = progress.add_task("base", total=steps, note="")
        while batch := list(islice(source, config.minibatch * CHUNK)):
            metrics = learner.update(batch, seed=config.seed + learner.steps)
            tokens += sum(len(sample.ids) for sample in batch)
            rate = tokens / (time.perf_counter() - started)
            progress.update(bar, completed=learner.steps, note=f"loss {metrics['sft_loss']:.3f}, {rate:,.0f} tokens/s")
    save(model, tokenizer, config, {"parameters": parameters, "tokens": tokens, "final_loss": round(metrics["sft_loss"], 4)})
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main(tyro.cli(MiniConfig, description=__doc__))
