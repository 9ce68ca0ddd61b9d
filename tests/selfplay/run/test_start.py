"""The first model's games, before anything is spent on it."""

from pathlib import Path

import pytest
from small_runs import NO_EVALUATION, Heard, small_run
from tiny import save_tiny

from sparring.selfplay.config.config import AlarmsConfig
from sparring.selfplay.evaluation.gate import NoStart
from sparring.selfplay.run import dry_run, evaluations, start
from sparring.selfplay.run.method import method_of
from sparring.selfplay.run.session import prepare
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.distributed import Ranks
from sparring.selfplay.runtime.progress import Quiet

GATED = AlarmsConfig(limits={"start": 0.15})


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "GAMES", 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


def test_a_model_that_cannot_win_is_refused_before_it_learns(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = small_run(model, tmp_path / "run", evaluation=NO_EVALUATION, alarms=GATED)
    with pytest.raises(NoStart, match=r"of 4 games against itself .*--model .*run@0 .*--alarms.limits start=none"):
        train(config)
    kept = (tmp_path / "run" / "evaluation" / "start.json").read_bytes()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()

    def never(*_):
        raise AssertionError("what is known is not played again")

    monkeypatch.setattr(evaluations, "start_games", never)
    with pytest.raises(NoStart, match="of 4 games"):
        resume(tmp_path / "run")
    assert (tmp_path / "run" / "evaluation" / "start.json").read_bytes() == kept


def test_a_model_that_can_win_goes_on(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluations, "describe", lambda *_: {"games": 4, "reasons": {"uttered": 2, "turn_limit": 2}})
    heard = Heard()
    train(small_run(model, tmp_path / "run", rounds=1, evaluation=NO_EVALUATION, alarms=GATED), progress=heard)
    assert any("of 4 games against itself 50.0% end by a right guess" in line for line in heard.said)
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_run_without_rounds_has_no_gate(model: str, tmp_path: Path):
    train(small_run(model, tmp_path / "run", evaluation=NO_EVALUATION, alarms=GATED, rounds=0))
    assert not (tmp_path / "run" / "evaluation" / "start.json").exists()


def test_first_games_are_those_of_the_seed(model: str, tmp_path: Path):
    session = prepare(small_run(model, tmp_path / "run"))
    first, again = (start.start_games(session, 6, Ranks(), Quiet()) for _ in range(2))
    assert [e.state.utterances for e in first] == [e.state.utterances for e in again]
    assert len({e.match.task.secret for e in first}) == 6, "as many words as there are games"


def test_a_dry_run_plays_where_that_is_soon_done(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = small_run(model, tmp_path / "run")
    session = prepare(config)
    tried = dry_run.tried(session, method_of(config), Quiet())["first_games"]
    assert tried["games"] == 16 and tried["overlong"] > 8, "a random model hardly ever ends an utterance within 8 tokens"
    assert "--sft.steps" in tried["warning"]
    monkeypatch.setattr(dry_run, "seconds_at_most", lambda *_: 61.0)
    assert dry_run.tried(session, method_of(config), Quiet()) == {}


def test_seconds_grow_with_utterances(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    times = iter([1.0, 1.5])
    monkeypatch.setattr(start.time, "perf_counter", lambda: next(times))
    session = prepare(small_run(model, tmp_path / "run"))
    assert start.seconds_at_most(session, 4) == 0.5 * 4 * 8, "half a second a token, four utterances of eight"
