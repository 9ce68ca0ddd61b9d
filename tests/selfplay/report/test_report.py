"""The page and the summary: what models wrote is text there, never markup."""

import base64
import gzip
import hashlib
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
from sparring.selfplay.report.report import write_report
from sparring.selfplay.report.run_page import endings_table, league_chart, round_charts, win_rate_chart
from sparring.selfplay.storage.episodes import write_episodes
from sparring.selfplay.storage.game_files import Unreadable
from sparring.selfplay.storage.summary import commands, next_steps, notes

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} lemon"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.text = ""
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs), "scripts in attributes"

    def handle_data(self, data: str) -> None:
        if self.seen[-1:] == ["script"] and self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.text += data

    @property
    def games(self) -> dict:
        """The data of the page's browser: its index, and the talk of its games."""
        index, talk = (json.loads(gzip.decompress(base64.b64decode(script))) for script in self.scripts[:2])
        return {**index, "talk": talk}


def tags_of(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


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
            "model": "/else/m", "game": "AdversarialTaboo", "method": "group", "seed": 0,
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


def test_hostile_text_is_data_and_never_markup(run: Path):
    page = write_report(run).read_text()
    tags = tags_of(page)
    assert not {"img", "b", "iframe"} & set(tags.seen) and tags.seen.count("script") == 3
    assert "alert" not in page and "a &lt;b&gt;run" in page
    assert [text for _, text in tags.games["talk"][0]] == [HOSTILE]


def test_the_page_runs_its_own_script_alone_and_loads_nothing(run: Path):
    page = write_report(run).read_text()
    digest = base64.b64encode(hashlib.sha256(tags_of(page).scripts[-1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'" in page
    assert not any(word in page for word in ("http:", "https:", "src=", "@import", "url("))


def test_the_page_shows_strength_rounds_and_games(run: Path):
    tags = tags_of(write_report(run).read_text())
    for expected in ("0.700", "foul 100%", "declared_right", "90%", "1.6%", "2 (40%)", f"sparring games '{run}'", "a note", "m learns"):
        assert expected in tags.text
    assert tags.games["words"] == ["lemon"] and tags.games["files"] == ["round 1"]
    assert "svg" in tags.seen
    assert "/else" not in tags.text and "control" not in tags.text, "there was none"
    assert "by playing against itself" in tags.text


def changed(folder: Path, *, run: dict | None = None, **about) -> str:
    """The text of the page of a run whose summary says something else."""
    data = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**data, **about, "run": {**data["run"], **(run or {})}}))
    return tags_of(write_report(folder).read_text()).text


def test_strength_against_a_frozen_opponent_is_a_line_with_its_interval():
    entries = [entry(0, 50), {**entry(4, 70), "words": "heldout"}, {**entry(2, 1), "opponent": "scripted"}]
    assert win_rate_chart({"win_rates": entries}, "initial") is None, "one round is no line"
    chart = win_rate_chart({"win_rates": [*entries, entry(4, 70)]}, "initial")
    assert chart is not None
    assert "as defender, round 0: 50% (40% to 60%)" in chart and "as defender, round 4: 70% (60% to 80%)" in chart
    assert chart.count("<circle") == 2 and chart.count("<polygon") == 1
    assert "the model of round 0" in chart


def test_the_opponents_of_a_league_that_were_met_most_are_lines():
    rounds: list[dict] = [{"round": 1}]
    for number in (2, 3):
        rounds.append({"round": number, "league//runs/x@3/win_rate": 0.25 * number, "league//runs/x@3/games": 90})
        rounds[-1] |= {f"league/round {n}/{what}": value for n in range(9) for what, value in (("win_rate", 0.5), ("games", n))}
    chart = league_chart(rounds)
    assert chart is not None and "x@3, round 2: 50%" in chart and "x@3, round 3: 75%" in chart
    assert chart.count("<polyline") == 8 and "round 2, round 2" in chart and "round 1, round 2" not in chart
    assert league_chart(rounds[:1]) is None
    assert chart in round_charts(rounds, ["attacker", "defender"])


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
    games = tags_of(write_report(run).read_text(encoding="utf-8")).games
    assert games["words"] == ["le\ufffdmon"] and games["roles"][-1] == "end\ufffd\ufffd"
    assert games["talk"][0][0][1] == "Red?\n \u2013 the attacker wins\ufffd[2J\ufffd lemon"


def test_lines_that_cannot_be_read_are_named_and_the_others_shown(run: Path):
    path = run / "rounds" / "001" / "games.jsonl.gz"
    good = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(b"{}\n" + good + b"<img>\n"))
    unreadable = Unreadable()
    page = write_report(run, unreadable).read_text()
    assert unreadable.count == 2 and "line 1: not a game" in unreadable.messages[0] and "line 3" in unreadable.messages[1]
    assert "2 lines of game files could not be read and are left out" in page and "<img>" not in page
    assert len(tags_of(page).games["games"]) == 1


def test_alarms_are_a_table_and_no_notes(run: Path):
    alarm = {"round": 3, "step": None, "name": "ties", "text": "share of ties 0.7, above 0.6", "value": 0.7, "limit": 0.6}
    text = changed(run, alarms=[alarm], notes=["alarm in round 3: share of ties 0.7, above 0.6"])
    assert text.count("share of ties 0.7, above 0.6") == 1


def test_the_page_tells_settings_provenance_and_cost_without_folders(run: Path):
    (run / "config.yaml").write_text("model: /home/somebody/m\nlearner:\n  lr: 0.0003\n")
    (run / "provenance.json").write_text(
        json.dumps({"commit": "0123456789abcdef", "schema": 2, "versions": {"torch": "2.13.0"}, "settings": {"x": 1}})
    )
    (run / "timings.jsonl").write_text('{"round": 1, "play_seconds": 61.0, "learn_seconds": 3700.0, "sampled_tokens": 12345}\n')
    text = changed(run)
    for expected in ("learner.lr 0.0003", "model m", "versions.torch 2.13.0", "0123456789", "12,345", "1 min 1 s", "1 h 1 min"):
        assert expected in text
    assert "somebody" not in text and "settings.x" not in text


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
    assert "sparring bench RUN@latest --against RUN@0" in next_steps(config, reasoning=False)
    assert not any("bench" in step for step in next_steps(config))
