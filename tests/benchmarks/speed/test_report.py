"""The benchmark of the page, in very small. No times are asserted."""

from pathlib import Path

import pytest

from sparring.benchmarks.speed import report
from sparring.benchmarks.speed.report import ReportSpeedConfig, measure, prepare
from sparring.selfplay.storage.game_files import Unreadable, game_files, read_games


def test_every_game_is_played_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "BATCH", 4)
    size = prepare(tmp_path, ReportSpeedConfig(games=10))
    games = [game.episode.record for game in read_games(game_files(tmp_path), Unreadable())]
    assert len({game["id"] for game in games}) == 10 and len({str(game["utterances"]) for game in games}) == 10
    assert size == sum(file.stat().st_size for file in tmp_path.rglob("*.jsonl.gz"))


@pytest.mark.full
def test_the_page_is_written_and_opened():
    found = measure(ReportSpeedConfig(games=20, repeats=1, frames=3))
    assert found["write"]["peak_bytes"] > 2**20 and found["write"]["page_bytes"] > 10_000
    assert found["browser"] is None or found["browser"]["open_seconds"] > 0


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="at least 1, got 0, 5 and 300"):
        measure(ReportSpeedConfig(games=0))
