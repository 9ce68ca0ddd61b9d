"""The page and the summary: what models wrote is text there, never markup."""

import gzip
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Match, play_all
from sparring.envs.core import Task
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.report.report import endings_table, won_by_round, write_report
from sparring.selfplay.storage.episodes import write_episodes
from sparring.selfplay.storage.summary import commands, next_steps, notes

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} lemon"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def entry(round_number: int, wins: int) -> dict:
    return {
        "round": round_number, "opponent": "initial", "role": "defender", "words": "all", "games": 100, "wins": wins,
        "losses": 100 - wins, "ties": 0, "void": 0, "win_rate": wins / 100, "low": wins / 100 - 0.1, "high": wins / 100 + 0.1,
        "reasons": {"declared_right": wins}, "truth": None, "mean_turns": 2.0,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "a <b>run"
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    game = AdversarialTaboo()
    agent = FunctionAgent(lambda observation, rng: HOSTILE)
    write_episodes(
        folder / "rounds" / "001" / "games.jsonl.gz",
        play_all([Match("m", game, Task("m", "lemon", "lemon", 0), dict.fromkeys(game.roles, agent), 0)]),
    )
    record = {
        "round": 1, "games": 1, "void": 0, "attacker_wins": 0, "defender_wins": 1, "ties": 0, "reasons": {"foul": 1}, "truth": 0.9,
        "unparsed": 0.0156, "mean_turns": 1.0, "distinct_utterances": 2, "distinct_share": 0.4, "kl": 0.1, "entropy": 2.0,
    }  # fmt: skip
    data = {
        "schema": 3,
        "run": {
            "model": "/else/m", "game": "AdversarialTaboo", "method": "group", "preset": "quick", "seed": 0,
            "rounds": 1, "games_per_round": 1, "sft_steps": 0, "word_counts": {"sft": 1},
        },
        "win_rates": [entry(0, 50), entry(1, 70)],
        "rounds": [record],
        "evaluations": {},
        "control": None,
        "notes": ["a note"],
        "next_steps": ["sparring games RUN"],
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(data))
    return folder


def test_hostile_text_is_shown_and_never_run(run: Path):
    page = write_report(run).read_text()
    tags = Tags()
    tags.feed(page)
    assert not {"script", "img", "b", "iframe"} & tags.seen
    assert "<script>alert(1)</script>" in tags.text
    assert "{{ 7*7 }}" in tags.text
    assert "default-src 'none'" in page


def test_the_page_shows_strength_rounds_and_games(run: Path):
    tags = Tags()
    tags.feed(write_report(run).read_text())
    for expected in (
        "0.700",
        "foul 100%",
        "declared_right",
        "Secret word: lemon",
        "90%",
        "1.6%",
        "2 (40%)",
        f"sparring games '{run}'",
        "a note",
        "m learns",
    ):
        assert expected in tags.text
    assert "svg" in tags.seen
    assert "/else" not in tags.text and "control" not in tags.text, "there was none"
    assert "by playing against itself" in tags.text


def changed(folder: Path, *, run: dict | None = None, **about) -> str:
    """The text of the page of a run whose summary says something else."""
    data = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**data, **about, "run": {**data["run"], **(run or {})}}))
    tags = Tags()
    tags.feed(write_report(folder).read_text())
    return tags.text


def test_a_line_of_strength_is_drawn_where_rounds_in_between_were_measured():
    entries = [entry(number, wins) for number, wins in ((0, 50), (4, 60), (8, 70))]
    assert won_by_round({"win_rates": entries[::2]}) == []
    assert won_by_round({"win_rates": [*entries, {**entry(2, 1), "opponent": "scripted"}]}) == [
        {"round": number, "defender": rate} for number, rate in ((0, 0.5), (4, 0.6), (8, 0.7))
    ]


