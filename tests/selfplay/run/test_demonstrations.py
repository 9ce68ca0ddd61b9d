"""Demonstrations of rounds."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import small_run
from tiny import save_tiny

from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.world.facts import word_groups
from sparring.selfplay.config.config import SFTConfig, SFTMixConfig
from sparring.selfplay.learner.batch import Sample, sft_sample
from sparring.selfplay.run import demonstrations
from sparring.selfplay.run.session import prepare


def test_rounds_take_given_conversations_in_other_orders(monkeypatch: pytest.MonkeyPatch):
    given = [sft_sample(range(n), [False] + [True] * (n - 1)) for n in range(2, 40)]
    monkeypatch.setattr(demonstrations, "provided_chats", lambda session: ())
    monkeypatch.setattr(demonstrations, "demonstration_samples", lambda *_, **options: list(given))
    session = SimpleNamespace(config=SimpleNamespace(games_per_round=4))

    def lengths(seed: int) -> list[int]:
        return [len(sample.ids) for sample in demonstrations.round_demonstrations(session, seed, 100)]

    assert lengths(0) == lengths(0) != lengths(1)
    first, second = set(lengths(0)), set(lengths(1))
    assert first - second and second - first, "not the beginning of the file each time"


def test_experts_are_replayed_where_they_are_asked_for(tmp_path: Path):
    """As many conversations as were asked for, other ones for another seed, of the experts that the settings name."""
    model = save_tiny(tmp_path / "model")
    config = small_run(model, tmp_path / "run", sft_mix=SFTMixConfig(source="experts"), sft=SFTConfig(experts="clear"))
    session = prepare(config)

    def ids(samples: list[Sample]) -> list[list[int]]:
        return [list(sample.ids) for sample in samples]

    first, again, other = (demonstrations.sft_mix_samples(session, 6, seed) for seed in (1, 1, 2))
    assert len(first) == 6
    assert ids(first) == ids(again) != ids(other)
    assert demonstrations.sft_mix_samples(session, 0, 1) == []


def test_clear_and_mixed_experts_talk_otherwise():
    game, words = AdversarialTaboo(), word_groups().sft
    clear, mixed = (demonstrations.expert_games(game, words, 20, 1, experts) for experts in ("clear", "mixed"))
    assert [e.match.task for e in clear] == [e.match.task for e in mixed]
    assert [e.state.utterances for e in clear] != [e.state.utterances for e in mixed]
