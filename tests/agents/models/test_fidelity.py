"""Models whose rule the generation loop does not know are refused when they are loaded; those that it knows are left as they were."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import PLAIN_ADDED, save_tiny, tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sparring.agents.core import Sampling
from sparring.agents.engine.loop import Counters, HFLoop
from sparring.agents.models.fidelity import WINDOW, loop_difference, plain_logprobs, require_faithful, sample_rows, short_windows
from sparring.agents.models.loading import load_language_model

SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
DECODER: dict[str, Any] = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "is_decoder": True}
DECODER |= {"encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "pad_token_id": 0}
OTHERS: dict[str, dict[str, Any]] = {
    "doge": {**SIZES, "num_key_value_heads": 2},
    "diffllama": {**SIZES, "num_key_value_heads": 2},
    # A window far beyond any row that is compared as it is.
    "phimoe": {**SIZES, "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 200},
    "hrm_text": {**SIZES, "num_layers_per_stack": 1},
    "bart": DECODER,
    "mbart": DECODER,
    "pegasus": DECODER,
    "marian": DECODER,
    "blenderbot": DECODER,
    "blenderbot-small": DECODER,
}
UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "falcon": ({**SIZES}, "FalconForCausalLM cannot be run on packed rows"),
    "mpt": ({"d_model": 32, "n_heads": 4, "n_layers": 2}, "MptForCausalLM cannot be run on packed rows"),
    "gptj": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 8}, "does not take its attention from"),
}


def random_model(family: str, settings: dict[str, Any]) -> Any:
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    settings = {"vocab_size": len(tiny_tokenizer()), "max_position_embeddings": 512, **ends, **settings}
    kind = CONFIG_MAPPING[family]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model


@pytest.mark.parametrize("family", OTHERS)
def test_a_family_that_would_be_played_as_another_model_is_refused_when_it_is_loaded(family: str, tmp_path: Path):
    random_model(family, OTHERS[family]).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"would be played as another model: its log-probabilities are up to .* nats off") as refusal:
        load_language_model(tmp_path, device="cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("family", UNKNOWN)
def test_a_family_that_the_loop_cannot_run_is_refused_in_a_sentence(family: str):
    settings, sentence = UNKNOWN[family]
    with pytest.raises(ValueError, match=f"{sentence}.*run it behind a server") as refusal:
        HFLoop(random_model(family, settings), end_ids=frozenset())
    assert "\n" not in str(refusal.value)


KINDS = ["llama", "llama3", "qwen2", "gpt2", "mistral", "gemma2", "gemma3", "gpt-oss", "cohere", "granite"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loop_plays_known_families_as_they_are_and_is_as_new_afterwards(kind: str):
    loop = HFLoop(tiny_model(kind), end_ids=frozenset({3}))
    difference = loop_difference(loop)
    assert len(difference) > 20 and difference.max() < 2e-5
    assert loop.counters == Counters() and not loop._sequences and loop.active == 0
    assert len(loop._slots) == loop.max_rows and len(loop._sequences.pool.free_blocks) == len(loop._sequences.pool.data)


def test_windows_are_short_only_while_models_are_compared():
    model = tiny_model("gemma2")
    ids = sample_rows(model, (40,))[0]
    layer = model.model.layers[0].self_attn
    before = plain_logprobs(model, ids)
    with short_windows(model):
        assert (model.config.sliding_window, layer.sliding_window) == (WINDOW, WINDOW)
        assert (plain_logprobs(model, ids) - before)[WINDOW:].abs().max() > 1e-3
    assert (model.config.sliding_window, layer.sliding_window) == (24, 24)
    assert model.model.layers[1].self_attn.sliding_window is None
    assert torch.equal(plain_logprobs(model, ids), before)


def test_one_token_that_two_experts_share_does_not_refuse_a_model(monkeypatch: pytest.MonkeyPatch):
    """Rounding may send it to either; two sets of rows do not both have one."""
    from sparring.agents.models import fidelity

    differences = {0: torch.tensor([0.0, 0.5]), 1: torch.tensor([0.0, 1e-6])}
    monkeypatch.setattr(fidelity, "loop_difference", lambda loop, seed: differences[seed])
    loop = HFLoop(tiny_model(), end_ids=frozenset())
    require_faithful(loop, "m")
    differences[1] = torch.tensor([0.0, 2e-3])
    with pytest.raises(ValueError, match="m: LlamaForCausalLM would be played as another model"):
        require_faithful(loop, "m")
    differences[1] = torch.tensor([torch.nan, 0.0])
    with pytest.raises(ValueError, match="m: its probabilities are no numbers"):
        require_faithful(loop, "m")


def test_half_precision_and_short_contexts_pass(tmp_path: Path):
    folder = save_tiny(tmp_path / "half")
    assert load_language_model(folder, device="cpu", dtype="float16").model.dtype == torch.float16
    for length in (1, 8, 20):
        require_faithful(HFLoop(tiny_model(length=length), end_ids=frozenset()), "short")


def test_what_is_said_after_the_comparison_is_what_a_new_loop_says():
    def sampled(loop: HFLoop) -> list[int]:
        loop.submit("s", list(range(5, 20)), Sampling(max_new_tokens=8), 7)
        return loop.poll()[0].ids.tolist()

    model = tiny_model("mistral", vocab=366 + len(PLAIN_ADDED))
    compared = HFLoop(model, end_ids=frozenset())
    require_faithful(compared, "m")
    assert sampled(compared) == sampled(HFLoop(model, end_ids=frozenset()))
