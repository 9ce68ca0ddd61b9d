"""Small random GGUF files of the families that are loaded, for tests and for the comparison with llama.cpp. Needs the package gguf."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_letters
from typing import Any

import numpy as np
from tokenizers import pre_tokenizers

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, CONTEXT, WINDOW = 3, 64, 96, 4, 2, 1024, 24
CONTROL, USER_DEFINED, NORMAL, UNKNOWN, BYTE = 3, 4, 1, 2, 6
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_GROWN = (
    "\n\n|\n\n\n|\r\n|\r\n\r\n|\t\t|  |   |    | \n| 1| 12|12|123|1234|345|67|.1|, |1,|'s|'S|'re|'t|n't|'VE|'ll|I'|.\n|!!!|///|/\n|//\n"
    "|--| (|...| the| secret| word| is| apple|apple|You| attacker| defender|Camel|CamelCase|Case|Word|camel|ABC|ABCdef|def|é|ï|½|日本|😀|मु"
    "|aaaa|end|x_|_y"
).split("|")
"""What the vocabularies have beyond single letters, and all its beginnings."""
_UNREACHED = (" word", " secret", "CamelCase")
"""Tokens that no merges lead to."""

TEXTS = (
    "",
    " ",
    "   ",
    "\n\n1",
    "  1",
    "a  12 345",
    "1234567",
    "3.14159 1,000 2nd",
    "I've don't you'll I'M IT'S 's's",
    "naïve café ﬁ ½ Ⅷ ٣ ²³",
    "Ünï Straße ÉCOLE",
    "日本語テキスト 한국어",
    "emoji 😀👍🏽 👨‍👩‍👧",
    "x\r\n\r\ny\n\n\nz\t\tw",
    "    indented\n\tcode(x_y) --flag",
    "a\u00a0b\u2003c\u200b",
    "\x00\x01",
    "end. \n",
    "end.  \n\n  next",
    "https://example.org/a/b?c=d&e",
    "CamelCaseWord camelCase ABCdef",
    "You are the attacker. The secret word is apple.",
    "You're the defender: it's red, isn't it?!...",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<think>no</think>",
    "मुझे 12३४ รู้",
    "a" * 40,
    "!!!???///\n//",
)
"""What tokenizers are compared on: digits, white space, contractions, scripts, marks, control tokens."""


@dataclass(frozen=True)
class Vocabulary:
    """What a file says of its tokenizer. kind, pre: llama.cpp's words. kinds: of tokens. end: the id that ends a reply. prefixed: a text
    begins with a space."""

    kind: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    end: int
    pre: str | None = None
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    prefixed: bool = False


def byte_level() -> Vocabulary:
    """Tokens across words, digits and lines, so that ids depend on how text is cut."""
    spelt = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    grown = {text: "".join(piece for piece, _ in spelt.pre_tokenize_str(text)) for text in _GROWN}
    pairs = _pairs(grown.values())
    unreached = [grown[text] for text in _UNREACHED]
    tokens = [*SPECIAL, *sorted(spelt.alphabet()), *("".join(pair) for pair in pairs), "<think>"]
    kinds = [*[CONTROL] * len(SPECIAL), *[NORMAL] * (len(tokens) - len(SPECIAL) - 1), USER_DEFINED]
    merges = [" ".join(pair) for pair in pairs if "".join(pair) not in unreached]
    return Vocabulary("gpt2", tokens, kinds, SPECIAL.index("<|im_end|>"), "llama-bpe", merges)


def sentencepiece() -> Vocabulary:
    """Pieces with scores and without merges, as of Llama 2 and Gemma; bytes for what is in no piece."""
    grown = [text.replace(" ", "▁") for text in _GROWN]
    letters = sorted({*ascii_letters, *"".join(grown)})
    pieces = [*("".join(pair) for pair in _pairs(grown)), *letters]
    first = ["<unk>", "<s>", "</s>", *SPECIAL[1:]]
    kinds = [UNKNOWN, *[CONTROL] * 4, *[BYTE] * 256, *[NORMAL] * len(pieces)]
    scores = [0.0] * (len(first) + 256) + [-float(n) for n in range(len(pieces))]
    return Vocabulary("llama", [*first, *(f"<0x{n:02X}>" for n in range(256)), *pieces], kinds, 4, "default", scores=scores)


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    """What is merged to come to the texts from their letters, from left to right."""
    return list(dict.fromkeys((text[:end], text[end]) for text in texts for end in range(1, len(text))))


@dataclass(frozen=True)
class Family:
    """A random model. keys: of the architecture beside those that every file has. head: width of a head. extra: shapes of further tensors,
    of a layer where the name begins with a dot. factors: divisors of rotary frequencies. without: tensors that are not there."""

    architecture: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    head: int = 16
    extra: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    factors: Sequence[float] = ()
    without: Sequence[str] = ()
    layers: int = LAYERS
    rope_base: float = 10_000.0


_GEMMA = {".attn_norm.weight": (WIDTH,), ".post_attention_norm.weight": (WIDTH,), ".post_ffw_norm.weight": (WIDTH,)}


def _norms(head: int) -> dict[str, tuple[int, ...]]:
    return {".attn_q_norm.weight": (head,), ".attn_k_norm.weight": (head,)}


def _biases(*parts: str, head: int = 16) -> dict[str, tuple[int, ...]]:
    sizes = {"q": HEADS * head, "k": KV_HEADS * head, "v": KV_HEADS * head, "output": WIDTH}
    return {f".attn_{part}.bias": (sizes[part],) for part in parts}


def llama3_factors(head: int, base: float, factor: float = 8.0, high: float = 4.0, original: int = 64) -> list[float]:
    """Divisors of frequencies as llama.cpp's converter computes them for Llama 3.1."""
    factors = []
    for frequency in base ** (-np.arange(0, head, 2) / head):
        turns = original * frequency / (2 * np.pi)
        smooth = (turns - 1) / (high - 1)
        factors.append(1.0 if turns > high else factor if turns < 1 else 1 / ((1 - smooth) / factor + smooth))
    return factors


