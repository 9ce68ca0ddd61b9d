"""sparring export."""

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import sparring


def test_an_exported_model_is_a_plain_transformers_folder(run: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = sparring("export", f"{run}@latest", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.vocab_size >= len(tokenizer)
    assert "sparring" in (tmp_path / "out" / "README.md").read_text()
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert len(set(modes.values())) == 1, f"whoever may read one may read all: {modes}"
    assert sparring("export", f"{run}@1", tmp_path / "out").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "scripted", "x"], "no weights to export"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
