"""Games that are kept one by one, and what is left of them when playing is broken off."""

import gzip
import json
import os
import signal
from pathlib import Path
from tempfile import gettempdir

import pytest

from sparring.agents.core import derive_seed
from sparring.agents.players.scripted import scripted
from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Match, play_all
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.cli.main import main
from sparring.selfplay.data.collect import collect
from sparring.selfplay.data.streaming import play_to
from sparring.selfplay.evaluation.win_rates import schedule
from sparring.selfplay.storage.episodes import read_episodes, record, write_episodes
from sparring.selfplay.storage.locks import new_file

GAME = AdversarialTaboo(max_turns=2)
PLAY = ["play", "--player", "scripted", "--role", "attacker", "--opponent", "scripted", "--game-options", "max_turns=2"]


def games(n: int, agent=None):
    return schedule(dict.fromkeys(GAME.roles, agent or scripted()), GAME, ["lemon", "piano"], n, seed=0)


class Breaking:
    """Plays, until in a certain game something happens."""

    def __init__(self, after: int, what) -> None:
        self.left, self.what = after, what

    def agent(self):
        def say(observation, rng) -> str:
            if not observation.utterances and observation.role == "attacker":
                self.left -= 1
                if self.left < 0:
                    self.what()
            return "Hm."

        return FunctionAgent(say)


def quota() -> None:
    raise ConnectionError("the quota is used up")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_game_that_is_being_kept_and_is_handed_back(number: int):
    kept = []

    def keep(episode) -> None:
        if len(kept) == 5:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        kept.append(episode.match.id)

    before = signal.getsignal(number)
    stopped = play_to(keep, games(100), concurrency=4)
    assert isinstance(stopped, KeyboardInterrupt) and stopped.signal == number
    assert signal.getsignal(number) is before
    assert 6 <= len(kept) < 20 and kept == [str(i) for i in range(len(kept))]


def test_a_fault_in_keeping_is_no_reason_to_keep_on():
    kept = []

    def keep(episode) -> None:
        kept.append(episode)
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        play_to(keep, games(10))
    assert len(kept) == 1


def test_collected_games_are_the_bytes_of_games_written_together(tmp_path: Path):
    table = (dict.fromkeys(GAME.roles, scripted()), GAME.roles)
    collect(tmp_path / "one.jsonl.gz", "games", [table, table], GAME, ["lemon", "piano"], 20, 0, renderer=TABOO_BRIEF, concurrency=3)
    found = list(read_episodes(tmp_path / "one.jsonl.gz"))
    assert [e.record["id"] for e in found] == [f"collect/{i}/0/{table}" for table in (0, 1) for i in range(20)]
    matches = (Match(e.record["id"], GAME, e.task, table[0], derive_seed(0, e.record["id"])) for e in found)
    write_episodes(tmp_path / "two.jsonl.gz", play_all(matches))
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


@pytest.mark.parametrize(
    ("form", "name"), [("games", "x.jsonl.gz"), ("messages", "x.jsonl"), ("spag", "x.json"), ("messages", "x.jsonl.gz")]
)
@pytest.mark.parametrize("what", [quota, lambda: os.kill(os.getpid(), signal.SIGTERM)], ids=["error", "signal"])
def test_what_was_collected_until_it_broke_off_is_a_whole_file(tmp_path: Path, form: str, name: str, what):
    agent = Breaking(30, what).agent()
    table = (dict.fromkeys(GAME.roles, agent), ("attacker",))
    with pytest.raises((ConnectionError, KeyboardInterrupt)) as error:
        collect(tmp_path / name, form, [table], GAME, ["lemon"], 1000, 0, renderer=TABOO_BRIEF, concurrency=4)
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "rt") as file:
        text = file.read()
    entries = json.loads(text) if form == "spag" else [json.loads(line) for line in text.splitlines()]
    assert 30 <= len(entries) < 40
    assert error.value.__notes__ == [f"{tmp_path / name} holds {len(entries)} entries of the {len(entries)} games that had ended"]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_broken_off_before_there_was_anything_leaves_no_file(tmp_path: Path):
    table = (dict.fromkeys(GAME.roles, Breaking(0, quota).agent()), ("attacker",))
    for form in ("games", "messages", "preference"):
        with pytest.raises(ConnectionError, match="quota"):
            collect(tmp_path / "x.gz", form, [table], GAME, ["lemon"], 10, 0, renderer=TABOO_BRIEF)
    assert list(tmp_path.iterdir()) == []


def test_play_keeps_its_games_in_a_file_and_prints_the_object_that_it_would_print_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([*PLAY, "--games", "30", "--json", "--out", str(tmp_path / "g.jsonl.gz")]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert printed == json.dumps(found, ensure_ascii=False, sort_keys=True) + "\n"
    assert found["games"] == [e.record for e in read_episodes(tmp_path / "g.jsonl.gz")]
    assert [game["id"] for game in found["games"]] == [str(i) for i in range(30)]
    assert [cell["games"] for cell in found["cells"]] == [30, 30]
    assert main([*PLAY, "--games", "30", "--out", str(tmp_path / "g.jsonl.gz")]) == 2
    assert "exists; choose a new file" in capsys.readouterr().err
    assert main([*PLAY, "--games", "3", "--out", str(tmp_path / "g.jsonl")]) == 2
    assert "call the file g.jsonl.gz" in capsys.readouterr().err


def test_play_that_is_interrupted_shows_and_keeps_what_had_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def interrupting(episode):
        seen.append(episode)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return record(episode)

    monkeypatch.setattr("sparring.selfplay.storage.episodes.record", interrupting)
    out = tmp_path / "g.jsonl.gz"
    assert main([*PLAY, "--games", "5000", "--show", "0", "--out", str(out)]) == 128 + signal.SIGTERM
    said = capsys.readouterr()
    kept = len(list(read_episodes(out)))
    assert 5 <= kept <= 5 * 256 and f"{kept} games: attacker won" in said.out
    assert f"interrupted\n{kept} of 5000 games had ended; they are in {out}\n" in said.err


class Full:
    """A temporary file on a full disk."""

    def __init__(self, *_, **__) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_folder_of_temporary_files_costs_no_game_of_a_file(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    assert main([*PLAY, "--games", "20", "--json"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr("sparring.selfplay.storage.spool.TemporaryFile", Full)
    assert main([*PLAY, "--games", "20", "--json", "--out", str(tmp_path / "f.jsonl.gz")]) == 0
    assert capsys.readouterr().out == whole
    assert len(list(read_episodes(tmp_path / "f.jsonl.gz"))) == 20
    assert main([*PLAY, "--games", "20", "--json"]) == 2
    said = capsys.readouterr().err
    assert gettempdir() in said and "TMPDIR" in said and "--out FILE" in said and said.count("\n") == 1


@pytest.mark.parametrize("command", ["play", "collect"])
def test_a_file_that_another_process_writes_is_refused(command: str, tmp_path: Path, capsys):
    path = tmp_path / "f.jsonl.gz"
    arguments = [*PLAY, "--games", "2", "--out", str(path)] if command == "play" else ["collect", str(path), "--games", "2"]
    with new_file(path):
        assert main(arguments) == 2
        assert f"{path} is being written by process {os.getpid()} on " in capsys.readouterr().err
    assert main(arguments) == 0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
