"""sparring bench."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import sparring


def test_the_everyday_test_compares_two_models(model: Path):
    done = sparring("bench", model, model, "--items", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(d["mean"] == 0 for d in found["difference"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "mini", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["bench", "scripted"], "no model"),
        (["bench", "mini", "--items", "0"], "--items must be at least 1"),
        (["bench", "mini", "mini@imitation", "--items", "3"], "--items must be at least 4 to compare two models"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
