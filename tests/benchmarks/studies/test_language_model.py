"""The study of a language model, in very small: every arm runs once, files of results are kept, differences are paired by seed."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_model, tiny_tokenizer

from sparring.benchmarks.studies import language_model as study
from sparring.selfplay.storage.folder import to_json


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = tiny_tokenizer("chatml")
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model(vocab=len(tokenizer), length=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.full
def test_every_arm_runs_once_and_leaves_its_result(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = study.LanguageModelStudy(
        model=model,
        out=tmp_path / "runs",
        results=tmp_path / "results",
        seeds=1,
        rounds=1,
        games_per_round=8,
        games=1,
        gate=False,
        sft_steps=1,
    )
    small = study.settings_of

    def brief(config: study.LanguageModelStudy, arm: str, seed: int):
        made = small(config, arm, seed)
        return replace(made, max_new_tokens=4, game_options={"max_turns": "1"}, sft=replace(made.sft, minibatch=2, games=4))

    monkeypatch.setattr(study, "settings_of", brief)
    found = list(study.results(config))
    assert [result["arm"] for result in found] == ["start", "group", "shuffled", "expert"]
    groups = {name.rpartition("/")[2] for name in found[1]["measured"]}
    assert groups == {"sft", "rl", "heldout", "outside", "outside-heldout", "all"}
    assert {name.split("/")[1] for name in found[1]["measured"]} == {"initial"}, "scripted players do not know the words outside"
    assert [record["round"] for record in found[1]["rounds"] if record["round"]] == [1]
    assert str(tmp_path) not in to_json(found)
    monkeypatch.setattr(study, "run", lambda *_: pytest.fail("what has ended is not run again"))
    assert list(study.results(config)) == json.loads(to_json(found))
    with pytest.raises(ValueError, match="other settings"):
        list(study.results(replace(config, games=2)))


def result(arm: str, seed: int, before: float, after: float, score: float) -> dict[str, object]:
    measured = {"win/initial/defender/rl": {"before": before, "after": after}} if arm != "start" else {}
    return {"arm": arm, "seed": seed, "measured": measured, "reasoning": dict.fromkeys(study.TASKS, score)}


def test_differences_are_paired_by_seed():
    """Of self-play from the controls: .5 - .4 and .7 - .4, mean .2; .5 - .5 and .7 - .5, mean .1."""
    found = [
        result(arm, seed, 0.25, after[seed], 0.5 + after[seed] / 10)
        for arm, after in {"start": (0, 0), "group": (0.5, 0.7), "shuffled": (0.5, 0.5), "expert": (0.4, 0.4)}.items()
        for seed in (0, 1)
    ]
    rows = study.table(found)
    row = rows["win/initial/defender/rl"]
    assert row["before"]["mean"] == 0.25
    assert row["group"]["mean"] == pytest.approx(0.6)
    assert row["group beyond expert"]["mean"] == pytest.approx(0.2)
    assert row["group beyond shuffled"]["mean"] == pytest.approx(0.1)
    assert rows["reasoning/piqa"]["before"]["mean"] == 0.5
    assert rows["reasoning/piqa"]["group beyond expert"]["mean"] == pytest.approx(0.02)
    assert "| win/initial/defender/rl | 0.250 ± 0.000 |" in study.page(rows)


def test_a_result_is_committed_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def git(*command: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        return subprocess.run(["git", *identity, *command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    study.commit(tmp_path / "none.json", "no repository")
    assert "not committed" in "".join(capsys.readouterr())
    git("init", "-q")
    git("config", "user.name", "a")
    git("config", "user.email", "a@example.com")
    (tmp_path / "other.txt").write_text("staged by somebody")
    git("add", "other.txt")
    (tmp_path / "group-0.json").write_text("{}")
    study.commit(tmp_path / "group-0.json", "Study of tiny: group, seed 0")
    assert git("show", "--name-only", "--format=%s").split("\n\n") == ["Study of tiny: group, seed 0", "group-0.json\n"]
    assert "other.txt" in git("diff", "--cached", "--name-only")


def test_tasks_are_six_public_ones():
    assert len(study.TASKS) == 6 and sum(task.startswith("bbh_") for task in study.TASKS) == 4
