"""Simulated games have the strengths that they are given, whatever they share."""

import json
from pathlib import Path

import numpy as np
import pytest

from sparring.benchmarks.reliability.rating_coverage import Coverage, main, simulated, true_strengths


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_simulated_games_end_as_often_as_the_model_says(alike: float):
    """Strengths 1 and 0, thresholds -0.5 and 0.5: the attacker wins with probability 1 / (1 + exp(-0.5)) = 0.622, loses with 0.182."""
    games = [g for g in simulated((1.0, 0.0), (0.0, 0.0), 4000, 2000, 0, alike=alike) if g.players == ("p0", "p1")]
    assert np.mean([g.winner == 0 for g in games]) == pytest.approx(0.622, abs=0.03)
    assert np.mean([g.winner == 1 for g in games]) == pytest.approx(0.182, abs=0.03)


def test_games_about_one_word_are_alike():
    def spread(alike: float) -> float:
        games = simulated((0.0, 0.0), (0.0, 0.0), 2000, 20, 1, alike=alike)
        by_word = [np.mean([g.score(0) for g in games if g.word == f"w{n}"]) for n in range(20)]
        return float(np.var(by_word))

    assert spread(0.5) > 5 * spread(0.0)


def test_true_strengths_are_centred_in_elo_points():
    assert true_strengths((0.0, np.log(10) / 4), (0.0, 0.0))["p1", "attacker"] == pytest.approx(50)


def test_the_command_counts_all_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(Coverage(words=(8,), games=24, simulations=3, out=tmp_path / "x.json"))
    (row,) = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert row["intervals"] == 24 and 0 <= row["low"] <= row["coverage"] <= row["high"] <= 1
    assert "  8 words:" in capsys.readouterr().out
