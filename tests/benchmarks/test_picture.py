"""Which games a picture shows; drawing them needs a browser."""

from pathlib import Path

import pytest
from game_lines import line, write_lines

from sparring.benchmarks.picture import address, chosen


def run(tmp_path: Path, *rounds: list) -> Path:
    (tmp_path / "config.yaml").write_text("")
    for number, lines in enumerate(rounds, 1):
        write_lines(tmp_path / "rounds" / f"{number:03d}" / "games.jsonl.gz", lines)
    return tmp_path


def test_a_word_of_the_last_round_stands_beside_its_game_in_another(tmp_path: Path):
    first = [line("1/0", word="pear"), line("1/1", word="lemon"), line("1/2", word="lemon")]
    last = [line("2/0", word="plum"), line("2/1", word="lemon", reason="foul"), line("2/2", word="lemon"), line("2/3", word="pear")]
    found = chosen(run(tmp_path, first, last))
    assert [game and game.episode.record["id"] for game in found] == ["1/1", "2/2"]
    assert address(found) == "#game=round+1%3A1%2F1&beside=round+2%3A2%2F2"


def test_where_no_word_came_twice_one_game_is_shown(tmp_path: Path):
    found = chosen(run(tmp_path, [line("1/0", word="pear")], [line("2/0", word="plum")]))
    assert found[0].episode.record["id"] == "2/0" and found[1] is None
    assert address(found) == "#game=round+2%3A2%2F0"


def test_a_run_without_games_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="has no games"):
        chosen(run(tmp_path))
