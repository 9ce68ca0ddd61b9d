"""The sweep over families, in very small."""

import json
from pathlib import Path

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sparring.benchmarks.reliability.families import Options, families, main

RESULT = Path(__file__).parents[3] / "benchmarks" / "results" / "families.json"


def test_families_are_played_refused_or_not_built(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    entries = families(("llama", "phi3", "bart", "phimoe", "mamba", "zamba"))
    for name in ("llama", "phi3"):
        assert entries[name]["packs"] and max(entries[name]["loop"], entries[name]["learner"]) < 2e-5
    for name in ("bart", "phimoe"):
        assert entries[name]["loop"] > 1e-3 and "would be played as another model" in entries[name]["refused"]
    assert "loop" not in entries["mamba"] and "attention interface" in entries["mamba"]["refused"]
    assert set(entries["zamba"]) == {"not_built"}
    main(Options(out=tmp_path / "found.json", families=("gpt2",)))
    assert json.loads((tmp_path / "found.json").read_text())["played"] == 1
    assert "gpt2" in capsys.readouterr().out


def test_the_recorded_sweep_is_of_every_family_and_nothing_is_played_as_another_model():
    found = json.loads(RESULT.read_text())
    if found["transformers"] == transformers.__version__:
        assert set(found["families"]) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    episodes = [e for e in found["families"].values() if "refused" not in e and "not_built" not in e]
    assert len(episodes) == found["played"] > 80
    assert all(max(e["loop"], e["learner"]) <= 1e-3 for e in episodes)
