"""sparring tournament."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import UNKNOWN, sparring


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
