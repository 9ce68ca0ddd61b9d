"""Runs that begin from a GGUF file, and models that can be loaded but not saved."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import NO_EVALUATION, files, small_run
from tiny import save_tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sparring.agents.names import checkpoint_model
from sparring.benchmarks.reliability.gguf_files import byte_level, write
from sparring.selfplay.run import session
from sparring.selfplay.run.session import prepare
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.storage.export import require_saveable


def test_a_run_begins_from_a_file_and_goes_on_without_it(tmp_path: Path):
    model = write(tmp_path / "model.gguf", "qwen3", byte_level())
    config = small_run(str(model), tmp_path / "run", rounds=1, evaluation=NO_EVALUATION)
    train(config)
    first = checkpoint_model(tmp_path / "run", 0)
    assert "quantization_config" not in json.loads((first / "config.json").read_text(encoding="utf-8"))
    assert (first / "model.safetensors").is_file() and (first / "tokenizer.json").is_file()
    before = files(tmp_path / "run")
    model.unlink()
    resume(tmp_path / "run")
    assert files(tmp_path / "run") == before


def test_what_cannot_be_saved_is_refused_before_anything_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run")
    loaded = session.load_player

    def packed(*given, **options):
        model = loaded(*given, **options)
        model.model.hf_quantizer = SimpleNamespace(
            is_serializable=lambda: False, quantization_config=SimpleNamespace(quant_method="packed")
        )
        return model

    monkeypatch.setattr(session, "load_player", packed)
    for refused in (prepare, train):
        with pytest.raises(ValueError, match=r"cannot be saved, so it cannot be trained: .* of the kind packed; use a folder"):
            refused(config)
    assert not (tmp_path / "run").exists()


def test_saving_is_tried_with_all_but_the_weights(tmp_path: Path):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run")
    model = prepare(config).model
    model.model.config.own_setting = object()
    with pytest.raises(ValueError, match="cannot be saved"):
        require_saveable(model)


def test_a_tokenizer_that_would_be_read_back_as_another_one_starts_no_run(tmp_path: Path):
    """transformers reads a plain tokenizer beside a qwen2 model as Qwen's own, which cuts text otherwise."""
    require_saveable(prepare(small_run(save_tiny(tmp_path / "llama"), tmp_path / "run")).model)
    model = prepare(small_run(save_tiny(tmp_path / "qwen2", "qwen2"), tmp_path / "run")).model
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    words.train_from_iterator(["in 1984"] * 9, trainer)
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    with pytest.raises(ValueError, match=r"cannot be saved, .* tokenizer, once saved, is read back as Qwen2Tokenizer"):
        require_saveable(model)


def test_a_file_without_a_chat_template_starts_no_run(tmp_path: Path):
    """--dry-run prepares a run as it would begin."""
    model = write(tmp_path / "model.gguf", "qwen3", byte_level(), template=None)
    with pytest.raises(ValueError, match="has no chat template"):
        prepare(replace(small_run(str(model), tmp_path / "run"), max_memory=0.0))
