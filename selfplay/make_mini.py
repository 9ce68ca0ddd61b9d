"""Makes sparring-mini, the embedded model: its tokenizer and its base weights, from one seed.

    python -m sparring.selfplay.make_mini --out agents/mini

The base learns the everyday world's facts, in both directions and in the game's own chat format (`sparring.selfplay.corpus`). Imitation of the
scripted experts comes after it, with `sparring train --preset imitation`.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
import tyro
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sparring.agents.chat import ChatFormat
from sparring.selfplay.batch import Row, sft_row
from sparring.selfplay.corpus import Conversation, conversations
from sparring.selfplay.learner import Learner, LearnerConfig

SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
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
    """Width; raising it learns facts in fewer texts, at more time per text."""
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
    conversations: int = 120_000
    """How many base conversations are learnt from, each once."""
    lr: float = 2e-3
    """Peak learning rate; cosine to zero."""
    minibatch: int = 64
    """Conversations in one optimiser step."""


def build_tokenizer(texts: Iterator[Conversation], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, so that any text can be encoded; words of the everyday world become single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((message.content for text in texts for message in text), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", model_max_length=context
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(config: MiniConfig, vocabulary: int, *, end: int, pad: int) -> LlamaForCausalLM:
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.hidden,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads // 2,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=pad,
        )
    )


def rows(texts: Iterator[Conversation], chat: ChatFormat) -> Iterator[Row]:
    """Supervised rows: every assistant message, its end token included, is learnt."""
    for text in texts:
        ids, action = chat.conversation(text)
        yield sft_row(ids, action)


def save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, config: MiniConfig, metrics: dict[str, float]
) -> None:
    """Writes a plain transformers folder in bfloat16, with how it was made beside it."""
    model.to(torch.bfloat16).save_pretrained(config.out)
    tokenizer.save_pretrained(config.out)
    made = {
        "made_by": "python -m sparring.selfplay.make_mini",
        "config": {**asdict(config), "out": None},
        **metrics,
    }
    (config.out / "made.json").write_text(json.dumps(made, indent=1) + "\n")


def main(config: MiniConfig) -> None:
    tokenizer = build_tokenizer(islice(conversations(config.seed), 20_000), config.vocabulary, config.context)
    chat = ChatFormat(tokenizer)
    model = build_model(config, len(tokenizer), end=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(tokenizer):,} tokens")
    steps = config.conversations // config.minibatch
    learner = Learner(
        model,
        config=LearnerConfig(
            lr=config.lr,
            minibatch=config.minibatch,
            schedule="cosine",
            warmup=100,
            total_steps=steps,
            kl=0.0,
            epochs=1,
        ),
    )
    source = rows(conversations(config.seed + 1), chat)
    started, tokens, metrics = time.perf_counter(), 0, {}
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns) as progress:
        bar = progress.add_task("base", total=steps, note="")
        for step in range(0, steps, 20):
            batch = list(islice(source, config.minibatch * min(20, steps - step)))
            metrics = learner.update(batch, seed=config.seed + step)
            tokens += sum(len(row.ids) for row in batch)
            rate = tokens / (time.perf_counter() - started)
            progress.update(bar, advance=20, note=f"loss {metrics['loss']:.3f}, {rate:,.0f} tokens/s")
    save(
        model, tokenizer, config, {"parameters": parameters, "tokens": tokens, "final_loss": metrics["loss"]}
    )


if __name__ == "__main__":
    main(tyro.cli(MiniConfig, description=__doc__))
