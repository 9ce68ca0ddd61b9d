"""What the page's browser is given: everything that was said, at the places where JavaScript looks for it."""

import base64
import gzip
import json
from pathlib import Path

from game_lines import line, write_lines

from sparring.selfplay.report.packed_games import CHUNK, PackedGames, pack
from sparring.selfplay.storage.game_files import GameFile, Unreadable


def packed(tmp_path: Path, *files: list, most: int = 100) -> tuple[PackedGames, dict]:
    paths = [GameFile(write_lines(tmp_path / f"{n}.jsonl", lines), f"file {n}") for n, lines in enumerate(files)]
    made = pack(paths, Unreadable(), most)
    index, *talk = (json.loads(gzip.decompress(base64.b64decode(data))) for data in (made.index, *made.talk))
    return made, {**index, "talk": [said for piece in talk for said in piece]}


def test_a_game_is_packed_whole(tmp_path: Path):
    one = line("a/0", "A fruit.", "A lemon?", agents=("x", "/y/z"), evidence=(1, 2, 7))
    one["utterances"][1] |= {"truncated": True, "private": "Hm."}
    made, data = packed(tmp_path, [one, line("b", winner=None, reason="void", word="pear")])
    assert data == {
        "files": ["file 0"], "roles": ["attacker", "defender"], "agents": ["x", "z", "mini"], "words": ["lemon", "pear"],
        "reasons": ["uttered", "void"], "void": "void", "chunk": CHUNK,
        "games": [
            [0, "a/0", 0, 0, 0, [0, 0, 1, 1], 2, [1, 2, 7], "lemon"],
            [0, "b", 1, 1, -1, [0, 2, 1, 2], 0, 0, ""],
        ],
        "talk": [[[0, "A fruit."], [1, "A lemon?", 1, "Hm."]], []],
    }  # fmt: skip
    assert (made.games, made.total, made.sampled) == (2, 2, False)


def test_evidence_is_counted_as_javascript_counts(tmp_path: Path):
    text = "\U0001f34b\U0001f34b caf\u00e9 \ud800 lemon"
    start = text.index("lemon")
    _, data = packed(tmp_path, [line("0", text, evidence=(0, start, start + 5))])
    said, (turn, begin, end) = data["talk"][0][0][1], data["games"][0][7]
    units = said.encode("utf-16-le")
    assert turn == 0 and units[2 * begin : 2 * end].decode("utf-16-le") == "lemon" and begin == start + 2


def test_beyond_the_most_every_kth_line_is_kept_of_every_file(tmp_path: Path):
    made, data = packed(tmp_path, [line(f"a{n}") for n in range(60)], [line(f"b{n}") for n in range(30)], most=9)
    ids = [game[1] for game in data["games"]]
    assert (made.games, made.total, made.sampled) == (9, 90, True)
    assert [id for id in ids if id[0] == "a"] == ["a9", "a19", "a29", "a39", "a49", "a59"] and ids[6:] == ["b9", "b19", "b29"]


def test_lines_that_cannot_be_read_make_no_sample(tmp_path: Path):
    made, _ = packed(tmp_path, [line("0"), "{}", line("1")])
    assert (made.games, made.total, made.sampled, made.unreadable.count) == (2, 3, False, 1)


def test_the_longest_games_make_it_a_sample(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sparring.selfplay.report.packed_games.MOST_CHARACTERS", 20_000)
    made, data = packed(tmp_path, [line(str(n), "x" * 1000) for n in range(50)])
    assert made.sampled and 5 <= made.games == len(data["games"]) <= 20


def test_no_games_are_none(tmp_path: Path):
    made, data = packed(tmp_path, [])
    assert (made.games, made.total, data["games"]) == (0, 0, [])


def test_equal_games_are_equal_bytes(tmp_path: Path):
    first, second = (packed(tmp_path, [line("0", "Hm.")])[0] for _ in range(2))
    assert (first.index, first.talk) == (second.index, second.talk)


def test_talk_comes_in_pieces(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sparring.selfplay.report.packed_games.CHUNK", 2)
    made, data = packed(tmp_path, [line(str(n), f"Hm {n}.") for n in range(5)])
    assert len(made.talk) == 3 and data["chunk"] == 2 and [said[0][1] for said in data["talk"]] == [f"Hm {n}." for n in range(5)]
