"""Model folders that are not as they should be: one sentence each, never a traceback, a warning or a random weight."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import save_tiny, tiny_model, tiny_tokenizer

from sparring.agents.models.loading import load_language_model

Change = Callable[[Path], Any]
UP = "model.layers.1.mlp.up_proj.weight"


def edited(file: str, **settings: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | settings))

    return change


def config(**settings: Any) -> Change:
    return edited("config.json", **settings)


def tokenizer(**settings: Any) -> Change:
    return edited("tokenizer_config.json", **settings)


def text(file: str, content: str | bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return rewrite


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tiny_model(vocab=len(tiny_tokenizer()), length=512).save_pretrained(folder, max_shard_size="20KB")


def larger_tokenizer(folder: Path) -> None:
    grown = tiny_tokenizer()
    grown.add_tokens([f"word{i}" for i in range(200)])
    grown.save_pretrained(folder)


def then(first: Change, second: Change) -> Change:
    return lambda folder: (first(folder), second(folder))


INDEX = "model.safetensors.index.json"
REFUSED: list[tuple[str, Change, str]] = [
    ("llama", pickled, r"weights in a pickle alone \(pytorch_model.bin\).*save them as model.safetensors"),
    ("llama", lambda folder: (folder / "model.safetensors").unlink(), "no model weights in .*model.safetensors"),
    ("llama", text("model.safetensors", "hello"), "cut off or damaged"),
    ("llama", text("model.safetensors", ""), "cut off or damaged"),
    ("llama", weights(lambda t: t[UP].fill_(torch.nan)), f"tensor {UP} holds numbers that are NaN or infinite"),
    ("llama", weights(lambda t: t[UP][3, 3].fill_(torch.inf)), f"tensor {UP} holds numbers that are NaN or infinite"),
    ("llama", weights(lambda t: t.pop(UP)), f"lack tensor {UP} of LlamaForCausalLM"),
    ("untied", weights(lambda t: t.pop("lm_head.weight")), "lack tensor lm_head.weight"),
    ("llama", weights(lambda t: t.update({UP: torch.zeros(3, 5)})), rf"{UP} of \[3, 5\], not \[64, 32\]"),
    ("llama", config(num_hidden_layers=4), "lack tensor model.layers.2.input_layernorm.weight and 17 more"),
    ("llama", config(num_hidden_layers=1), "no place for tensor model.layers.1.input_layernorm.weight and 8 more"),
    ("llama", config(model_type="qwen2"), "lack tensor .* of Qwen2ForCausalLM, the model of config.json"),
    ("llama", config(model_type="gpt2"), "lack tensor .* of GPT2LMHeadModel, the model of config.json"),
    ("qwen2", config(model_type="llama"), "LlamaForCausalLM has no place for tensor .*k_proj.bias"),
    ("qwen3", config(model_type="llama"), "LlamaForCausalLM has no place for tensor .*k_norm.weight"),
    ("llama", config(model_type="t5"), "Unrecognized configuration class"),
    ("llama", config(model_type="nonesuch"), "`nonesuch`"),
    ("llama", config(vocab_size=0), "config.json: vocab_size must be a whole number of at least 1, it is 0"),
    ("llama", config(vocab_size=10**9), "config.json is not of these weights: .*1000000000 tokens"),
    ("llama", config(num_hidden_layers=10**9), "config.json is not of these weights: .*1000000000 layers"),
    ("llama", config(intermediate_size=10**9), "config.json is not of these weights"),
    ("gpt2", config(n_embd=10**9), "config.json is not of these weights"),
    ("llama", config(vocab_size="many"), "config.json cannot be used: .*vocab_size"),
    ("llama", config(num_attention_heads=3), "config.json cannot be used: .*multiple of the number of attention heads"),
    ("llama", config(num_attention_heads=0), "config.json cannot be used"),
    ("llama", config(_attn_implementation="kernels-community/attn"), "config.json: _attn_implementation names code of the hub"),
    ("llama", config(attn_implementation="kernels-community/attn"), "config.json: attn_implementation names code of the hub"),
    ("llama", config(text_config={"attn_implementation": "someone/attn"}), r"text_config.attn_implementation names code"),
    ("llama", config(quantization_config=5), "config.json cannot be used"),
    ("llama", config(transformers_weights="../x.bin"), "cannot be loaded"),
    ("llama", text("config.json", "[]"), "config.json cannot be read: it holds no object but a list"),
    ("llama", text("config.json", "{"), "config.json cannot be read"),
    ("llama", text("config.json", "[" * 3000), "config.json cannot be read"),
    ("llama", text("config.json", b"\xff\xfe\x00"), "config.json cannot be read"),
    ("llama", weights(lambda t: t.update({UP: t[UP].to(torch.int8)})), f"are whole numbers .tensor {UP}.* save them as floats"),
    ("llama", config(rms_norm_eps=float("nan")), r"its probabilities are no numbers \(NaN\)"),
    ("llama", text("generation_config.json", "[]"), "generation_config.json cannot be read: it holds no object but a list"),
    ("llama", text("generation_config.json", ""), "generation_config.json cannot be read"),
    ("llama", text("generation_config.json", '{"eos_token_id": 1,'), "generation_config.json cannot be read"),
    ("llama", edited("generation_config.json", eos_token_id="x"), "eos_token_id must be a token id"),
    ("llama", text("tokenizer.json", "[]"), "tokenizer.json cannot be read: it holds no object but a list"),
    ("llama", text("tokenizer.json", "{"), "tokenizer.json cannot be read"),
    ("llama", text("tokenizer_config.json", "[]"), "tokenizer_config.json cannot be read: it holds no object but a list"),
    ("llama", tokenizer(eos_token=5), "the tokenizer in .* cannot be read: Special token eos_token"),
    ("llama", tokenizer(pad_token={"content": 5}), "the tokenizer in .* cannot be read: Special token pad_token"),
    ("llama", tokenizer(extra_special_tokens=5), "the tokenizer in .* cannot be read"),
    ("llama", tokenizer(added_tokens_decoder=[]), "the tokenizer in .* cannot be read"),
    ("llama", edited("tokenizer.json", added_tokens=[5]), "the tokenizer in .* cannot be read"),
    ("llama", edited("tokenizer.json", model=5), "the tokenizer in .* cannot be read"),
    ("llama", larger_tokenizer, "does not fit its model: it has ids up to 565, the model embeds 366 tokens"),
    ("llama", then(sharded, lambda folder: sorted(folder.glob("model-*"))[1].unlink()), "model-00002-of-.* is missing"),
    ("llama", then(sharded, text(INDEX, "[]")), f"{INDEX} cannot be read"),
    ("llama", then(sharded, text(INDEX, '{"weight_map": {"a": 5}}')), "has no weight_map that names the file of each tensor"),
]


@pytest.mark.parametrize(("kind", "change", "sentence"), REFUSED, ids=[sentence[:60] for _, _, sentence in REFUSED])
def test_a_folder_that_is_not_as_it_should_be_is_refused_in_a_sentence(
    kind: str, change: Change, sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder = save_tiny(tmp_path / "model", kind)
    change(tmp_path / "model")
    capfd.readouterr()
    with pytest.raises(ValueError, match=sentence) as refusal:
        load_language_model(folder, device="cpu")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 700
    assert "MISSING" not in capfd.readouterr().err


def extra(name: str, *shape: int) -> Change:
    return weights(lambda t: t.update({name: torch.zeros(*shape)}))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("llama", sharded),
        ("llama", extra("v_head.weight", 3)),
        ("llama", extra("vision_tower.layers.0.weight", 3)),
        ("llama", extra("model.layers.0.self_attn.rotary_emb.inv_freq", 4)),
        ("gpt2", extra("transformer.h.0.attn.masked_bias", 1)),
        ("llama", config(attn_implementation="flash_attention_2")),
    ],
    ids=["shards", "value head", "pictures", "old rotary buffer", "old mask", "attention"],
)
def test_what_is_of_no_matter_is_let_pass(kind: str, change: Change, tmp_path: Path):
    folder = save_tiny(tmp_path / "model", kind)
    wanted = load_language_model(folder, device="cpu").model(torch.arange(9)[None]).logits
    change(tmp_path / "model")
    assert torch.equal(load_language_model(folder, device="cpu").model(torch.arange(9)[None]).logits, wanted)
