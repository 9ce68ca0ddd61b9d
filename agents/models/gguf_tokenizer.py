"""The tokenizer of a GGUF file, as the model was trained with it.

A file names its way of cutting text by one word (`tokenizer.ggml.pre`) whose meaning is in llama.cpp's source; transformers knows some of
the words and cuts as GPT-2 does for all others. A word that is not known here is refused: other token ids than those of the training make a
model worse, and nothing says so.
"""

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .gguf_file import GGUFFile

_CONTROL, _USER_DEFINED = 3, 4
_LETTERS_AND_LINES = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _LETTERS_AND_LINES
_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _LETTERS_AND_LINES
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASES = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")
_SLASHES = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = "|".join(_CASES) + r"|\p{N}" + _SLASHES

_NAMES = {
    "gpt2": "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat mellum modern-bert",
    "digits": "smollm starcoder refact command-r codeshell exaone minerva-7b",
    "llama3": "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
    "smaug": "smaug-bpe dbrx",
    "qwen2": "qwen2 deepseek-r1-qwen kormo megrez",
    "tekken": "tekken",
}
"""Ways of cutting text, and the words that llama.cpp has for each."""
PRE_TOKENIZERS = {word: way for way, words in _NAMES.items() for word in words.split()}
_SPLITS = {"llama3": _LLAMA3, "smaug": _LLAMA3, "qwen2": _QWEN2, "tekken": _TEKKEN}
_WHOLE_WORDS = ("llama3", "tekken")
"""Ways where a piece that is in the vocabulary is one token, whether or not merges lead to it."""

_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def gguf_tokenizer(file: GGUFFile) -> Any:
    """A tokenizer of transformers. Raises ValueError where the file has none, or no chat template, and for one that is not known here."""
    from transformers import PreTrainedTokenizerFast

    keys = file.keys
    tokens, kind = keys.get("tokenizer.ggml.tokens"), keys.get("tokenizer.ggml.model")
    if not isinstance(tokens, list) or not tokens or kind in (None, "none", "no_vocab"):
        raise ValueError(f"{file.path} has no tokenizer: it holds weights alone; use a file that was converted with its tokenizer")
    _check_texts(file, "tokens", tokens)
    template = keys.get("tokenizer.chat_template")
    if not isinstance(template, str) or not template.strip():
        raise ValueError(
            f"{file.path} has no chat template (the key tokenizer.chat_template), so how the model is spoken to is not known; use an "
            "instruction-tuned model, or write the template into a copy: gguf-new-metadata --chat-template TEMPLATE FILE COPY"
        )
    if kind == "gpt2":
        built = _byte_level(file, tokens)
    elif kind == "llama":
        built = _sentencepiece(file, tokens)
    else:
        raise ValueError(f"{file.path} has a tokenizer of kind {kind!r}, which is not read here; gpt2 and llama are")
    roles = {role: _token(file, tokens, f"tokenizer.ggml.{word}_token_id") for role, word in _ROLES.items()}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=built,
        clean_up_tokenization_spaces=False,
        chat_template=template,
        **{role: token for role, token in roles.items() if token is not None},
    )
    if len(tokenizer) != len(tokens):
        raise ValueError(
            f"{file.path} has a damaged tokenizer: {len(tokens) - len(tokenizer)} of its {len(tokens)} tokens stand there twice"
        )
    return tokenizer


def _check_texts(file: GGUFFile, key: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{file.path} has a damaged tokenizer: tokenizer.ggml.{key} is no list of texts")
    return values


def _token(file: GGUFFile, tokens: Sequence[str], key: str) -> str | None:
    """The token that a key names by its id."""
    number = file.keys.get(key)
    if number is None:
        return None
    if not isinstance(number, int) or not 0 <= number < len(tokens):
        raise ValueError(f"{file.path} has a damaged tokenizer: {key} is {number!r}, and there are {len(tokens)} tokens")
    return tokens[number]


def _byte_level(file: GGUFFile, tokens: list[str]) -> Tokenizer:
    word = file.keys.get("tokenizer.ggml.pre")
    way = PRE_TOKENIZERS.get(str(word))
    if way is None:
        said = (
            "does not say how its tokenizer cuts text (tokenizer.ggml.pre)" if word is None else f"cuts text by the pre-tokenizer {word!r}"
        )
        raise ValueError(
            f"{file.path} {said}, and this is known here for {', '.join(PRE_TOKENIZERS)}; use the model's folder from the Hugging Face hub"
        )
    if file.architecture == "qwen2" and way != "qwen2":
        raise _unsaved(file, word)
    merges: Any = [tuple(merge.split(" ")) for merge in _check_texts(file, "merges", file.keys.get("tokenizer.ggml.merges", []))]
    vocabulary = _vocabulary(tokens)
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=way in _WHOLE_WORDS))
    except Exception as error:  # tokenizers raises plain Exceptions
        raise ValueError(f"{file.path} has a damaged tokenizer: {str(error).splitlines()[0]}") from error
    if way in _SPLITS:
        cut = pre_tokenizers.Split(Regex(_SPLITS[way]), behavior="isolated")
        steps = [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    else:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if way == "digits" else []
        steps = [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if way == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    _add_special(tokenizer, file, tokens)
    return tokenizer


def _sentencepiece(file: GGUFFile, tokens: list[str]) -> Tokenizer:
    """Pieces with "▁" for a space, put together as their scores say."""
    if file.architecture == "qwen2":
        raise _unsaved(file, "sentencepiece")
    scores = file.keys.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens) or not all(isinstance(score, int | float) for score in scores):
        raise ValueError(f"{file.path} has a damaged tokenizer: it has no score for each of its {len(tokens)} tokens")
    prefixed = bool(file.keys.get("tokenizer.ggml.add_space_prefix", True))
    unknown = _token(file, tokens, "tokenizer.ggml.unknown_token_id")
    vocabulary = _vocabulary(tokens)
    tokenizer = Tokenizer(models.BPE(vocabulary, _merges(vocabulary, scores), unk_token=unknown, fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prefixed else space
    strip = [decoders.Strip(" ", 1, 0)] if prefixed else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    _add_special(tokenizer, file, tokens)
    return tokenizer


def _unsaved(file: GGUFFile, word: Any) -> ValueError:
    return ValueError(
        f"{file.path} holds a qwen2 model with a tokenizer of the kind {word!r}: transformers reads every saved tokenizer of qwen2 as "
        "Qwen's own, so this one would be lost; use the model's folder from the Hugging Face hub"
    )


def _vocabulary(tokens: Sequence[str]) -> dict[str, int]:
    """Ids by token, the first where a token stands twice."""
    ids: dict[str, int] = {}
    for number, token in enumerate(tokens):
        ids.setdefault(token, number)
    return ids


def _merges(vocabulary: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """All pairs of pieces that make a piece, the piece of the highest score first; of equal scores, the first in the vocabulary."""
    pairs = []
    for piece, number in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                pairs.append((-scores[number], number, vocabulary[left], vocabulary[right], left, right))
    return [pair[-2:] for pair in sorted(pairs)]


def _add_special(tokenizer: Tokenizer, file: GGUFFile, tokens: Sequence[str]) -> None:
    """Control tokens and those that users defined are never cut, and never made of pieces."""
    kinds = file.keys.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise ValueError(f"{file.path} has a damaged tokenizer: it has no type for each of its {len(tokens)} tokens")
    marked = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (_CONTROL, _USER_DEFINED) and token]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=kind == _CONTROL) for token, kind in marked])
