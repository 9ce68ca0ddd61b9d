"""Compares GGUF files as they are loaded here with llama.cpp: token ids of texts, log-probabilities of next tokens.

Of small random files, one for each family and each way of cutting text, and of a file that is named. Needs the packages gguf and xllamacpp.
What llama.cpp says of the random files is recorded for the tests, which need no llama.cpp: --record tests/agents/models/llama_cpp.json.
"""

import json
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparring.agents.models.gguf import load_gguf
from sparring.agents.models.gguf_file import read_gguf
from sparring.agents.models.gguf_tokenizer import PRE_TOKENIZERS, gguf_tokenizer
from sparring.selfplay.storage.folder import write_text

from ..command import command
from .gguf_files import FAMILIES, TEXTS, Vocabulary, byte_level, sentencepiece, write

LENGTHS = (1, 20, 60)
"""Tokens after which log-probabilities are compared: more than a window's last."""
PIECES, PREFIXED = "pieces", "pieces-prefixed"
EVERY = 16
"""Every so many-th token's log-probability is recorded."""

MARKS = ("tekken", "मुझे 12३४ รู้")
"""The one text that gets other ids in llama.cpp: its pattern for tekken leaves out marks, which Mistral's own has."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class CheckConfig:
    """Files as loaded here beside llama.cpp."""

    model: Path | None = None
    """A GGUF file to compare too."""
    record: Path | None = None
    """Write what llama.cpp says of the random files to this file."""


class LlamaCpp:
    """llama.cpp's own server on a file, on one thread, with keys and values in float32."""

    def __init__(self, path: Path) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.fit_params, params.verbosity = 512, 1, False, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def ids(self, text: str) -> list[int]:
        """Token ids, control tokens read as such."""
        return [int(n) for n in self._ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]]

    def logprobs(self, ids: Sequence[int], vocabulary: int) -> Floats:
        """[vocabulary] of the token after `ids`."""
        # What is sampled does not matter, but an end token would have no probabilities, so another is forced.
        forced = [[vocabulary // 2, 1000.0]]
        reply = self._ask("/completion", prompt=list(ids), n_predict=1, n_probs=vocabulary, temperature=-1, logit_bias=forced)
        logprobs = np.full(vocabulary, -np.inf)
        for one in reply["completion_probabilities"][0]["top_logprobs"]:
            logprobs[one["id"]] = one["logprob"]
        return logprobs

    def _ask(self, place: str, **data: Any) -> Any:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.listening_address + place, json.dumps(data).encode(), head)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)


def prompt(vocabulary: int) -> list[int]:
    """Random ids, the same each time."""
    return [int(n) for n in np.random.RandomState(1).randint(3, vocabulary - 1, max(LENGTHS))]


@torch.inference_mode()
def loaded_logprobs(path: Path, ids: Sequence[int]) -> Floats:
    """[LENGTHS, vocabulary] as the file is loaded here, float32 weights."""
    logits = load_gguf(path, dtype=torch.float32)(torch.tensor([list(ids)])).logits[0, [n - 1 for n in LENGTHS]]
    return np.asarray(logits.double().log_softmax(-1))


@contextmanager
def random_file(family: str, vocabulary: Vocabulary) -> Iterator[Path]:
    """A random file that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield write(Path(folder) / "random.gguf", family, vocabulary)


def compare_ids(path: Path, peer: LlamaCpp) -> list[str]:
    """The texts that get other ids here."""
    tokenizer = gguf_tokenizer(read_gguf(path))
    return [text for text in TEXTS if tokenizer.encode(text, add_special_tokens=False) != peer.ids(text)]


def vocabularies() -> dict[str, Vocabulary]:
    """By llama.cpp's word for the way that text is cut; pieces with and without a space before the first."""
    whole, pieces = byte_level(), sentencepiece()
    words = {word: replace(whole, pre=word) for word in PRE_TOKENIZERS}
    return words | {PIECES: pieces, PREFIXED: replace(pieces, prefixed=True)}


def main(config: CheckConfig) -> None:
    if config.model is not None:
        peer = LlamaCpp(config.model)
        size = len(gguf_tokenizer(read_gguf(config.model)))
        ids = prompt(size)
        off = np.abs(loaded_logprobs(config.model, ids) - [peer.logprobs(ids[:n], size) for n in LENGTHS]).max()
        print(
            f"{config.model}: {len(compare_ids(config.model, peer))} of {len(TEXTS)} texts differ, log-probabilities by at most {off:.4f}"
        )
    every = vocabularies()
    record: dict[str, Any] = {"bytes": asdict(byte_level()), "pieces": asdict(sentencepiece()), "ids": {}, "logprobs": {}}
    kept = {way: word for word, way in reversed(PRE_TOKENIZERS.items())}
    for name, vocabulary in every.items():
        with random_file("llama", vocabulary) as path:
            peer = LlamaCpp(path)
            print(f"{name}: other ids for {compare_ids(path, peer) or 'no text'}")
            if name in (*kept.values(), PIECES, PREFIXED):
                record["ids"][name] = [peer.ids(text) for text in TEXTS]
    vocabulary = byte_level()
    ids = prompt(len(vocabulary.tokens))
    for family in FAMILIES:
        with random_file(family, vocabulary) as path:
            peer = LlamaCpp(path)
            theirs = np.array([peer.logprobs(ids[:n], len(vocabulary.tokens)) for n in LENGTHS])
            print(f"{family}: log-probabilities differ by at most {np.abs(loaded_logprobs(path, ids) - theirs).max():.5f}")
            record["logprobs"][family] = theirs[:, ::EVERY].round(3).tolist()
    if config.record is not None:
        lines = (f"{json.dumps(topic)}: {json.dumps(value, separators=(',', ':'))}" for topic, value in record.items())
        write_text(config.record, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    command("reliability.llama_cpp_check", CheckConfig, main, __doc__)
