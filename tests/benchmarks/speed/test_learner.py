"""The learner's benchmark, in very small: every way trains the same tokens of the same games."""

import pytest

from sparring.benchmarks.speed import learner as learner_speed
from sparring.benchmarks.speed.generation import SpeedConfig, prepare
from sparring.benchmarks.speed.learner import LearnerSpeedConfig, full_games, measure, samples_by_role, samples_by_utterance
from sparring.benchmarks.speed.random_models import SHAPES, VOCABULARY


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> LearnerSpeedConfig:
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    monkeypatch.setitem(SHAPES, "small", small)
    monkeypatch.setitem(VOCABULARY, "small", 2000)
    monkeypatch.setattr(learner_speed, "PORTION", 4)
    return LearnerSpeedConfig(model="random:small", games=2, runs=1, token_budget=200, device="cpu")


def test_all_ways_are_measured(config: LearnerSpeedConfig):
    found = measure(config)
    ways = {"ours", "padded", "spag_rows", "spag_code", "plain", "plain_cut"}
    assert found["runs"].keys() == found["seconds_per_game"].keys() == ways
    assert all(len(times) == 1 and times[0] > 0 for times in found["runs"].values())
    assert found["trained_tokens_per_game"]["ours"] == found["trained_tokens_per_game"]["spag_rows"] > 0
    assert found["ratios"]["tokens_spag_rows"] == found["tokens_per_game"]["spag_rows"] / found["tokens_per_game"]["ours"]
    assert 25 / 9 < found["ratios"]["tokens_spag_rows"] < 5, "without a prompt, with nothing but a prompt"
    assert found["ratios"]["seconds_padded"] == found["runs"]["padded"][0] / found["runs"]["ours"][0]
    assert found["packed"]


def test_rows_by_utterance_are_prefixes_of_rows_by_role(config: LearnerSpeedConfig):
    episodes = full_games(prepare(SpeedConfig(model=config.model, device="cpu")), 1)[0]
    whole, parts = samples_by_role(episodes), samples_by_utterance(episodes)
    assert (len(whole), len(parts)) == (2, 10)
    for i, sample in enumerate(whole):
        own = parts[5 * i : 5 * i + 5]
        assert all((part.ids == sample.ids[: len(part.ids)]).all() for part in own)
        said = sorted(place for part in own for place in part.loss_mask.nonzero()[0].tolist())
        assert said == sample.loss_mask.nonzero()[0].tolist()


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        LearnerSpeedConfig(games=0)
