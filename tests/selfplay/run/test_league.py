"""A league in a run: who is met, who learns, records that resume, LoRA rounds on the learner's own weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import LEARNER, NO_EVALUATION, Interrupting, files, small_run
from tiny import save_tiny

from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.config.league import LeagueOptions, league_options
from sparring.selfplay.run.session import prepare
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.storage.episodes import read_episodes

LEAGUE = {"draw": "pfsp", "mirror": "0.25", "fixed": "silent"}


def league_run(tmp_path: Path, name: str = "run", **changes) -> TrainConfig:
    model = tmp_path / "model"
    if not model.exists():
        save_tiny(model)
    settings = {"rounds": 3, "games_per_round": 16, "group_size": 2, "evaluation": NO_EVALUATION, "league": LEAGUE}
    return small_run(str(model), tmp_path / name, **{**settings, **changes})


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_options_are_read_and_what_is_wrong_is_named():
    assert league_options({}) is None
    assert league_options({"fixed": "silent, random"}) == LeagueOptions("pfsp", 0.5, 1, ("silent", "random"))
    assert league_options({"draw": "recent", "mirror": "0", "every": "4"}) == LeagueOptions("recent", 0.0, 4)
    for options, message in (
        ({"drew": "pfsp"}, "league has no option 'drew'; did you mean 'draw'"),
        ({"draw": "pfps"}, "unknown 'pfps'; did you mean 'pfsp'"),
        ({"mirror": "2"}, "mirror is a share, between 0 and 1"),
        ({"mirror": "nan"}, "mirror is a share, between 0 and 1"),
        ({"every": "0"}, "every is a whole number of rounds, at least 1"),
        ({"every": "x"}, "every must be a number"),
    ):
        with pytest.raises(ValueError, match=message):
            league_options(options)


def test_a_run_meets_its_past_and_resumes_to_the_byte(tmp_path: Path):
    config = league_run(tmp_path)
    train(config)
    run = tmp_path / "run"
    met = [{name.split("/")[1] for name in record if name.startswith("league/")} for record in records(run)]
    assert met[0] <= {"silent"}, "round 1 has no past but the model that plays"
    assert met[2] <= {"silent", "round 0", "round 1"} and any("round" in name for name in met[1] | met[2])
    for record in records(run):
        games = sum(value for name, value in record.items() if name.startswith("league/") and name.endswith("/games"))
        assert 0 < games <= 16 and games % 2 == 0, "a group of games has one opponent"
    for game in read_episodes(run / "rounds" / "003" / "games.jsonl.gz"):
        assert len({player["agent"] for player in game.players.values()}) <= 2

    other = replace(config, out=tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):
        train(other, progress=Interrupting("round 3/3: play"))
    resume(tmp_path / "other")
    assert files(tmp_path / "other") == files(run)


def test_only_the_learning_role_is_trained(tmp_path: Path):
    config = league_run(tmp_path, rounds=1, league={"mirror": "0", "fixed": "silent"})
    train(config)
    (record,) = records(tmp_path / "run")
    assert record["league/silent/games"] == 16
    games = list(read_episodes(tmp_path / "run" / "rounds" / "001" / "games.jsonl.gz"))
    learning = [role for game in games for role, player in game.players.items() if player["agent"] != "silent"]
    assert len(learning) == 16 and set(learning) == {"attacker", "defender"}
    assert record["trained_tokens"] <= sum(len(game.utterances) for game in games) * config.max_new_tokens


def test_rounds_of_lora_are_met_as_adapters_on_the_same_weights(tmp_path: Path):
    pytest.importorskip("peft")
    changes = {"learner": replace(LEARNER, lora_rank=2, lr=0.01), "league": {"draw": "uniform", "mirror": "0"}}
    config = league_run(tmp_path, **changes)
    train(config)
    run = tmp_path / "run"
    met = {name.split("/")[1] for record in records(run) for name in record if name.startswith("league/")}
    assert met == {"round 0", "round 1"}
    assert all(record["grad_norm"] > 0 for record in records(run)[1:]), "loading an adapter does not freeze the one that learns"
    with pytest.raises(KeyboardInterrupt):
        train(replace(config, out=tmp_path / "other"), progress=Interrupting("round 3/3: learn"))
    resume(tmp_path / "other")
    assert files(tmp_path / "other") == files(run)


def test_what_cannot_play_is_refused_before_a_run_begins(tmp_path: Path):
    for changes, message in (
        ({"league": {"fixed": "human"}}, "needs an opponent that plays by itself"),
        ({"league": {"fixed": "nobody"}}, "there is no opponent to play against: unknown agent 'nobody'"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(league_run(tmp_path, **changes))
    with pytest.raises(ValueError, match="a league draws opponents for both roles"):
        league_run(tmp_path, role="defender", opponent="silent")
    with pytest.raises(ValueError, match="league has no option"):
        league_run(tmp_path, league={"pool": "3"})


def test_a_rollback_forgets_the_records_and_players_of_what_came_after(tmp_path: Path):
    from sparring.selfplay.league.matchmaking import Record
    from sparring.selfplay.run.league import League

    session = prepare(league_run(tmp_path))
    league = League(session, tmp_path, LeagueOptions(), {"round 1": Record(1.0, 2.0)}, {("round 1", "attacker"): None})
    assert league.state == {"round 1": [1.0, 2.0]}
    league.restore({"round 0": [0.5, 1.0]})
    assert league.records == {"round 0": Record(0.5, 1.0)} and league.players == {}
