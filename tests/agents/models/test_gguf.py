"""Models from GGUF files are those that llama.cpp computes with, or are refused by name."""

import builtins
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparring.agents.core import Sampling
from sparring.agents.models.gguf import load_gguf
from sparring.agents.models.gguf_file import read_gguf
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import FORMS, is_model, local_location, model_location, resolve, short_name
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.player_card import PlayerCard
from sparring.agents.rollout import Match, play_all
from sparring.benchmarks.reliability.gguf_files import FAMILIES, HEADS, INNER, WIDTH, Family, Vocabulary, llama3_factors, write
from sparring.benchmarks.reliability.llama_cpp_check import EVERY, LENGTHS, loaded_logprobs, prompt
from sparring.envs.core import Task
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.storage.export import export, require_saveable, write_model

RECORD: dict[str, Any] = json.loads((Path(__file__).parent / "llama_cpp.json").read_text(encoding="utf-8"))
"""What llama.cpp says of the random files, as `python -m sparring.benchmarks.reliability.llama_cpp_check --record FILE` writes it."""
VOCABULARY = Vocabulary(**RECORD["bytes"])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "llama.gguf", "llama", VOCABULARY)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_llama_cpp(family: str, tmp_path: Path):
    path = write(tmp_path / "random.gguf", family, VOCABULARY)
    here = loaded_logprobs(path, prompt(len(VOCABULARY.tokens)))[:, ::EVERY]
    # llama.cpp has a table of half precision for the activation of Gemma.
    np.testing.assert_allclose(here, RECORD["logprobs"][family], rtol=0, atol=0.01 if "gemma" in family else 0.001)
    assert len(here) == len(LENGTHS)


@pytest.mark.parametrize("family", ["llama-3.1", "llama-biases", "qwen3", "gemma3", "phi3"])
def test_what_was_loaded_is_saved_as_a_plain_folder(family: str, tmp_path: Path):
    path = write(tmp_path / "random.gguf", family, VOCABULARY, quantised=True)
    model = load_language_model(path, device="cpu")
    require_saveable(model)
    folder = export(str(path), tmp_path / "plain")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config and not getattr(model.model, "is_quantized", False)
    again = load_language_model(folder, device="cpu")
    first, second = model.model.state_dict(), again.model.state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    ids = torch.tensor([prompt(len(VOCABULARY.tokens))])
    assert torch.equal(model.model(ids).logits, again.model(ids).logits)
    assert model.format.end_ids == again.format.end_ids == {VOCABULARY.end}
    text = "12  apples\n\n1 <|im_end|>"
    assert model.tokenizer.encode(text) == again.tokenizer.encode(text)
    assert model.tokenizer.chat_template == again.tokenizer.chat_template


def test_a_file_plays_by_its_name(llama: Path):
    agent = resolve(str(llama), sampling=Sampling(max_new_tokens=4))
    assert isinstance(agent, ModelAgent) and agent.name == str(llama)
    game = AdversarialTaboo(max_turns=1, max_characters=10_000)
    (episode,) = play_all([Match("0", game, Task("0", "lemon", "lemon", 0), dict.fromkeys(game.roles, agent), 0)])
    assert len(episode.segments["attacker"]) == 1


def test_names_of_files(llama: Path, tmp_path: Path):
    assert model_location(str(llama)) == local_location(str(llama)) == str(llama) and is_model(str(llama))
    assert short_name(str(llama)) == "llama.gguf" and "FILE.gguf" in FORMS
    with pytest.raises(ValueError, match=r"there\.gguf: no such file"):
        model_location(str(tmp_path / "there.gguf"))
    with pytest.raises(ValueError, match=r"it holds 'llama\.gguf': name the file"):
        model_location(str(llama.parent))


def test_stored_type_of_weights(llama: Path):
    assert load_gguf(llama, dtype="auto").dtype == torch.float32
    assert load_gguf(llama, dtype="bfloat16").dtype == torch.bfloat16


def test_four_bits_need_a_folder(llama: Path):
    with pytest.raises(ValueError, match=r"sparring export .*llama\.gguf FOLDER"):
        load_language_model(llama, four_bit=True)


def test_without_the_package(llama: Path, monkeypatch: pytest.MonkeyPatch):
    imported = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "gguf":
            raise ImportError(name)
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[gguf\]' in the checkout"):
        load_language_model(llama)


def family(name: str = "llama", **keys: Any) -> Family:
    """A family with other keys, "__" for a dot."""
    base = FAMILIES[name]
    return replace(base, keys={**base.keys, **{key.replace("__", "."): value for key, value in keys.items()}})


