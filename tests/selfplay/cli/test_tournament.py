"""sparring tournament and sparring play --tournament: stopped, gone on with, extended; what does not fit is refused."""

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import UNKNOWN, sparring
from tiny import save_tiny

from sparring.agents.models.loading import load_language_model
from sparring.agents.rollout import play
from sparring.selfplay.cli.main import main
from sparring.selfplay.evaluation.tournament_folder import MANIFEST
from sparring.selfplay.storage.sealed import read_sealed, write_sealed

PLAYERS = ["scripted", "scripted:hasty", "random"]
SETTINGS = ["--games", "6", "--words", "heldout"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tournaments") / "three"
    assert main(["tournament", *PLAYERS, *SETTINGS, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "three"))


def again(folder: Path, *arguments: str) -> dict:
    """The results after the command was given once more."""
    assert main(["tournament", "--out", str(folder), *arguments]) == 0
    return results(folder)


def results(folder: Path) -> dict:
    found = json.loads((folder / "results.json").read_text())
    found["tournament"].pop("provenance")
    return found


def lines(folder: Path) -> list[str]:
    return (folder / "games.jsonl").read_text().splitlines(keepends=True)


def test_every_pair_plays_in_both_roles_on_the_same_words_with_the_same_seeds(finished: Path):
    records = [json.loads(line) for line in lines(finished)]
    pairs = {tuple(record["players"][role]["agent"] for role in ("attacker", "defender")) for record in records}
    assert len(records) == 36 and pairs == {(one, other) for one in PLAYERS for other in PLAYERS if one != other}
    tasks = {pair: [] for pair in pairs}
    for record in records:
        tasks[tuple(record["players"][role]["agent"] for role in ("attacker", "defender"))].append(
            (record["task"]["secret"], record["task"]["seed"])
        )
    assert len({tuple(sorted(of)) for of in tasks.values()}) == 1 and len(set(tasks["scripted", "random"])) == 6


def test_the_folder_holds_results_for_people_and_programs(finished: Path):
    found = json.loads((finished / "results.json").read_text())
    assert found["games"] == found["tournament"]["planned"] == 36 and found["void"] == 0
    assert found["tournament"]["provenance"]["seed"] == 0
    rows = (finished / "results.csv").read_text().splitlines()
    assert len(rows) == 7 and rows[0].startswith("player,role,games,wins")
    assert "| random | attacker |" in (finished / "results.md").read_text()
    assert (finished / "ladder.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kept", [0, 17])
def test_a_tournament_cut_off_anywhere_ends_as_one_that_was_not(kept: int, folder: Path):
    before = results(folder)
    whole = lines(folder)
    (folder / "games.jsonl").write_text("".join(whole[:kept]) + whole[kept][: len(whole[kept]) // 2])
    (folder / "results.json").unlink()
    assert again(folder) == before
    assert sorted(lines(folder)) == sorted(whole)


def test_a_killed_process_loses_no_game_that_had_ended(tmp_path: Path):
    command = [sys.executable, "-m", "sparring.selfplay.cli", "tournament", "scripted", "scripted:asker", "--games", "5000"]
    with subprocess.Popen([*command, "--out", str(tmp_path / "t")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        games, deadline = tmp_path / "t" / "games.jsonl", time.monotonic() + 60
        while not (games.exists() and games.stat().st_size > 100_000) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    ended = games.read_bytes().count(b"\n")
    assert 20 < ended < 10_000
    assert main(["tournament", "--out", str(tmp_path / "t"), "--games", "4000"]) == 2, "it was begun with 5000"
    assert games.read_bytes().count(b"\n") == ended


def test_players_join_without_a_game_being_played_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    whole, played = lines(folder), []

    def counting(matches, **options):
        return play((played.append(match) or match for match in matches), **options)

    monkeypatch.setattr("sparring.agents.rollout.play", counting)
    found = again(folder, "--add", "silent")
    assert len(played) == 36 and all("silent" in match.tags.values() for match in played)
    assert lines(folder)[:36] == whole and found["games"] == 72
    fresh = folder.parent / "fresh"
    assert main(["tournament", *PLAYERS, "silent", *SETTINGS, "--out", str(fresh)]) == 0
    assert results(fresh) == found, "whoever joins later plays the games that it would have played"


def test_damaged_and_foreign_lines_are_named_left_out_and_played_again(folder: Path, capsys: pytest.CaptureFixture[str]):
    before, whole = results(folder), lines(folder)
    foreign = whole[3].replace('"agent": "s', '"agent": "t')
    (folder / "games.jsonl").write_text("".join([whole[0], "{broken\n", foreign, *whole[3:]]))
    assert again(folder) == before
    said = capsys.readouterr().err
    assert "games.jsonl, line 2: not a game" in said and "line 3: not a game of this tournament" in said
    assert "34 of 36 games" in said


def test_void_games_are_played_again(folder: Path):
    before, whole = results(folder), lines(folder)
    broken = json.loads(whole[5])
    broken["outcome"] |= {"winner": None, "reason": "void", "evidence": None}
    (folder / "games.jsonl").write_text("".join([*whole[:5], json.dumps(broken) + "\n", *whole[6:]]))
    assert again(folder) == before and len(lines(folder)) == 37


def changed(folder: Path, **changes: object) -> None:
    data = read_sealed(folder / MANIFEST)
    write_sealed(folder / MANIFEST, {**data, **changes})


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["tournament", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_games_of_other_words_judges_and_settings_are_not_added_to(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = ["--out", str(folder)]
    before = (folder / "games.jsonl").read_bytes()
    assert "was begun with --words heldout, not common" in refused(capsys, *out, "--words", "common", "--add", "mini")
    assert "was begun with --games 6, not 7" in refused(capsys, *PLAYERS, *out, "--games", "7")
    assert "mini does not play in" in refused(capsys, "mini", "random", *out)
    manifest = read_sealed(folder / MANIFEST)
    changed(folder, judge="000000000000")
    assert "decided by another judge" in refused(capsys, *out, "--add", "mini")
    changed(folder, judge=manifest["judge"], words={**manifest["words"], "sha256": "0"})
    assert "the list of words" in refused(capsys, *out, "--add", "mini")
    (folder / MANIFEST).write_text("{}")
    assert MANIFEST in refused(capsys, *out)
    assert (folder / "games.jsonl").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    assert "is no folder of a tournament" in refused(capsys, *PLAYERS, "--out", str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--add", "mini"], "name its folder with --out"),
        (["--out", "OUT"], "name two players or more"),
        (["scripted", "--out", "OUT"], "name two players or more"),
        (["scripted", "silent", "--add", "silent", "--out", "OUT"], "named twice"),
        (["scripted", "human"], "joins one by sparring play --tournament"),
        (["scripted", "nobody", "--out", "OUT"], "unknown agent 'nobody'; "),
        (["scripted", "silent", "--games", "0"], "--games must be at least 1, got 0"),
        (["scripted", "silent", "--models-at-once", "1"], "--models-at-once must be 2 or more"),
    ],
)
def test_bad_tournaments_are_one_sentence(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert message in refused(capsys, *(str(tmp_path / "t") if a == "OUT" else a for a in arguments))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing is left behind"


def test_models_come_in_turns_and_changed_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    models = [save_tiny(tmp_path / name) for name in ("a", "b", "c")]
    loaded: list[str] = []

    together = ["--games", "2", "--game-options", "max_turns=1", "--max-new-tokens", "4", "--json"]
    assert main(["tournament", *models, "silent", *together]) == 0
    at_once = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(
        "sparring.agents.models.loading.load_language_model",
        lambda place, **options: loaded.append(place) or load_language_model(place, **options),
    )
    out = str(tmp_path / "t")
    assert main(["tournament", *models, "silent", *together, "--models-at-once", "2", "--out", out]) == 0
    in_turns = json.loads(capsys.readouterr().out)
    assert set(loaded) == set(models) and len(loaded) > 3
    for key in ("players", "pairs", "ratings", "mistakes", "neighbours"):
        assert in_turns[key] == at_once[key]
    cost = {entry["player"]: entry for entry in in_turns["cost"]}
    assert cost["silent"]["seconds"] is None and all(cost[m]["seconds"] > 0 and cost[m]["tokens"] > 0 for m in models)
    (Path(models[0]) / "config.json").write_text((Path(models[0]) / "config.json").read_text() + "\n")
    assert f"the weights of {models[0]} are not those" in refused(capsys, "--out", out, "--add", "random")
    assert "random" not in (tmp_path / "t" / MANIFEST).read_text()


def sit_down(monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["play", "--tournament", *arguments])


def test_a_person_joins_plays_on_its_words_and_goes_on_later(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    talk = "It is nice.\n" * 5
    assert sit_down(monkeypatch, talk, str(folder), "--opponent", "scripted:hasty", "--games", "1", "--role", "attacker") == 0
    assert "1 of 6 games as attacker against scripted:hasty added" in capsys.readouterr().out
    found = results(folder)
    assert found["games"] == 37 and found["tournament"]["planned"] == 36
    (mine,) = [e for e in found["pairs"] if e["player"] == "human"]
    assert (mine["opponent"], mine["role"], mine["wins"]) == ("scripted:hasty", "attacker", 0)
    assert json.loads(lines(folder)[-1])["task"]["secret"] == json.loads(lines(folder)[0])["task"]["secret"]
    assert sit_down(monkeypatch, talk * 9, str(folder), "--opponent", "scripted:hasty", "--games", "9", "--role", "attacker") == 0
    assert "5 of 5 games" in capsys.readouterr().out
    assert again(folder)["games"] == 42, "nobody waits for a person's games, and none is lost"
    capsys.readouterr()
    assert sit_down(monkeypatch, talk, str(folder), "--opponent", "scripted:hasty", "--role", "attacker") == 2
    assert "all 6 games" in capsys.readouterr().err
    assert sit_down(monkeypatch, talk, str(folder), "--opponent", "mini") == 2
    assert "--opponent is one of scripted, scripted:hasty, random" in capsys.readouterr().err
    assert sit_down(monkeypatch, talk, str(folder.parent / "nowhere")) == 2
    assert "no such folder of a tournament" in capsys.readouterr().err


def test_players_meet_in_games_and_tournaments(run: Path):
    done = sparring(
        "play",
        "--player",
        f"{run}@0",
        "--role",
        "attacker",
        "--opponent",
        "scripted",
        "--games",
        "2",
        "--show",
        "1",
        "--game-options",
        "max_turns=2",
        "--json",
    )
    found = json.loads(done.stdout)
    assert len(found["games"]) == 2, "JSON holds all, whatever is shown"
    assert {cell["role"] for cell in found["cells"]} == {"attacker", "defender"}
    done = sparring("tournament", "scripted", "silent", f"{run}@latest", "--games", "2", "--game-options", "max_turns=2", "--json")
    found = json.loads(done.stdout)
    assert len(found["pairs"]) == 12
    assert {p["player"] for p in found["players"]} == {"scripted", "silent", f"{run}@latest"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tournament", "silent", "mini", "--device", "gpu"], "unknown device 'gpu'"),
        (["tournament", "silent", "random", "--game", "textarena:TicTacToe-v0", "--words", "everyday"], "has no secret words"),
        (["tournament", "silent", "random", "--game", "textarena:Mastermind-v0"], "Mastermind-v0"),
        (["tournament", "scripted"], "at least two players"),
        (["tournament", "silent", "random", "--temperature", "inf"], "temperature must be a finite number"),
        (["tournament", "silent", "random", "--top-p", "nan"], "top_p must be a finite number, got nan"),
        (["tournament", "random", "scripted", "--words", "everyday,WORDS"], "not 'zeppelin': take words from"),
        (["tournament", "mini", "scripted", "--words", "common@train"], UNKNOWN),
        (["tournament", "mini", "silent", "--game", "TwentyQuestions", "--words", "WORDS"], "'zeppelin' is none; take words from"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
