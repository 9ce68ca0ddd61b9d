"""Stored games in other formats: what is read from them is what was stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from game_lines import WIN, line

from sparring.envs.core import make_game
from sparring.envs.games.prompts import load_prompts
from sparring.selfplay.data.formats import read_chats
from sparring.selfplay.data.stored_talk import export
from sparring.selfplay.storage.episodes import record_from_json
from sparring.selfplay.storage.game_files import GameFile, StoredGame, Unreadable

PROMPTS = load_prompts("full")
LOSS = "I know the word! It is a pear."


def stored(*games: dict[str, Any]) -> list[tuple[StoredGame, tuple[str, ...]]]:
    """Games, and in each the role that won."""
    file = GameFile(Path("games.jsonl"), "round 3", 3)
    return [(StoredGame(file, n, record_from_json(game)), tuple(filter(None, [game["outcome"]["winner"]]))) for n, game in enumerate(games)]


def won(id: str) -> dict[str, Any]:
    return line(id, "It is yellow.", WIN, winner="defender", reason="declared_right")


def lost(id: str) -> dict[str, Any]:
    return line(id, "It is yellow.", LOSS, reason="declared_wrong")


def written(tmp_path: Path, form: str, games: list, name: str = "out.json") -> Any:
    export(tmp_path / name, form, games, PROMPTS, Unreadable())
    return json.loads((tmp_path / name).read_text())


def test_spag_files_hold_what_was_said_and_are_judged_alike(tmp_path: Path):
    assert written(tmp_path, "spag", stored(won("0"))) == [
        {
            "history": [{"role": "attacker", "content": "It is yellow."}, {"role": "defender", "content": WIN}],
            "target_word": "lemon",
            "max_turns": 5,
        }
    ]
    chats = read_chats(tmp_path / "out.json", PROMPTS, make_game("AdversarialTaboo"))
    assert [chat.role for chat in chats] == ["defender"]


def test_preferences_pair_a_game_won_with_one_lost(tmp_path: Path):
    both = [(game, ("defender",)) for game, _ in stored(won("0"), lost("1"))]
    pair = written(tmp_path, "preference", both)
    assert [pair[kind][-1]["content"] for kind in ("chosen", "rejected")] == [WIN, LOSS]
    assert [m["role"] for m in pair["prompt"]] == ["system", "user"] and pair["prompt"][-1]["content"] == "It is yellow."


def test_void_games_hold_no_talk_and_games_that_cannot_be_replayed_are_named(tmp_path: Path):
    unreadable = Unreadable()
    games = [
        (game, ("attacker", "defender"))
        for game, _ in stored(line("v", "Hm.", winner=None, reason="void"), line("x", WIN, "Hm.", "Hm."), won("0"))
    ]
    done = export(tmp_path / "x.jsonl", "messages", games, PROMPTS, unreadable)
    assert (done.entries, done.games) == (2, 1)
    assert unreadable.count == 1 and "games.jsonl, game x: " in unreadable.messages[0]


def test_a_format_that_cannot_hold_a_game_leaves_no_file(tmp_path: Path):
    other = line("0", "Is it alive?", game={"name": "TwentyQuestions", "version": 1, "config": {}})
    with pytest.raises(ValueError, match="nothing to write"):
        export(tmp_path / "x.json", "spag", stored(other), PROMPTS, Unreadable())
    assert list(tmp_path.iterdir()) == []


def test_a_table_holds_whole_games(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    game = won("0")
    game["utterances"][0] |= {"private": "Half: \ud83c", "truncated": True}
    assert export(tmp_path / "x.parquet", "parquet", stored(game, lost("1")), PROMPTS, Unreadable()) == (2, 2)
    first, second = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert {name: first[name] for name in ("file", "round", "id", "word", "seed", "winner", "reason")} == {
        "file": "round 3", "round": 3, "id": "0", "word": "lemon", "seed": "7", "winner": "defender", "reason": "declared_right",
    }  # fmt: skip
    assert first["utterances"] == [
        {"role": "attacker", "text": "It is yellow.", "private": "Half: \ufffd", "truncated": True, "tokens": 2},
        {"role": "defender", "text": WIN, "private": "", "truncated": False, "tokens": 2},
    ]
    assert second["roles"] == [
        {"role": "attacker", "agent": "mini", "utility": 1.0},
        {"role": "defender", "agent": "mini", "utility": -1.0},
    ]


def test_a_table_is_written_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    monkeypatch.setattr("sparring.selfplay.data.stored_talk._BATCH", 2)
    export(tmp_path / "x.parquet", "parquet", stored(*(won(str(n)) for n in range(5))), PROMPTS, Unreadable())
    assert [row["id"] for row in parquet.read_table(tmp_path / "x.parquet").to_pylist()] == list("01234")