MODELS = {
    "architecture 'mamba'": replace(FAMILIES["llama"], architecture="mamba"),
    "architecture 'no.*such": replace(FAMILIES["llama"], architecture="no\x1b[31m such"),
    "no place for: blk.0.attn_q_norm.weight": replace(FAMILIES["llama"], extra={".attn_q_norm.weight": (16,)}),
    "no place for: rope_factors_long.weight": replace(FAMILIES["llama"], extra={"rope_factors_long.weight": (1, 8)}),
    "no tensors for parameters of its model: model.layers.0.self_attn.q_norm.weight": replace(FAMILIES["qwen3"], extra={}),
    "cannot express: llama.attention.scale": family(attention__scale=0.5),
    "cannot express: llama.expert_count": family(expert_count=8),
    "cannot express: gemma3.attention.head_count_kv .other values": family("gemma3", attention__head_count_kv=[2, 2, 2, 2, 1, 2, 2]),
    "cannot express: llama.rope.scaling.yarn_ext_factor": family(rope__scaling__yarn_ext_factor=1.0),
    "in the way 'longrope'": family(rope__scaling__type="longrope", rope__scaling__factor=4.0),
    "in the way 'linear' beside the tensor rope_freqs": family("llama-3.1", rope__scaling__type="linear", rope__scaling__factor=4.0),
    "another way than Llama 3": replace(FAMILIES["llama"], factors=[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
    "the 8 rotary frequencies": replace(FAMILIES["llama"], factors=[1.0, 2.0]),
    "rope.dimension_count is 8 where heads are 16 wide": family(rope__dimension_count=8),
    "attention.value_length is 8 where heads are 32 wide": family("qwen3", attention__value_length=8),
    "4 heads that are 32 wide": replace(family("qwen2", attention__key_length=32), head=32),
    "damaged: llama.attention.key_length is 'wide'": family(attention__key_length="wide"),
    "damaged: llama.attention.key_length is 4294967295": family(attention__key_length=2**32 - 1),
    "damaged: gemma3.rope.freq_base_swa is 'high'": family("gemma3", rope__freq_base_swa="high"),
    "damaged: gemma3.rope.freq_base_swa is nan": family("gemma3", rope__freq_base_swa=float("nan")),
    "damaged: llama.rope.scaling.factor is -2.0": family(rope__scaling__type="linear", rope__scaling__factor=-2.0),
    "damaged: llama.rope.scaling.factor is 'big'": family(rope__scaling__type="linear", rope__scaling__factor="big"),
    "damaged: gemma3.attention.sliding_window_pattern is 'all'": family("gemma3", attention__sliding_window_pattern="all"),
    "3 values for 7 layers": family("gemma3", attention__sliding_window_pattern=[True, True, False]),
}


@pytest.mark.parametrize("message", MODELS)
def test_refused_by_name(message: str, tmp_path: Path):
    path = write(tmp_path / "bad.gguf", MODELS[message], VOCABULARY)
    with pytest.raises(ValueError, match=message) as error:
        load_gguf(path, dtype="float32")
    assert str(path) in str(error.value) and "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(("factor", "high", "original"), [(8.0, 4.0, 8192), (32.0, 4.0, 8192), (4.0, 2.0, 1024), (16.0, 8.0, 4096)])
@pytest.mark.parametrize("head", [64, 128])
def test_scaling_of_llama_3_is_recovered(factor: float, high: float, original: int, head: int, tmp_path: Path):
    base, factors = 500_000.0, llama3_factors(head, 500_000.0, factor, high, original)
    wide = replace(FAMILIES["llama"], keys={"attention.key_length": head, "attention.value_length": head}, head=head, layers=1)
    path = write(tmp_path / "llama3.gguf", replace(wide, factors=factors, rope_base=base), None)
    frequencies = base ** (-np.arange(0, head, 2) / head) / factors
    model = load_gguf(path, dtype="float32")
    np.testing.assert_allclose(model.model.rotary_emb.inv_freq.numpy(), frequencies, rtol=1e-4)
    rope = model.config.rope_parameters
    assert rope["rope_type"] == "llama3" and rope["factor"] == factor


def test_factors_of_one_scale_nothing(tmp_path: Path):
    path = write(tmp_path / "one.gguf", replace(FAMILIES["llama"], factors=[1.0] * 8), None)
    assert load_gguf(path, dtype="float32").config.rope_parameters["rope_type"] == "default"


@pytest.mark.parametrize(("name", "layers", "scale"), [("gemma2", 46, WIDTH // HEADS), ("gemma2", 26, 32), ("gemma3", 62, WIDTH // HEADS)])
def test_scale_of_gemmas_queries(name: str, layers: int, scale: int, tmp_path: Path):
    path = write(tmp_path / "gemma.gguf", replace(FAMILIES[name], layers=layers), None)
    config = load_gguf(path, dtype="float32").config
    assert config.query_pre_attn_scalar == scale
    period = {"gemma2": 2, "gemma3": 6}[name]
    assert [kind == "full_attention" for kind in config.layer_types] == [(n + 1) % period == 0 for n in range(layers)]


def test_defaults_of_absent_keys_are_llama_cpps(tmp_path: Path):
    """transformers' Qwen3 has 32 key-value heads where none are named."""
    path = write(tmp_path / "qwen3.gguf", "qwen3", None)
    data = path.read_bytes().replace(b"qwen3.rope.freq_base", b"general.freq_base___")
    path.write_bytes(data)
    assert load_gguf(path, dtype="float32").config.rope_parameters["rope_theta"] == 10_000.0


def spoilt(llama: Path, change: Callable[[bytes], bytes], folder: Path) -> Path:
    path = folder / "spoilt.gguf"
    path.write_bytes(change(llama.read_bytes()))
    return path


def _number(key: bytes, value: int) -> Callable[[bytes], bytes]:
    """Puts another number behind a key of type uint32."""

    def change(data: bytes) -> bytes:
        at = data.index(key) + len(key) + 4
        return data[:at] + struct.pack("<I", value) + data[at + 4 :]

    return change


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "is cut off: its tensor 'blk.2.ffn_down.weight' ends at byte": lambda data: data[:-1000],
    "cut off or damaged in its header": lambda data: data[:2000],
    "cut off or damaged in its header .byte": lambda data: data[:20],
    "it does not begin with GGUF": lambda data: b"",
    "is no GGUF file": lambda data: b"PK\3\4" + data[4:],
    "is of version 50331648": lambda data: data[:4] + struct.pack(">I", 3) + data[8:],
    "is of version 1 ": lambda data: data[:4] + struct.pack("<I", 1) + data[8:],
    "header .byte.* is asked for": lambda data: data[:8] + struct.pack("<QQ", 2**62, 2**62) + data[24:],
    "has no key general.architecture": lambda data: data.replace(b"general.architecture", b"general.architectur3"),
    "no model but something of type 'adapter'": lambda data: _typed(data),
    "says that it has 2147483647 layers and holds tensors of 3": _number(b"llama.block_count", 2**31 - 1),
    "make no model of transformers: .*not a multiple": _number(b"llama.embedding_length", WIDTH + 1),
    "no sensible attention.head_count,": _number(b"llama.attention.head_count", 0),
    "damaged: tensors are not of the sizes that its keys say: blk.0.attn_k.weight": _number(b"llama.attention.head_count_kv", 1),
    "rope.dimension_count is 16 where heads are 17 wide": _number(b"llama.embedding_length", WIDTH + HEADS),
    r"blk.0.ffn_gate.weight \[96, 64\] instead of \[97, 64\]": _number(b"llama.feed_forward_length", INNER + 1),
    "some of its tensors stand there twice": lambda data: data.replace(b"blk.1.ffn_up.weight", b"blk.0.ffn_up.weight"),
    "is of type 99, which the package gguf does not know": lambda data: _kind(data, b"blk.1.ffn_up.weight", 99),
    "rows of its tensor 'blk.1.attn_k.weight' are no blocks": lambda data: _kind(data, b"blk.1.attn_k.weight", 12),
}


def _typed(data: bytes) -> bytes:
    """A key of the same size says that the file is an adapter."""
    old = struct.pack("<Q", 20) + b"general.architecture"
    new = struct.pack("<Q", 12) + b"general.type" + struct.pack("<I", 8) + struct.pack("<Q", 7) + b"adapter" + old
    count = struct.unpack_from("<Q", data, 16)[0]
    data = data[:16] + struct.pack("<Q", count + 1) + data[24:]
    return data.replace(old, new)


def _kind(data: bytes, name: bytes, kind: int) -> bytes:
    """Another type for a matrix."""
    at = data.index(name) + len(name) + 4 + 16
    return data[:at] + struct.pack("<I", kind) + data[at + 4 :]


@pytest.mark.parametrize("message", SPOILT)
def test_damaged_files(message: str, llama: Path, tmp_path: Path):
    path = spoilt(llama, SPOILT[message], tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load_gguf(path, dtype="float32")
    assert str(path) in str(error.value) and len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_every_cut_of_a_header_is_refused(llama: Path, tmp_path: Path):
    data = llama.read_bytes()[:1500]
    for length in range(4, len(data), 7):
        path = spoilt(llama, lambda _, length=length: data[:length], tmp_path)
        with pytest.raises(ValueError, match="cut off or damaged"):
            read_gguf(path)


def test_a_folder_that_says_it_is_gguf_plays_trains_and_is_saved(llama: Path, tmp_path: Path):
    """transformers saves no model whose configuration says so, though its weights are plain."""
    folder = export(str(llama), tmp_path / "plain")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gguf"}}), encoding="utf-8")
    model = load_language_model(folder, device="cpu")
    require_saveable(model)
    write_model(model, PlayerCard(), tmp_path / "again")
    assert "quantization_config" not in json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))