def test_how_measured_games_ended_is_told_by_role():
    first = {**entry(0, 60), "reasons": {"declared_right": 60, "uttered": 40}}
    last = {**entry(2, 71), "reasons": {"declared_right": 71, "uttered": 28, "foul": 1}, "truth": 0.9}
    place = {"opponent": "initial", "role": "defender", "control": None}
    assert endings_table({"win_rates": [first, {**first, "words": "heldout"}, last], "control": None}) == [
        {**place, "what": "declared_right", "before": 0.6, "after": 0.71},
        {**place, "what": "foul", "before": 0.0, "after": 0.01},
        {**place, "what": "uttered", "before": 0.4, "after": 0.28},
        {**place, "what": "true hints", "before": None, "after": 0.9},
    ]


def test_a_control_is_a_column(run: Path):
    text = changed(run, control={"arm": "expert", "win_rates": [entry(1, 60)]})
    assert "The control is the same model" in text and "0.600" in text


def test_a_fixed_opponent_is_named(run: Path):
    text = changed(run, run={"role": "defender", "opponent": "/home/somebody/run@3"})
    assert "as defender against run@3" in text and "itself" not in text


def test_a_game_without_a_secret_names_none(run: Path):
    game = AdversarialTaboo()
    agent = FunctionAgent(lambda observation, rng: "Hm.")
    episodes = play_all([Match("m", game, Task("m", "lemon", "lemon", 0), dict.fromkeys(game.roles, agent), 0)])
    path = run / "rounds" / "001" / "games.jsonl.gz"
    write_episodes(path, episodes)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"lemon"', b'""')))
    assert "Secret word" not in changed(run)


def test_a_round_whose_truth_is_not_known_says_so(run: Path):
    data = json.loads((run / "summary.json").read_text())
    data["rounds"][0] |= {"truth": None, "unparsed": None}
    (run / "summary.json").write_text(json.dumps(data))
    page = write_report(run).read_text()
    assert "not known" in page
    assert "1.6%" not in page


def test_halves_of_characters_and_line_breaks_are_shown_and_harmless(run: Path):
    game = AdversarialTaboo()
    agent = FunctionAgent(lambda observation, rng: "Red?\n \u2013 the attacker wins\x1b[2J\ud800 lemon")
    match = Match("m", game, Task("m", "lemon", "lemon", 0), dict.fromkeys(game.roles, agent), 0)
    path = run / "rounds" / "001" / "games.jsonl.gz"
    write_episodes(path, play_all([match]))
    games = gzip.decompress(path.read_bytes()).replace(b'"secret": "lemon"', b'"secret": "le\\ud800mon"')
    path.write_bytes(gzip.compress(games.replace(b'"role": "attacker"', b'"role": "end\\n\\ud800"')))
    page = write_report(run).read_text(encoding="utf-8")
    assert "Secret word: le\ufffdmon" in page and '<span class="who">end\n\ufffd:</span>' in page
    assert '<p class="say">' in page and "say end" not in page, "a role is no class of its own making"
    assert "the attacker wins\ufffd[2J\ufffd <mark>lemon</mark>" in page
    assert "padding-left: 2rem; text-indent: -2rem" in page, "further lines of an utterance stand to the right"


def test_equal_runs_give_equal_pages(run: Path, tmp_path: Path):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_a_folder_without_a_summary_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"no summary\.json: the run has not ended"):
        write_report(tmp_path)


def test_another_schema_is_refused(run: Path):
    data = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**data, "schema": 7}))
    with pytest.raises(ValueError, match="schema 7"):
        write_report(run)
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("folder", "expected"), [("runs/x", "sparring games runs/x"), ("a b", "sparring games 'a b'"), ("-rf", "sparring games ./-rf")]
)
def test_the_commands_after_a_run_name_it_as_a_shell_takes_it(folder: str, expected: str):
    assert commands({"next_steps": ["sparring games RUN"]}, Path(folder)) == [expected]


def test_a_run_that_measured_no_reasoning_says_so_and_how_to():
    config = TrainConfig(rounds=1)
    assert "no reasoning was measured" in notes([], reasoning=False)[0] and notes([]) == []
    assert "sparring bench RUN@0 RUN@latest" in next_steps(config, reasoning=False)
    assert not any("bench" in step for step in next_steps(config))
