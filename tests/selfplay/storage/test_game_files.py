"""Where games lie, and what becomes of lines that were damaged."""

from pathlib import Path

import pytest
from game_lines import line, write_lines

from sparring.selfplay.storage.game_files import SHOWN_ERRORS, GameFile, Unreadable, count_games, game_files, read_games


def test_the_games_of_a_run_are_those_of_its_rounds_in_order(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("")
    for number in (10, 2, 1000):
        write_lines(tmp_path / "rounds" / f"{number:03d}" / "games.jsonl.gz", [line("0")])
    (tmp_path / "rounds" / "003").mkdir()
    files = game_files(tmp_path)
    assert [(file.name, file.round) for file in files] == [("round 2", 2), ("round 10", 10), ("round 1000", 1000)]


def test_any_other_folder_is_read_by_the_names_of_its_files(tmp_path: Path):
    one = write_lines(tmp_path / "games.jsonl.gz", [line("0")])
    assert game_files(tmp_path) == [GameFile(one)], "a single file needs no name"
    write_lines(tmp_path / "games" / "b.jsonl", [line("0")])
    write_lines(tmp_path / "other.jsonl", [line("0")])
    assert [file.name for file in game_files(tmp_path)] == ["games", "games/b"]
    assert game_files(tmp_path / "other.jsonl") == [GameFile(tmp_path / "other.jsonl")]


def test_where_there_are_no_games_that_is_said(tmp_path: Path):
    with pytest.raises(ValueError, match="no such run folder, tournament folder or file of games"):
        game_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no games: it is neither a run that has played nor"):
        game_files(tmp_path)


def test_damaged_lines_are_named_and_skipped(tmp_path: Path):
    bad = line("2", "Hm.", evidence=(0, 0, 99))
    path = write_lines(tmp_path / "games.jsonl", [line("0"), "{", "", bad, line("1"), "\x1b[2J"])
    unreadable = Unreadable()
    assert [(g.number, g.episode.record["id"]) for g in read_games([GameFile(path)], unreadable)] == [(0, "0"), (3, "1")]
    assert unreadable.count == 3 and unreadable.total == "3 lines of game files could not be read and are left out"
    for message, expected in zip(
        unreadable.messages, ("line 2: not a game (not JSON", "line 4: not a game (evidence", "line 6"), strict=True
    ):
        assert expected in message and "\x1b" not in message


def test_what_can_be_read_of_a_file_that_was_cut_off_is_read(tmp_path: Path):
    path = write_lines(tmp_path / "games.jsonl.gz", [line(str(n), f"{n * 7919}" * 50) for n in range(400)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    whole = write_lines(tmp_path / "whole.jsonl", [line("last")])
    unreadable = Unreadable()
    ids = [g.episode.record["id"] for g in read_games([GameFile(path), GameFile(whole)], unreadable)]
    assert 0 < len(ids) < 401 and ids[:-1] == [str(n) for n in range(len(ids) - 1)] and ids[-1] == "last"
    assert unreadable.count == 1 and "not a whole file of text" in unreadable.messages[0]
    assert count_games([GameFile(path), GameFile(whole)])[0] == len(ids)


def test_of_many_bad_lines_the_first_are_named_and_all_counted(tmp_path: Path):
    said: list[str] = []
    unreadable = Unreadable(said.append)
    assert not list(read_games([GameFile(write_lines(tmp_path / "x.jsonl", ["{}"] * 50))], unreadable))
    assert unreadable.count == 50 and len(said) == len(unreadable.messages) == SHOWN_ERRORS
    assert not Unreadable().total


def test_some_lines_can_be_chosen_by_their_number_over_all_files(tmp_path: Path):
    files = [GameFile(write_lines(tmp_path / f"{name}.jsonl", [line(f"{name}{n}") for n in range(3)])) for name in "ab"]
    assert count_games(files)[0] == 6
    chosen = read_games(files, Unreadable(), lambda number: number % 2 == 0)
    assert [g.episode.record["id"] for g in chosen] == ["a0", "a2", "b1"]
