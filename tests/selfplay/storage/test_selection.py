"""Which games, and whose talk in them, a filter means."""

import pytest
from game_lines import line

from sparring.selfplay.storage.selection import Selection, agent_name, result

GAMES = {
    "won": line("won", "A kind of fruit.", "Is it a LEMON?", agents=("/runs/x@3", "scripted")),
    "lost": line(
        "lost", "It is yellow.", "A kind of\x00bird?", winner="defender", reason="declared_right", agents=("scripted", "/runs/x@3")
    ),
    "tied": line("tied", "Hm.", word="Pear", winner=None, reason="turn_limit"),
    "void": line("void", winner=None, reason="void"),
}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, {"won": "attacker defender", "lost": "attacker defender", "tied": "attacker defender", "void": "attacker defender"}),
        ({"role": "defender"}, {"won": "defender", "lost": "defender", "tied": "defender", "void": "defender"}),
        ({"result": "won"}, {"won": "attacker", "lost": "defender"}),
        ({"result": "lost", "role": "attacker"}, {"lost": "attacker"}),
        ({"agent": "x@3"}, {"won": "attacker", "lost": "defender"}),
        ({"agent": "/runs/x@3", "result": "won"}, {"won": "attacker", "lost": "defender"}),
        ({"agent": "scripted", "result": "won"}, {}),
        ({"text": "a kind OF"}, {"won": "attacker", "lost": "defender"}),
        ({"text": "of\ufffdbird"}, {"lost": "defender"}),
        ({"text": "lemon", "role": "attacker"}, {}),
        ({"reason": "turn_limit"}, {"tied": "attacker defender"}),
        ({"word": "pear", "role": "attacker"}, {"tied": "attacker"}),
        ({"result": "void", "role": "attacker"}, {"void": "attacker"}),
        ({"id": "won", "role": "attacker"}, {"won": "attacker"}),
        ({"role": "judge"}, {}),
    ],
)
def test_a_role_is_selected_where_all_holds_of_it(wanted: dict, expected: dict):
    found = {name: " ".join(Selection(**wanted).roles(game)) for name, game in GAMES.items()}
    assert {name: roles for name, roles in found.items() if roles} == expected


def test_the_result_is_of_a_role():
    assert [result(GAMES[name], "attacker") for name in GAMES] == ["won", "lost", "tied", "void"]
    assert result(GAMES["won"], "defender") == "lost"


def test_names_are_shown_without_folders_and_keys():
    assert agent_name("/home/somebody/runs/x@3") == "x@3"
    assert agent_name("openai:gpt@https://user:secret@api.example.com/v1?key=secret") == "openai:gpt@https://api.example.com"
    assert agent_name("mini") == "mini"
