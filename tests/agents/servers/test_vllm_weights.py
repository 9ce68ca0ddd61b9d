"""Heads that are written into model folders."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sparring.agents.servers.vllm_weights import FILE, has_head, store_head


@pytest.mark.parametrize("shards", [{}, {"max_shard_size": "20KB"}], ids=["one file", "shards"])
def test_a_tied_head_is_written_once(tmp_path: Path, shards: dict):
    model = tiny.tiny_model()
    model.save_pretrained(tmp_path, **shards)
    before = {file.name: file.read_bytes() for file in tmp_path.glob("*.safetensors")}
    assert len(before) > 1 if shards else len(before) == 1
    assert not has_head(tmp_path)
    store_head(tmp_path)
    assert has_head(tmp_path) and load_file(tmp_path / FILE)["lm_head.weight"].equal(model.get_input_embeddings().weight)
    assert all((tmp_path / name).read_bytes() == data for name, data in before.items())
    if shards:
        assert json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]["lm_head.weight"] == FILE
    written = (tmp_path / FILE).stat().st_mtime_ns
    store_head(tmp_path)
    assert (tmp_path / FILE).stat().st_mtime_ns == written
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(5)[None]
    with torch.no_grad():
        assert again(input_ids=ids).logits.equal(model.eval()(input_ids=ids).logits), "to transformers it is the same model"


def test_a_head_that_is_not_tied_is_there_already(tmp_path: Path):
    tiny.tiny_model("untied").save_pretrained(tmp_path)
    assert has_head(tmp_path)
    store_head(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_folders_that_do_not_fit(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read as a model folder"):
        has_head(tmp_path / "none")
    tiny.tiny_model("gpt2").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="0 weights are called"):
        store_head(tmp_path)
