"""The benchmark beside TextArena's Taboo, in very small: all loops make the same steps. No times are asserted."""

import pytest

pytest.importorskip("textarena", reason="needs the extra textarena")

from textarena.envs.Taboo.env import TabooEnv as TheirTaboo

from sparring.benchmarks.speed.textarena import SAID, THEIR_TURNS, TextArenaSpeedConfig, loops, measure, show
from sparring.envs.judge.verdict import ROLES, verdict
from sparring.envs.words.lists import word_list


def test_nothing_that_is_said_ends_a_game():
    assert not [(word, text) for word in word_list("everyday") for text in SAID for role in ROLES if verdict(text, role, word)]
    data = TheirTaboo(["things"], 4, 6).data
    taboo = {word.lower() for target, words in data.items() for word in (target, *words)}
    said = {word.strip(".,?[]").lower() for text in SAID for word in text.split()}
    assert not taboo & said


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
    assert of["ratios"]["vector / textarena_batch"] == rates["vector"] / rates["textarena_batch"]
    assert len(show(found)) == 1 + len(rates) + len(of["ratios"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TextArenaSpeedConfig(games=0), "at least 1"),
        (TextArenaSpeedConfig(utterances=(3,)), "lengths even"),
        (TextArenaSpeedConfig(games=100), "at most 64 or a multiple"),
    ],
)
def test_bad_settings_are_named(config: TextArenaSpeedConfig, message: str):
    with pytest.raises(ValueError, match=message):
        measure(config)
