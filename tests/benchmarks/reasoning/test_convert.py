"""Public files to tasks: small made-up files of every public format, and what is wrong with files that are none."""

import json
from pathlib import Path

import pytest

from sparring.benchmarks.reasoning import convert as module
from sparring.benchmarks.reasoning.convert import convert
from sparring.benchmarks.reasoning.data_files import checked_file, read_manifest, read_questions

ARC = "Please choose the correct answer to the question: What is wet?\n\nAnswer1: sand Answer2: rain Answer3: fire\n\n"
ARC += "Answer format: answer1/answer2/answer3"
FILL = "Please choose the correct answer to fill in the blank to complete the given sentence: Ann told Bea that _ had won."
FILL += "\n\nOption1: Ann Option2: Bea Answer format: option1/option2"
SOLVE = "Please choose the correct solution to the question: open a jar\n\nSolution1: turn the lid\n\nSolution2: sing\n\n"
SOLVE += "Answer format: solution1/solution2"


def fill(folder: Path) -> Path:
    def put(name: str, text: str) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    for name, text, answer in (("ARC-Easy", ARC, "answer2"), ("winogrande", FILL, "option2"), ("piqa", SOLVE, "solution1")):
        put(f"LLM-Adapters/dataset/{name}/test.json", json.dumps([{"instruction": text, "answer": answer}]))
    gsm = {"question": "Two and 1,000 more?", "answer": "2 + 1000 = 1002\n#### 1,002"}
    put("grade-school-math/grade_school_math/data/test.jsonl", json.dumps(gsm) + "\n")
    logic = {"answer": 1, "text": "All a are b.", "question": "So?", "options": ["w", "x", "y", "z"]}
    put("LogiQA2.0/logiqa/DATA/LOGIQA/test.txt", json.dumps(logic) + "\n")
    talk = {"answers": "C", "options": ["a", "b", "c", "d"], "article": "f : hi", "id": "dev_1"}
    put("MuTual/data/mutual/dev/dev_1.txt", json.dumps(talk))
    put("mmlu/test/abstract_algebra_test.csv", '"What, now?",1,2,3,4,D\n')
    put("mmlu/dev/abstract_algebra_dev.csv", "One?,1,2,3,4,A\n")
    yes = {"canary": "c", "examples": [{"input": "not True is", "target": "False"}, {"input": "True is", "target": "True"}]}
    put("BIG-Bench-Hard/bbh/boolean_expressions.json", json.dumps(yes))
    free = {"canary": "c", "examples": [{"input": f"Sort: {i}", "target": f"word{i}"} for i in range(9)]}
    put("BIG-Bench-Hard/bbh/word_sorting.json", json.dumps(free))
    letters = {"canary": "c", "examples": [{"input": "Which?\nOptions:\n(A) this\n(B) that", "target": "(B)"}]}
    put("BIG-Bench-Hard/bbh/snarks.json", json.dumps(letters))
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public files have one question each."""
    monkeypatch.setattr(module, "SOURCES", {task: source._replace(questions=1) for task, source in module.SOURCES.items()})


def test_every_public_format_is_read(tmp_path: Path, small: None):
    tasks, left_out = convert(fill(tmp_path / "source"), tmp_path / "data")
    asked = {task: read_questions(checked_file(tmp_path / "data", task), task) for task in tasks if task != "gsm8k"}
    one = {task: (q[0].context, q[0].options, q[0].options[q[0].right]) for task, q in asked.items()}
    assert one["arc_easy"] == ("Question: What is wet?\nAnswer:", ("sand", "rain", "fire"), "rain")
    assert one["winogrande"] == ("Ann told Bea that", ("Ann had won.", "Bea had won."), "Bea had won.")
    assert one["piqa"] == ("Question: open a jar\nAnswer:", ("turn the lid", "sing"), "turn the lid")
    assert one["logiqa2"][0] == "Passage: All a are b.\nQuestion: So?\nChoices:\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    assert one["logiqa2"][2] == "x" and one["mutual"] == ("f : hi", ("a", "b", "c", "d"), "c")
    assert one["mmlu"][0] == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "One?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A\n\nWhat, now?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )
    assert one["mmlu"][1:] == (("A", "B", "C", "D"), "D")
    assert one["bbh_boolean_expressions"] == ("Q: not True is\nA:", ("False", "True"), "False")
    assert one["bbh_snarks"] == ("Q: Which?\nOptions:\n(A) this\n(B) that\nA:", ("(A)", "(B)"), "(B)")
    assert json.loads((tmp_path / "data" / "gsm8k.jsonl").read_text())["answer"] == "1002"
    assert left_out == {"bbh_word_sorting": "its answers are written freely, not chosen"}
    assert {task: entry["questions"] for task, entry in tasks.items() if entry["questions"] != 1} == {"bbh_boolean_expressions": 2}


def test_files_that_are_not_whole_or_no_such_files_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="none of the known files"):
        convert(tmp_path, tmp_path / "data")
    source = fill(tmp_path / "source")
    with pytest.raises(ValueError, match=r"test\.json holds 1 questions, expected 2376"):
        convert(source, tmp_path / "data")
    (source / "LLM-Adapters/dataset/ARC-Easy/test.json").write_text('[{"instruction": "What?", "answer": "answer1"}]')
    with pytest.raises(ValueError, match="is not the public file"):
        convert(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_missing_and_altered_data_name_file_count_and_checksum(tmp_path: Path, small: None):
    tasks, _ = convert(fill(tmp_path / "source"), tmp_path / "data")
    assert read_manifest(tmp_path / "data") == tasks
    path = tmp_path / "data" / "piqa.jsonl"
    expected = f"expected 1 questions with checksum {tasks['piqa']['sha256']}"
    path.write_text(path.read_text().replace("sing", "sang"))
    with pytest.raises(ValueError, match=rf"piqa\.jsonl was altered: {expected}"):
        checked_file(tmp_path / "data", "piqa")
    path.unlink()
    with pytest.raises(ValueError, match=rf"piqa\.jsonl is missing: {expected}"):
        checked_file(tmp_path / "data", "piqa")
    with pytest.raises(ValueError, match=r"has no task 'arc_hard' \(it has arc_easy, .*needs .*arc_hard\.jsonl"):
        checked_file(tmp_path / "data", "arc_hard")
    (tmp_path / "data" / "manifest.json").write_text('{"piqa": {"file": "../piqa.jsonl", "questions": 1, "sha256": "0"}}')
    with pytest.raises(ValueError, match="is damaged"):
        read_manifest(tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2 is no JSON object"),
        ('{"question": "q", "options": ["a", 1], "answer": 0}', 'line 2 needs "question", a text, and "options"'),
        ('{"question": "q", "options": ["a", "b"], "answer": "a"}', "line 2 needs \"answer\".* it is 'a'"),
        ('{"question": "q", "options": ["a", "b"], "answer": 2}', "line 2: a question of mine needs"),
        ('{"question": "q", "options": ["a", ""], "answer": 0}', "line 2: a question of mine needs"),
    ],
)
def test_a_users_file_is_checked_line_by_line(tmp_path: Path, line: str, message: str):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "q", "options": ["a", "b"], "answer": 0}\n' + line)
    with pytest.raises(ValueError, match=message):
        read_questions(file, "mine")
