"""Fixtures of the tests of whole runs."""

from dataclasses import replace

import pytest
from tiny import save_tiny

from sparring.selfplay.run.method import method_of


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model with its tokenizer and card."""
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wins dealt out in turn: a random model's attacker loses every game, by saying too much."""

    def returns(episodes, seed):
        return {p.match.id: {"attacker": 1.0 - i % 2 * 2, "defender": i % 2 * 2 - 1.0} for i, p in enumerate(episodes)}

    monkeypatch.setattr("sparring.selfplay.run.train.method_of", lambda config: replace(method_of(config), reward=returns))
