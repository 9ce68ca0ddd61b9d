"""The reference pool: its digest, its numbers by hand, and models as small files."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_location
from sparring.agents.players.scripted import ScriptedAgent
from sparring.agents.players.simple import FunctionAgent, SilentAgent
from sparring.selfplay.cli.main import main
from sparring.selfplay.evaluation import reference
from sparring.selfplay.evaluation.weight_difference import read_difference, write_difference
from sparring.selfplay.storage.sealed import digest


def test_the_pool_is_the_one_of_its_name():
    """Where this fails, judge, rules, words or players have changed: results no longer compare. Count NAME up and set DIGEST anew."""
    assert digest(reference.manifest()) == reference.DIGEST
    assert reference.pool_name() == "sparring-ref-1"


@pytest.mark.parametrize("what", ["table_hash", "words", "_games_without_a_model", "verdict"])
def test_another_judge_or_word_table_has_another_name(what: str, monkeypatch: pytest.MonkeyPatch):
    other = {
        "table_hash": lambda: "0" * 12,
        "words": lambda: ("lemon", "piano"),
        "_games_without_a_model": lambda: [],
        "verdict": lambda *_: None,
    }[what]
    monkeypatch.setattr(reference, what, other)
    assert reference.pool_name().startswith("sparring-ref-1-changed-")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two opponents without a model, three words."""
    monkeypatch.setattr(reference, "pool", lambda: {"silent": SilentAgent, "scripted": ScriptedAgent})
    monkeypatch.setattr(reference, "words", lambda: ("lemon", "piano", "horse"))
    monkeypatch.setattr(reference, "_games_without_a_model", lambda: [])


def test_numbers_by_hand(small):
    """As a defender it takes every word for a lemon, once rightly; as an attacker it says nothing of use, against which silence loses."""
    agent = FunctionAgent(lambda seen, rng: "Hm." if seen.role == "attacker" else "I know the word! It is a lemon.", "guesser")
    found = reference.measure(agent)
    assert found["defender"]["against"] == {"silent": 1.0, "scripted": pytest.approx(1 / 3)}
    assert found["defender"]["score"] == pytest.approx(2 / 3) and found["defender"]["games"] == 6 and found["void"] == 0
    # By word: lemon 1, piano and horse 1/2 each; standard error over words sqrt(1/12 / 3), Student's t with 2 degrees of freedom 4.303.
    assert found["defender"]["high"] - found["defender"]["score"] == pytest.approx(4.303 * (1 / 36) ** 0.5, abs=1e-3)
    assert found["attacker"]["against"]["silent"] == 1


def test_no_number_is_made_of_games_about_one_word():
    found = reference._score([("lemon", 1.0)])
    assert found == {"score": None, "low": None, "high": None, "games": 1}
    line = reference.line({"pool": "p", "attacker": found, "defender": {"score": 0.5, "low": 0.4, "high": 0.61}})
    assert line == "p: attacker -, defender 0.500 (0.400 to 0.610)"


def test_the_command_prints_what_is_to_be_cited_and_the_same_twice(small, tmp_path, capsys: pytest.CaptureFixture[str]):
    printed = []
    for name in ("a", "b"):
        assert main(["reference", "scripted:asker", "--out", str(tmp_path / name)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "sparring-ref-1-changed-" in printed[0] and "compare with no others" in printed[0]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert main(["reference", "random", "--out", str(tmp_path / "a")]) == 2
    assert "exists; choose a new file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nobody"], "unknown agent 'nobody'; "), (["human"], "need no keyboard"), (["mini", "--device", "cuda:99"], "'cuda:99'")],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["reference", *arguments]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said


def test_trained_players_differ_from_what_they_were_trained_from():
    base = reference.weights_of(load_language_model(model_location(reference.BASE), device="cpu", dtype="float32").model)
    for name in reference.TRAINED:
        agent = reference.pool()[name]()
        weights = reference.weights_of(agent.model.model)
        change = np.sqrt(np.mean([np.mean((weights[k] - base[k]) ** 2) for k in base]))
        assert 1e-4 < change < 1e-2, name
        assert agent.model.model.get_output_embeddings().weight is agent.model.model.get_input_embeddings().weight


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_file_of_differences_brings_back_the_weights_to_half_a_step(rows: int, columns: int, seed: int):
    draw = np.random.default_rng(seed)
    before = {"a": draw.normal(size=(rows, columns)).astype(np.float32), "norm": np.ones(columns, np.float32)}
    after = {name: (weight + 0.01 * draw.normal(size=weight.shape)).astype(np.float32) for name, weight in before.items()}
    with tempfile.TemporaryDirectory() as folder:
        write_difference(before, after, Path(folder) / "x")
        made = read_difference(before, Path(folder) / "x")
    step = np.abs(after["a"] - before["a"]).max(axis=1, keepdims=True) / 7
    assert (np.abs(made["a"] - after["a"]) <= step / 2 + 1e-6).all()
    assert made["norm"] == pytest.approx(after["norm"], abs=1e-6), "a vector has a step for each number"


def test_a_file_of_differences_of_another_model_is_refused(tmp_path):
    before = {"a": np.zeros((2, 3), np.float32)}
    write_difference(before, before, tmp_path / "x")
    assert (read_difference(before, tmp_path / "x")["a"] == 0).all()
    for other in ({"b": before["a"]}, {"a": np.zeros((3, 3), np.float32)}):
        with pytest.raises(ValueError, match="holds no differences from this model"):
            read_difference(other, tmp_path / "x")
    with pytest.raises(ValueError, match="one shape"):
        write_difference(before, {"a": np.zeros((3, 2), np.float32)}, tmp_path / "y")
