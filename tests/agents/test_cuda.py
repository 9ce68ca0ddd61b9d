"""The generation loop on a GPU: where a model goes untold, and that its probabilities are those of a plain forward pass there too."""

from pathlib import Path

import pytest
import torch
from test_loop import off_by, play
from tiny import save_tiny, tiny_model

from sparring.agents.models.loading import load_language_model

pytestmark = pytest.mark.cuda
GPU = "cuda"


def test_a_model_goes_to_the_gpu_in_bfloat16_untold(tmp_path: Path):
    model = load_language_model(save_tiny(tmp_path))
    assert {(p.device.type, p.dtype) for p in model.model.parameters()} == {(GPU, torch.bfloat16)}
    assert model.loop.packed.layout.device.type == GPU


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2", "mistral", "gemma2", "gpt-oss"])
def test_logprobs_equal_a_plain_forward_pass(kind: str):
    model = tiny_model(kind).to(GPU)
    _, ids, logprobs, sampled = play(model, streams=11, turns=5)
    assert off_by(model, ids, logprobs, sampled) < 1e-4


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_a_compiled_model_says_the_same(kind: str):
    torch.compiler.reset()
    model = tiny_model(kind).to(GPU)
    loop, ids, logprobs, sampled = play(model, streams=40, turns=3, max_rows=40, compiler="inductor")
    assert loop.packed._compiled is not None
    assert off_by(model, ids, logprobs, sampled) < 1e-4
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)
    _, ids, logprobs, sampled = play(model, streams=40, turns=2, max_rows=40, compiler="inductor")
    assert off_by(model, ids, logprobs, sampled) < 1e-4, "a graph that is replayed reads the new weights"