FAMILIES = {
    "llama": Family("llama", {"rope.dimension_count": 16}),
    "llama-wide-heads": Family("llama", {"attention.key_length": 32, "attention.value_length": 32, "rope.dimension_count": 32}, head=32),
    "llama-3.1": Family("llama", {"rope.dimension_count": 16}, factors=llama3_factors(16, 1000.0), rope_base=1000.0),
    "llama-biases": Family(
        "llama", {}, extra=_biases("q", "k", "v") | {".ffn_gate.bias": (INNER,), ".ffn_up.bias": (INNER,), ".ffn_down.bias": (WIDTH,)}
    ),
    "llama-all-biases-untied": Family("llama", {}, extra=_biases("q", "k", "v", "output") | {"output.weight": (-1, WIDTH)}),
    "llama-linear": Family("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama-yarn": Family(
        "llama", {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": CONTEXT // 4}
    ),
    "qwen2": Family("qwen2", {}, extra=_biases("q", "k", "v")),
    "qwen3": Family("qwen3", {"attention.key_length": 32, "attention.value_length": 32}, head=32, extra=_norms(32)),
    "gemma2": Family(
        "gemma2",
        {
            "attention.key_length": 32,
            "attention.value_length": 32,
            "attention.sliding_window": WINDOW,
            "attn_logit_softcapping": 20.0,
            "final_logit_softcapping": 10.0,
        },
        head=32,
        extra=_GEMMA,
    ),
    "gemma3": Family(
        "gemma3",
        {
            "attention.key_length": 32,
            "attention.value_length": 32,
            "attention.sliding_window": WINDOW,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        head=32,
        extra=_GEMMA | _norms(32),
        layers=7,
        rope_base=1_000_000.0,
    ),
    "phi3": Family(
        "phi3",
        {"rope.dimension_count": 16},
        extra={".attn_qkv.weight": ((HEADS + 2 * KV_HEADS) * 16, WIDTH), ".ffn_up.weight": (2 * INNER, WIDTH)},
        without=[f"blk.{n}.{part}.weight" for n in range(LAYERS) for part in ("attn_q", "attn_k", "attn_v", "ffn_gate")],
    ),
}
"""Random models by name, one for each of the ways in which a file differs from what its architecture is by default."""


def write(
    path: Path, family: str | Family, vocabulary: Vocabulary | None, *, template: str | None = CHATML, quantised: bool = False
) -> Path:
    """A random file, the same for the same family. vocabulary: None, weights alone. quantised: large matrices as Q8_0."""
    import gguf

    family = FAMILIES[family] if isinstance(family, str) else family
    writer = gguf.GGUFWriter(str(path), family.architecture)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(family.layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(family.rope_base)
    for key, value in family.keys.items():
        kinds: Any = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32, list: writer.add_array}
        kinds[type(value)](f"{family.architecture}.{key}", value)
    if vocabulary is not None:
        _add_vocabulary(writer, vocabulary)
        if template is not None:
            writer.add_chat_template(template)
    for name, values in _tensors(family, len(vocabulary.tokens) if vocabulary else 300):
        if quantised and values.ndim == 2:
            blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.kind)
    if vocabulary.pre is not None:
        writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_unk_token_id(0)
    writer.add_bos_token_id(1 if vocabulary.scores else 0)
    writer.add_eos_token_id(vocabulary.end)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(vocabulary.prefixed)


def _tensors(family: Family, vocabulary: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Names and values, float32. Large weights, so that what a layer does is seen in the logits."""
    draw = np.random.RandomState(0)
    q, kv = HEADS * family.head, KV_HEADS * family.head
    layer = {
        ".attn_norm.weight": (WIDTH,),
        ".attn_q.weight": (q, WIDTH),
        ".attn_k.weight": (kv, WIDTH),
        ".attn_v.weight": (kv, WIDTH),
        ".attn_output.weight": (WIDTH, q),
        ".ffn_norm.weight": (WIDTH,),
        ".ffn_gate.weight": (INNER, WIDTH),
        ".ffn_up.weight": (INNER, WIDTH),
        ".ffn_down.weight": (WIDTH, INNER),
        **{name: shape for name, shape in family.extra.items() if name.startswith(".")},
    }
    whole = {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,)}
    for name, shape in family.extra.items():
        if not name.startswith("."):
            whole[name] = tuple(vocabulary if size < 0 else size for size in shape)
    shapes = whole | {f"blk.{n}{name}": shape for n in range(family.layers) for name, shape in layer.items()}
    for name in [name for name in shapes if name not in family.without]:
        shape = shapes[name]
        values = draw.standard_normal(shape)
        if "norm" in name:
            values = 1 + 0.3 * values
        elif len(shape) == 2:
            values = values * (0.4 if vocabulary in shape else 1.5 / np.sqrt(shape[1]))
        yield name, values.astype(np.float32)
    if family.factors:
        yield "rope_freqs.weight", np.array(family.factors, np.float32)
