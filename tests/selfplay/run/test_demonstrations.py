"""Demonstrations of rounds."""

from types import SimpleNamespace

import pytest

from sparring.selfplay.learner.batch import sft_sample
from sparring.selfplay.run import demonstrations


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
