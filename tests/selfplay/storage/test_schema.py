"""Files of another version are refused in one sentence that says which version reads them."""

import json
from pathlib import Path

import pytest
from handmade import WIN, make_episode

from sparring.selfplay.cli.main import main
from sparring.selfplay.storage.episodes import parse_record, record
from sparring.selfplay.storage.folder import RunFolder

READS = "but this version reads schema 2 (sparring 0.1 reads older ones)"


@pytest.mark.parametrize("older", [None, 1])
def test_an_older_run_is_refused(older: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = RunFolder.create(tmp_path / "run", "", {"settings": {}} | ({"schema": older} if older else {}))
    with pytest.raises(ValueError, match=r"the run .*sparring 0\.1 reads older ones"):
        RunFolder.open(run.path)
    assert main(["train", "--resume", str(run.path)]) == 2
    assert capsys.readouterr().err == f"sparring: the run {run.path} has schema {older}, {READS}\n"


def test_a_run_of_this_version_and_one_without_a_provenance_are_opened(tmp_path: Path):
    run = RunFolder.create(tmp_path / "run", "", {"settings": {}, "schema": 2})
    assert RunFolder.open(run.path) == run
    run.provenance.unlink()
    assert RunFolder.open(run.path) == run, "a resumed run writes it anew"


def test_a_game_of_an_older_file_is_refused():
    line = json.dumps({**record(make_episode("a", "It is sour.", WIN)), "schema": 1})
    with pytest.raises(ValueError, match=r"games\.jsonl, line 3: not a game \(the line has schema 1, but this version reads"):
        parse_record(line, "games.jsonl, line 3")
