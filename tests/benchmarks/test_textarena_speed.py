"""The benchmark beside TextArena's Taboo, in very small: all loops make the same steps. No times are asserted."""

import pytest

pytest.importorskip("textarena", reason="needs the extra textarena")

from sparring.benchmarks.textarena_speed import THEIR_TURNS, TextArenaSpeedConfig, loops, measure, show


@pytest.mark.parametrize("length", [10, THEIR_TURNS])
def test_all_loops_play_games_of_one_length(length: int):
    assert {name: loop(2, length, 0) for name, loop in loops().items()} == dict.fromkeys(loops(), 2 * length)


def test_figures_are_medians_and_their_ratios():
    found = measure(TextArenaSpeedConfig(games=1, runs=3, utterances=(4,)))
    (of,) = found["lengths"].values()
    assert all(len(runs) == 3 and sorted(runs)[1] == of["steps_per_second"][name] for name, runs in of["runs"].items())
    rates = of["steps_per_second"]
    assert of["ratios"]["rules / textarena_raw"] == rates["rules"] / rates["textarena_raw"]
    assert found["provenance"]["libraries"]["textarena"]
    assert len(show(found)) == 1 + len(rates) + len(of["ratios"])
