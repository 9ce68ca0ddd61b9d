"""Parameters are counted from the headers of files."""

from pathlib import Path

import pytest
from tiny import save_tiny

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model
from sparring.agents.models.size import parameters_at
from sparring.agents.names import parameters


def test_the_parameters_of_a_folder_are_those_of_its_model(tmp_path: Path):
    place = save_tiny(tmp_path / "model")
    model: LanguageModel = load_language_model(place)
    assert parameters_at(place) == model.model.num_parameters()


def test_mini_has_those_that_it_has():
    assert parameters("mini") == parameters("mini@imitation") == 1_410_688


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x0c\0\0\0\0\0\0\0" + b'{"a": {"b":1'])
def test_a_file_that_is_no_safetensors_file_tells_nothing(tmp_path: Path, data: bytes):
    (tmp_path / "model.safetensors").write_bytes(data)
    assert parameters_at(tmp_path) is None


def test_what_is_not_here_tells_nothing(tmp_path: Path):
    assert parameters_at(tmp_path / "none") is None
    assert parameters("hf:Qwen/Qwen3-0.6B") is None
    assert parameters("openai:m@http://127.0.0.1:1/v1") is None
