"""Suites that need extras: questions made by reasoning-gym, tasks run by lm-eval, and what is said without them."""

import importlib.util
import json
from pathlib import Path

import pytest
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.core import Reply
from sparring.agents.models.language_model import LanguageModel
from sparring.benchmarks.reasoning import choices, harness, procedural, table
from sparring.benchmarks.reasoning.answers import ModelAnswers
from sparring.benchmarks.reasoning.data_files import read_questions, write_tasks
from sparring.benchmarks.reasoning.suites import Asking, suite


def language_model(length: int = 512) -> LanguageModel:
    tokenizer = tiny_tokenizer("chatml")
    return LanguageModel(tiny_model(vocab=len(tokenizer), length=length), tokenizer, name="tiny")


@pytest.mark.parametrize(("spec", "extra"), [("procedural", "reasoning"), ("spag", "harness"), (".", "harness")])
def test_a_suite_without_its_extra_says_what_to_install(spec: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"needs the extra {extra}: pip install -e '\.\[{extra}\]'"):
        suite(spec, Asking())


def test_seeds_of_training_and_tests_never_meet():
    assert procedural.train_seed(5, 100) == 5
    for seed, items in ((procedural.TEST_SEEDS, 1), (procedural.TEST_SEEDS - 5, 6), (-1, 1)):
        with pytest.raises(ValueError, match="seeds for training"):
            procedural.train_seed(seed, items)


def test_questions_are_vetted(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("reasoning_gym", reason="needs the extra reasoning")
    assert len(procedural.TASKS) >= 20
    vetted = json.loads((Path(__file__).parents[3] / "benchmarks/results/procedural_vet.json").read_text())["tasks"]
    for task in procedural.TASKS:
        asked = procedural.questions(task, 8)
        assert all(asked.right(i, str(entry["answer"])) for i, entry in enumerate(asked.entries)), task
        assert not any(asked.right(i, answer) for i in range(8) for answer in (None, "", "xyzzy")), task
        beside, train = procedural.made(task, procedural.TEST_SEEDS + 1, 8), procedural.made(task, 0, 8)
        here = {*procedural.hashes(asked)}
        assert not here & {*procedural.hashes(train)}, task
        assert len(here & {*procedural.hashes(beside)}) == (7 if vetted[task]["shared_with_next_seed"] == 19 else 0), task
        facts = vetted[task]
        assert not facts["depends_on_process"] and facts["right_answer_counts"] == 1, task
        assert facts["best_junk"] <= 0.35 and facts["another_answer_counts"] <= 0.1, task


def test_half_right_answers_do_not_count(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("reasoning_gym", reason="needs the extra reasoning")
    asked = procedural.questions("calendar_arithmetic", 4)
    monkeypatch.setattr(asked.dataset, "score_answer", lambda answer, entry: {"full": 1.0, "half": 0.99}[answer])
    assert [asked.right(0, answer) for answer in ("full", "half", "unreadable")] == [True, False, False]


def test_procedural_answers_are_scored_beside_their_floor(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("reasoning_gym", reason="needs the extra reasoning")
    asked = procedural.questions("gcd", 6)
    monkeypatch.setattr(procedural, "say", lambda *_: [Reply(str(e["answer"]) if i else "?") for i, e in enumerate(asked.entries)])
    found = procedural.ask(language_model(), "gcd", 6)
    assert found.scores == (0.0, *[1.0] * 5)
    answers = [str(entry["answer"]) for entry in asked.entries]
    assert found.baselines["junk"] == max(answers.count("1"), answers.count("42")) / 6
    assert found.asked["metric"] == "full score of reasoning-gym" and found.asked["max_tokens"] == procedural.MAX_TOKENS


def test_replies_come_in_the_order_of_the_prompts():
    model = language_model()
    together = procedural.say(model, ["Is it red?", "What is a fruit?", "Begin."], 0)
    model.forget_caches()
    assert together[2].text == procedural.say(model, ["Begin."], 0)[0].text


def data_folder(folder: Path) -> Path:
    choice = [{"question": f"Q: Is {i} red?\nA:", "options": ["yes", "no, it is not"], "answer": i % 2} for i in range(6)]
    free = [{"question": f"Question: {i} and 1?\nAnswer:", "answer": str(i + 1)} for i in range(3)]
    folder.mkdir()
    tasks = {"piqa": choice, "bbh_a": choice[:2], "bbh_b": choice[2:4], "gsm8k": free}
    write_tasks(folder, tasks, {task: {} for task in tasks})
    return folder


def test_lm_eval_reads_our_files_and_scores_as_we_do(tmp_path: Path):
    pytest.importorskip("lm_eval", reason="needs the extra harness")
    data, model = data_folder(tmp_path / "data"), language_model()
    tasks, left_out = suite("spag", Asking(data)).ask(model, None)
    assert set(tasks) == {f"{task} ({kind})" for task in ("piqa", "bbh", "gsm8k") for kind in ("plain", "chat")}
    assert set(left_out) == {"mmlu", "mutual", "arc_easy", "arc_challenge", "logiqa2", "winogrande", "openbookqa"}
    asked = read_questions(data / "piqa.jsonl", "piqa")
    for kind in ("plain", "chat"):
        mine, theirs = choices.ask(model, asked, chat=kind == "chat"), tasks[f"piqa ({kind})"]
        assert theirs.scores == mine.scores and theirs.baselines == mine.baselines
        assert sum(theirs.log_likelihoods, ()) == pytest.approx(sum(mine.log_likelihoods, ()), abs=2e-3)
    assert len(tasks["bbh (chat)"].scores) == 4 and len(tasks["gsm8k (plain)"].scores) == 3
    one = ModelAnswers("m", tasks, {})
    means = [row["task"] for row in table.rows_of([one], one) if row["task"].startswith(table.MEAN)]
    assert means == ["geometric mean (plain)", "geometric mean (chat)"]
    again, _ = suite("spag", Asking(data, items=2, templates=("plain",))).ask(model, None)
    assert len(again["piqa"].scores) == len(set(again["piqa"].clusters)) == 2


def test_lm_eval_is_never_given_what_it_would_cut_off(tmp_path: Path):
    pytest.importorskip("lm_eval", reason="needs the extra harness")
    _, left_out = suite("spag", Asking(data_folder(tmp_path / "data"), templates=("plain",))).ask(language_model(64), None)
    assert "tokens, tiny reads 64" in left_out["gsm8k"]


def test_a_folder_of_lm_evals_tasks_is_a_suite(tmp_path: Path):
    pytest.importorskip("lm_eval", reason="needs the extra harness")
    data = data_folder(tmp_path / "data")
    (tmp_path / "tasks").mkdir()
    with pytest.raises(ValueError, match="holds no tasks of lm-eval"):
        suite(str(tmp_path / "tasks"), Asking())
    import yaml

    config = harness.task_config("mine", [data / "piqa.jsonl"], tmp_path / "cache")
    (tmp_path / "tasks" / "mine.yaml").write_text(yaml.safe_dump(config))
    tasks, _ = suite(str(tmp_path / "tasks"), Asking(templates=("plain",))).ask(language_model(), None)
    assert list(tasks) == ["mine"] and len(tasks["mine"].scores) == 6
