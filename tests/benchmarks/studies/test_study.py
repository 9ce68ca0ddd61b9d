"""The study, in very small: every arm runs, differences are paired by seed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.players.player_card import PlayerCard
from sparring.benchmarks.studies import study, tables
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.selfplay.config.config import LearnerConfig, SFTConfig, TrainConfig
from sparring.selfplay.config.yaml_io import load


def test_every_arm_runs_and_is_compared_with_every_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tokenizer = tiny_tokenizer("chatml")
    folder = tmp_path / "model"
    tiny_model(vocab=len(tokenizer), length=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    PlayerCard(TABOO_BRIEF, 6, True).save(folder)
    small = TrainConfig(
        rounds=1,
        games_per_round=4,
        group_size=2,
        game_options={"max_turns": "2"},
        max_new_tokens=6,
        sft=SFTConfig(steps=2, minibatch=4, games=6),
        learner=LearnerConfig(minibatch=8),
    )
    monkeypatch.setattr(study, "preset", lambda name, model: replace(small, model=model))
    some = {
        name: {**study.ARMS[name], "learner": replace(study.ARMS[name]["learner"], minibatch=4)} for name in ("published", "detached-kl")
    }
    monkeypatch.setattr(study, "ARMS", {**study.ARMS, **some})
    asked: list[tuple[str, int]] = []

    def questions(model, number: int, seed: int):
        asked.append((model.name, seed))
        return {"tasks": {"task": {"score": number / 1000 + ("sft" not in model.name) / 4}}}

    monkeypatch.setattr(study.everyday, "evaluate", questions)
    config = study.StudyConfig(out=tmp_path / "runs", seeds=2, rounds=1, model=str(folder), games=2, result=tmp_path / "result.json")
    study.main(config)
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result["seeds"]) == {"0", "1"}
    row = result["table"]["win/initial/defender/rl"]
    assert set(row) == {*config.arms, "before"}
    after = {arm: [result["seeds"][seed]["arms"][arm]["win/initial/defender/rl"]["after"] for seed in "01"] for arm in config.arms}
    beyond = [a - b for a, b in zip(after["group"], after["expert"], strict=True)]
    assert row["group"]["beyond expert"]["mean"] == pytest.approx(sum(beyond) / 2)
    assert row["group"]["beyond expert"]["n"] == 2
    assert result["table"]["everyday/task"]["group"]["gain"]["mean"] == 0.25
    made = json.loads((study.run_of(config, "spag", 1) / "provenance.json").read_text())
    assert result["seeds"]["1"]["provenance"]["spag"]["commit"] == made["commit"]
    assert str(tmp_path) not in json.dumps(result["seeds"])
    assert len(asked) == 2 * 6 and len({seed for _, seed in asked}) == 2, "every model once, other questions for each seed"
    shared = (study.run_of(config, "spag", 1) / "evaluation" / "round-000.json").read_bytes()
    assert shared == (study.sft_run(config, 1) / "evaluation" / "round-000.json").read_bytes()
    alone = study.run_of(replace(config, out=tmp_path / "alone"), "spag", 1)
    made = load(study.run_of(config, "spag", 1) / "config.yaml", TrainConfig)
    study.carry_out(replace(made, out=alone))
    assert (alone / "evaluation" / "round-000.json").read_bytes() == shared, "measured by the arm itself, the first model looks the same"
    mending = replace(config, arms=("published", "detached-kl"), seeds=1, result=None)
    study.main(mending)
    mended = load(study.run_of(mending, "detached-kl", 0) / "config.yaml", TrainConfig)
    assert (mended.method, mended.method_options) == (
        "spag",
        {"drop_reasons": "turn_limit,foul,silent,overlong", "corrections": "detached-kl"},
    )
    elsewhere = replace(config, out=tmp_path / "elsewhere")
    study.main(elsewhere)
    assert not elsewhere.out.exists(), "seeds in the result file are not run again"
    assert json.loads((tmp_path / "result.json").read_text()) == result
    with pytest.raises(ValueError, match="other settings"):
        study.main(replace(config, games=3))


def test_runs_wait_for_what_they_start_from():
    found = study.tasks(study.StudyConfig(arms=("group", "spag", "expert")), [4])
    assert found == {
        (4, "sft"): set(),
        (4, "group"): {(4, "sft")},
        (4, "spag"): {(4, "sft")},
        (4, "expert"): {(4, "group")},
    }


def test_arms_matched_to_group_need_it():
    with pytest.raises(ValueError, match="group first"):
        study.StudyConfig(arms=("expert",))
    with pytest.raises(ValueError, match="expert and winning-expert train on as many tokens as group"):
        study.StudyConfig(arms=("published", "expert"))


def test_tables_show_means_and_half_widths():
    name = "win/initial/defender/rl"
    spag = {"after": {"low": 0.25, "mean": 0.5, "high": 0.75}, "gain": {"low": 0.125, "mean": 0.375, "high": 0.625}}
    group = {"after": {"low": None, "mean": 1.0, "high": None}, "beyond shuffled": {"low": -0.0005, "mean": -0.0004, "high": -0.0003}}
    group["gain"] = {"low": None, "mean": -0.875, "high": None}
    shuffled = {"after": {"low": 0.1, "mean": 0.2, "high": 0.3}, "gain": {"low": 0.0, "mean": 0.075, "high": 0.15}}
    table = {name: {"before": {"mean": 0.125}, "group": group, "spag": spag, "shuffled": shuffled}, "foul/x": {"before": {"mean": 0.0}}}
    values, beyond = tables.tables({"table": table})
    assert values.splitlines() == [
        "|  | before | group-relative | SPAG | shuffled reward |",
        "| --- | --- | --- | --- | --- |",
        "| games won as defender, words met in self-play | 0.125 | 1.000 | 0.500 ± 0.250 | 0.200 ± 0.100 |",
    ]
    assert beyond.splitlines() == [
        "| group-relative beyond | shuffled reward |",
        "| --- | --- |",
        "| games won as defender, words met in self-play | 0.000 ± 0.000 |",
    ]
    settings = {"game": "G", "rounds": 1, "games": 2, "questions": 3, "sft_mix_weight": 0.1}
    page = tables.page({"table": table, "seeds": {"0": {}}, "settings": settings})
    assert f"| {name} | -0.875 | 0.375 ± 0.250 | 0.075 ± 0.075 |" in page
    assert "foul/" not in page.split("##", 1)[1]
