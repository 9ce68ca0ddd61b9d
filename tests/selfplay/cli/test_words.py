"""sparring words."""

import json
from collections.abc import Callable

import pytest

from sparring.envs.words.lists import band_words, curriculum, word_list
from sparring.selfplay.cli.main import main


def test_word_lists_are_printed(capsys: pytest.CaptureFixture[str]):
    assert main(["words", "--band", "1000-5000", "--split", "heldout"]) == 0
    printed = capsys.readouterr().out.split("\n")[:-1]
    assert tuple(printed) == word_list("band:1000-5000@heldout")
    assert main(["words", "--words", "everyday,band:1-2000", "--json"]) == 0
    lists = json.loads(capsys.readouterr().out)["lists"]
    assert [tuple(entry["words"]) for entry in lists] == list(curriculum("everyday,band:1-2000"))
    assert main(["words", "--band", "1000-5000", "--profane", "--count"]) == 0
    assert int(capsys.readouterr().out) == len(band_words(1000, 5000, profane=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["words", "--words", "nonsense"], "unknown word list 'nonsense'"),
        (["words", "--band", "5000-1000"], "got 5000-1000"),
        (["words", "--band", "1-60000"], "within 1-50000; got 1-60000"),
        (["words", "--split", "dev"], "unknown split 'dev'"),
        (["words", "--words", "everyday", "--band", "1-9"], "give one of them"),
        (["words", "--part", "verb"], "are for a --band"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
