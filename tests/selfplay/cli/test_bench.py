"""sparring bench."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import sparring


def test_the_everyday_test_compares_two_models(model: Path):
    done = sparring("bench", model, "--against", model, "--items", "4", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) > 10 and all(row["difference"] == 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "mini", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["bench", "scripted"], "no model"),
        (["bench", "mini", "--items", "0"], "--items must be at least 1"),
        (["bench"], "at least one model"),
        (["bench", "mini", "--control", "mini"], "--control needs --against"),
        (["bench", "mini", "--against", "mini", "mini@imitation"], "--against takes one model, got 2"),
        (["bench", "mini", "--suite", "piqa"], "need --data DIR"),
        (["bench", "mini", "--suite", "piqa", "--data", "nowhere"], "nowhere has no task 'piqa'"),
        (["bench", "mini", "--suite", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["bench", "--compare", "a.json"], "two files of answers"),
        (["bench", "--compare", "a.json", "b.json"], "a.json holds no answers"),
        (["bench", "mini", "--against", "mini@imitation", "--items", "3"], "--items must be at least 4 to compare two models"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
