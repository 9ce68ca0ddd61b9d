"""Questions that stand in the training material, found word for word."""

import gzip
import json
from pathlib import Path

import pytest

from sparring.benchmarks.reasoning.contamination import material_of, overlaps

ASKED = "Question: Which of these is a fruit that grows on tall trees in the south?"


def test_a_sequence_of_words_is_found_whatever_its_case_and_marks():
    tasks = {"t": [ASKED, "Is it red, or is it long and yellow and sweet?", "Short one?"]}
    material = ["I wonder: WHICH of these, is a fruit that... grows on walls", "It is a short one", "it is long and yellow"]
    found = overlaps(tasks, material)
    assert found["t"] == (3, (0, 2), "which of these is a fruit that grows")
    assert overlaps(tasks, ["which of these is a fruit that"])["t"].seen == (), "seven words are not eight"
    assert overlaps(tasks, [])["t"] == (3, (), "")


def test_what_a_task_asks_again_and_again_is_no_evidence():
    tasks = {"t": [f"Please answer this question with yes or no, now: is {i} a prime number at all?" for i in range(50)]}
    assert overlaps(tasks, ["Please answer this question with yes or no, now"])["t"].seen == ()
    assert overlaps(tasks, ["yes or no now is 7 a prime number at all"])["t"].seen == (7,)


def test_material_is_read_from_files_of_every_kind(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [{"content": "one"}, {"content": ["two"]}]}) + "\nplain three\n")
    (tmp_path / "b.json").write_text(json.dumps([{"deep": {"text": "four"}}]))
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "five"}))
    texts = list(material_of([str(tmp_path / name) for name in ("a.jsonl", "b.json", "c.jsonl.gz")]))
    assert [text.strip() for text in texts] == ["one", "two", "plain three", "four", "five"]
    for name, content in (("d.json", b"{"), ("e.jsonl.gz", b"no gzip")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as training material"):
            list(material_of([str(tmp_path / name)]))
    with pytest.raises(ValueError, match="cannot be read as training material"):
        list(material_of([str(tmp_path / "nowhere.txt")]))


def test_a_question_of_the_everyday_test_is_found_where_it_was_trained_on():
    from sparring.benchmarks.reasoning.suites import Asking, texts_of

    asked = texts_of("everyday", Asking(items=20))
    found = overlaps(asked, [asked["heldout-formats/leave_out"][3]])
    assert found["heldout-formats/leave_out"].seen == (3,)
    assert not any(one.seen for task, one in found.items() if task.startswith("facts"))
    assert next(material_of(["base"]))
