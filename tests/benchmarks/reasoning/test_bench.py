"""From models to the table: rows, files, what is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.models.language_model import LanguageModel
from sparring.benchmarks.reasoning import table
from sparring.benchmarks.reasoning.answers import ModelAnswers, TaskAnswers, circumstances, require_alike
from sparring.benchmarks.reasoning.choices import ask, blind_answers
from sparring.benchmarks.reasoning.questions import Question
from sparring.benchmarks.reasoning.scorer import log_likelihoods
from sparring.benchmarks.reasoning.suites import Asking, suite
from sparring.benchmarks.reasoning.untrained import untrained

QUESTIONS = [
    Question("t", "What is red?", ("an apple", "a banana tree"), 0, "d1"),
    Question("t", "What is long?", ("It is a pear", "It", "no"), 2, "d1"),
    Question("t", "Who is it?", ("the one", "the two"), 0, "d2"),
]


def language_model(template: str | None = "chatml", length: int = 512, seed: int = 0) -> LanguageModel:
    tokenizer = tiny_tokenizer(template)
    return LanguageModel(tiny_model(vocab=len(tokenizer), length=length, seed=seed), tokenizer, name=f"tiny{seed}")


def answers(model: str, *scores: float, task: str = "t", **asked: object) -> ModelAnswers:
    one = TaskAnswers(scores, tuple(f"q{i}" for i in range(len(scores))), {"questions": "abc", **asked}, {"chance": 0.25})
    return ModelAnswers(model, {task: one}, {"dtype": "float32", "versions": {}})


def test_an_answer_is_right_where_the_likeliest_option_is():
    model = language_model()
    found = ask(model, QUESTIONS, chat=False)
    for question, row, score in zip(QUESTIONS, found.log_likelihoods, found.scores, strict=True):
        assert len(row) == len(question.options)
        assert score == (max(range(len(row)), key=row.__getitem__) == question.right)
    assert found.clusters == ("d1", "d1", "d2")
    assert found.asked["template"] is None and ask(model, QUESTIONS, chat=True).asked["template"] == model.tokenizer.chat_template


def test_blind_answers_by_hand():
    found = blind_answers(QUESTIONS)
    # Shortest: right, no ("It" and "no" share), half (equal lengths); longest: no, no, half.
    assert found == pytest.approx({"chance": (1 / 2 + 1 / 3 + 1 / 2) / 3, "majority": 2 / 3, "shortest": 2 / 3, "longest": 0.5 / 3})


def test_an_untrained_model_has_the_shape_and_none_of_the_weights():
    model = language_model()
    blank = untrained(model)
    one, other = (dict(m.model.named_parameters()) for m in (model, blank))
    assert {name: p.shape for name, p in one.items()} == {name: p.shape for name, p in other.items()}
    assert not any(one[name].equal(other[name]) for name in one if one[name].ndim > 1)
    again = untrained(model)
    assert all(p.equal(dict(again.model.named_parameters())[name]) for name, p in other.items())


def test_rows_by_hand():
    before, after, control = answers("before", 0, 0, 1, 1), answers("after", 1, 1, 1, 0), answers("shuffled", 1, 0, 1, 0)
    row, mean, own, _ = table.rows_of([after], before, [control], answers("untrained", 0, 0, 0, 1))
    assert (row["model"], row["before"], row["after"], row["difference"], row["n"]) == ("after", 0.5, 0.75, 0.25, 4)
    assert (row["chance"], row["untrained"], row["p"], row["p_holm"]) == (0.25, 0.25, 1.0, 1.0)
    assert (row["best_control"], row["beyond"]) == ("shuffled", 0.25)
    assert (mean["task"], mean["difference"], mean["beyond"]) == ("geometric mean", 0.25, 0.25)
    assert own["model"] == "shuffled" and "beyond" not in own


def test_each_template_setting_has_a_geometric_mean_of_its_own():
    names = ("a (plain)", "b (plain)", "a (chat)", "b (chat)")

    def both(model: str, *scores: float) -> ModelAnswers:
        return ModelAnswers(model, {name: answers(model, s, s).tasks["t"] for name, s in zip(names, scores, strict=True)}, {})

    rows = table.rows_of([both("x", 1, 0.25, 0.5, 0.5)], both("y", 1, 1, 1, 1))
    assert [(row["task"], row["after"]) for row in rows[4:]] == [("geometric mean (plain)", 0.5), ("geometric mean (chat)", 0.5)]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (answers("b", 1, 0, task="u"), "not asked the same tasks: t, u"),
        (answers("b", 1, 0, questions="xyz"), "not asked alike, questions is 'abc' and 'xyz'"),
        (answers("b", 1, 0, template="chatml"), "not asked alike, template is None and 'chatml'"),
        (answers("b", 1), "same 2 questions"),
        (replace(answers("b", 1, 0), run={"dtype": "bfloat16", "versions": {}}), "another dtype: float32 and bfloat16"),
    ],
)
def test_what_was_not_asked_alike_is_not_compared(other: ModelAnswers, message: str):
    with pytest.raises(ValueError, match=message):
        require_alike([answers("a", 1, 0), other])


def test_answers_are_read_back_and_damaged_ones_are_refused(tmp_path: Path):
    one = answers("a", 1, 0.5, shots=0)
    one.write(tmp_path / "a.json")
    assert ModelAnswers.read(tmp_path / "a.json") == one
    for text in ("{}", "[1]", "{", (tmp_path / "a.json").read_text().replace("0.5", "7")):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(ValueError, match=r"b\.json holds no answers"):
            ModelAnswers.read(tmp_path / "b.json")


def test_files_hold_the_table_and_hostile_names_stay_text(tmp_path: Path):
    before, after = answers("before", 0, 0, 1, 1), answers("=1+1|<b>x$^", 1, 1, 1, 0)
    rows = table.rows_of([after], before)
    seeds = table.seed_rows([after, answers("c", 1, 0, 0, 0)], [before])
    table.write(tmp_path, rows, seeds, {"against": "before", "left_out": {"long": "too long"}})
    assert json.loads((tmp_path / "table.json").read_text())["rows"] == rows
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert lines[0]["model"] == " =1+1|<b>x$^" and float(lines[0]["difference"]) == 0.25
    text = (tmp_path / "table.md").read_text()
    assert "## =1+1\\|\\<b\\>x$^ against before" in text and "+0.250 [" in text and "Left out: long: too long" in text
    assert "Over 2 training seeds" in text
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")


def test_a_task_too_long_for_the_context_is_left_out_and_said(tmp_path: Path):
    lines = [{"question": "What is it? " * 20, "options": ["a", "b"], "answer": 0}]
    lines.append({"question": "What?", "options": ["a", "b"], "answer": 0})
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    asked = suite(str(tmp_path / "mine.jsonl"), Asking())
    tasks, left_out = asked.ask(language_model(length=64), None)
    assert not tasks and "tokens, tiny0 reads 64" in left_out["mine (plain)"]
    tasks, left_out = asked.ask(language_model(None), None)
    assert list(tasks) == ["mine (plain)"] and not left_out, "a model without a chat template is asked plainly"


def test_what_scores_depend_on_is_recorded():
    run = circumstances(language_model())
    assert run["dtype"] == "float32" and set(run["versions"]) >= {"torch", "transformers"}
    asked = ask(language_model(), QUESTIONS, chat=False).asked
    assert asked["prompt"] == "What is red?" and {"template", "shots", "max_tokens", "metric", "questions"} <= set(asked)


def test_the_everyday_suite_gives_the_scores_of_the_everyday_test():
    from sparring.benchmarks.reasoning import everyday

    model = language_model()
    tasks, _ = suite("everyday", Asking(items=4)).ask(model, None)
    result = everyday.evaluate(model, 4)
    assert list(tasks)[: len(result["tasks"])] == list(result["tasks"])
    assert [s for one in tasks.values() for s in one.scores][: len(result["scores"])] == result["scores"]
    assert sum(task.startswith("harder/") for task in tasks) == 10
    assert log_likelihoods(model, []).shape == (0,)
