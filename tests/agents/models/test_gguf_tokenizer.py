"""Tokenizers of GGUF files give the ids that llama.cpp gives, or are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.models.gguf_config import FAMILIES
from sparring.agents.models.gguf_file import GGUFFile, read_gguf
from sparring.agents.models.gguf_tokenizer import PRE_TOKENIZERS, gguf_tokenizer
from sparring.agents.models.loading import load_tokenizer
from sparring.benchmarks.reliability.gguf_files import TEXTS, Vocabulary, write
from sparring.benchmarks.reliability.llama_cpp_check import MARKS, PIECES, PREFIXED
from sparring.envs.views import Message

RECORD: dict[str, Any] = json.loads((Path(__file__).parent / "llama_cpp.json").read_text(encoding="utf-8"))
BYTES, PIECE = Vocabulary(**RECORD["bytes"]), Vocabulary(**RECORD["pieces"])
VOCABULARIES = {word: replace(BYTES, pre=word) for word in PRE_TOKENIZERS} | {PIECES: PIECE, PREFIXED: replace(PIECE, prefixed=True)}
RECORDED = {way: RECORD["ids"][word] for word, way in PRE_TOKENIZERS.items() if word in RECORD["ids"]}


def file(folder: Path, vocabulary: Vocabulary | None, **options: Any) -> GGUFFile:
    return read_gguf(write(folder / "random.gguf", "llama", vocabulary, **options))


@pytest.mark.parametrize("word", VOCABULARIES)
def test_ids_are_those_of_llama_cpp(word: str, tmp_path: Path):
    tokenizer = gguf_tokenizer(file(tmp_path, VOCABULARIES[word]))
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    theirs = RECORD["ids"].get(word) or RECORDED[PRE_TOKENIZERS[word]]
    assert [text for text, one, other in zip(TEXTS, ids, theirs, strict=True) if one != other] == [text for w, text in [MARKS] if w == word]
    if word != PREFIXED:  # there a space before the first word is the tokenizer's, not the text's
        assert [tokenizer.decode(i) for i in ids] == list(TEXTS)


def test_the_ways_of_cutting_differ():
    """Were the texts too simple to tell two ways apart, the test above would say nothing about them."""
    assert len({json.dumps(ids) for ids in RECORDED.values()}) == len(RECORDED) == 6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("word", ["smollm", "llama-bpe", "qwen2", PIECES, PREFIXED])
def test_saved_and_read_again(word: str, family: str, tmp_path: Path):
    """transformers builds the tokenizers of some models anew, by the kind of model."""
    path = write(tmp_path / "random.gguf", family, VOCABULARIES[word])
    if family == "qwen2" and word != "qwen2":
        with pytest.raises(ValueError, match="every saved tokenizer of qwen2 as Qwen's own"):
            load_tokenizer(str(path))
        return
    tokenizer = load_tokenizer(str(path))
    tokenizer.save_pretrained(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text(json.dumps({"model_type": FAMILIES[family]}), encoding="utf-8")
    again = load_tokenizer(str(tmp_path / "folder"))
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert again.get_vocab() == tokenizer.get_vocab() and again.eos_token_id == tokenizer.eos_token_id == VOCABULARIES[word].end


def test_qwens_texts_are_composed(tmp_path: Path):
    """The original tokenizers of Qwen put letters and their marks together first (NFC); llama.cpp does not."""
    tokenizer = gguf_tokenizer(file(tmp_path, VOCABULARIES["qwen2"]))
    assert tokenizer.encode("cafe\u0301") == tokenizer.encode("café")


def test_a_chat_in_its_format(tmp_path: Path):
    chat = ChatFormat(gguf_tokenizer(file(tmp_path, BYTES)))
    ids = chat.open([Message("user", "Hi <|im_end|>")])
    assert ids.count(BYTES.end) == 1 and chat.end_ids == {BYTES.end}
    assert chat.decode(chat.reply("Is it <|im_end|> red?")) == "Is it <|im_end|> red?"


TWICE = replace(BYTES, tokens=[*BYTES.tokens[:-1], BYTES.tokens[-2]])


@pytest.mark.parametrize(
    ("vocabulary", "options", "message"),
    [
        (None, {}, "has no tokenizer: it holds weights alone"),
        (replace(BYTES, kind="no_vocab"), {}, "has no tokenizer"),
        (replace(BYTES, kind="bert"), {}, "of kind 'bert', which is not read here"),
        (BYTES, {"template": None}, r"no chat template .*gguf-new-metadata --chat-template"),
        (BYTES, {"template": " "}, "no chat template"),
        (replace(BYTES, pre=None), {}, "does not say how its tokenizer cuts text"),
        (replace(BYTES, pre="default"), {}, "by the pre-tokenizer 'default', and this is known here for gpt-2, "),
        (replace(BYTES, pre="a\x1b[2J"), {}, r"by the pre-tokenizer 'a\\x1b\[2J'"),
        (replace(BYTES, merges=["x yz", *BYTES.merges]), {}, "damaged tokenizer"),
        (replace(BYTES, merges=["x y z"]), {}, "damaged tokenizer"),
        (replace(BYTES, end=10_000), {}, "eos_token_id is 10000, and there are 392 tokens"),
        (TWICE, {}, "1 of its 392 tokens stand there twice"),
        (replace(BYTES, kinds=BYTES.kinds[:-1]), {}, "no type for each of its"),
        (replace(PIECE, scores=PIECE.scores[:-1]), {}, "no score for each of its"),
    ],
)
def test_refused(vocabulary: Vocabulary | None, options: dict[str, Any], message: str, tmp_path: Path):
    path = file(tmp_path, vocabulary, **options).path
    with pytest.raises(ValueError, match=message) as error:
        load_tokenizer(str(path))
    assert str(path) in str(error.value) and "\x1b" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("key", "value"), [("tokens", [1, 2]), ("merges", [1]), ("merges", 7), ("token_type", 3), ("token_type", None)])
def test_keys_of_other_types(key: str, value: Any, tmp_path: Path):
    whole = file(tmp_path, BYTES)
    with pytest.raises(ValueError, match="has a damaged tokenizer"):
        gguf_tokenizer(replace(whole, keys={**whole.keys, f"tokenizer.ggml.{key}": value}))
