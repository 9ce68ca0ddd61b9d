"""Standings for people: what stands in tables, that hostile names change nothing, that a picture is drawn."""

import csv
import io
from pathlib import Path

from rich.console import Console

from sparring.selfplay.evaluation.game_results import GameResult
from sparring.selfplay.evaluation.standings import standings
from sparring.selfplay.report.tournament import comma_separated, cycle_lines, markdown, show_standings, write_standings

HOSTILE = "a|b<script>`\n\x1b[31m$x_"
PLAYED = {
    "game": {"name": "AdversarialTaboo"},
    "words": {"count": 4},
    "options": {"games": 4, "words": None, "seed": 0, "temperature": 0.5},
    "planned": 24,
}


def results(names: tuple[str, str, str]) -> dict:
    """Three players, of whom the last wins nothing as an attacker, the others every second game."""
    games = [
        GameResult(f"{a}-{d}/{n}", (a, d), f"w{n}", n, 1 if a == names[2] else n % 2, "uttered", (1, 1), (2, 2))
        for a in names
        for d in names
        if a != d
        for n in range(4)
    ]
    return {"tournament": {**PLAYED, "players": list(names)}, **standings(games, ("attacker", "defender"), {names[0]: 1.5})}


def test_strengths_stand_with_their_intervals_and_bounds_with_their_reason():
    text = markdown(results(("x", "y", "z")))
    assert "24 games of 24 between 3 players: AdversarialTaboo, 4 per pair and role about 4 words (everyday), seed 0" in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| z | attacker")]
    assert rows[0][2:5] == ["0", "8", "0"] and rows[0][6] == "no win in 8 games"
    assert "| x | attacker | 4 | 4 | 0 | 0.500 0.22-0.78 | \u002b0 \u00b1 " in text


def test_hostile_names_are_escaped_everywhere(tmp_path: Path):
    found = results((HOSTILE, "y", "z"))
    text = markdown(found)
    assert "\x1b" not in text and "<script>" not in text.replace("\\<script\\>", "")
    table = text.partition("## Ladder")[2].strip().split("\n\n")[0].splitlines()
    assert {line.replace("\\|", "").count("|") for line in table} == {10}, "no row has more cells than the head"
    rows = list(csv.reader(io.StringIO(comma_separated(found))))
    assert len({len(row) for row in rows}) == 1 and len(rows) == 7 and HOSTILE in {row[0] for row in rows}
    out = io.StringIO()
    show_standings(found, Console(file=out, width=120, markup=False, highlight=False))
    assert "\x1b" not in out.getvalue()
    write_standings(found, tmp_path)
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"results.csv", "results.md", "ladder.png"}


def test_cycles_are_told_in_sentences():
    names = ("paper", "rock", "scissors")
    games = []
    for one, other in ((0, 1), (1, 2), (2, 0)):
        for a, d, winner in ((one, other, 0), (other, one, 1)):
            games.append(GameResult(f"{a}-{d}", (names[a], names[d]), "w", 0, winner, "won", (1, 1), (0, 0)))
    lines = cycle_lines(standings(games, ("attacker", "defender")))
    assert lines[0] == "1 of 1 triads of players are intransitive (100%)."
    assert lines[1] == "paper beats rock, rock beats scissors, scissors beats paper."
    assert lines[2] == "Maximal lottery: paper 33%, rock 33%, scissors 33%."
