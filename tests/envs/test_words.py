"""Word lists: what they hold, and what is refused."""

from pathlib import Path

import pytest

from sparring.envs.forms import is_known
from sparring.envs.words import common_words, word_list
from sparring.envs.world import everyday


def test_the_everyday_words_are_the_worlds_nouns():
    assert word_list("everyday") == everyday().nouns


def test_common_words_are_known_countable_and_no_function_words():
    words = word_list("common")
    assert len(words) > 800
    assert len(set(words)) == len(words)
    assert all(is_known(word) and word.isalpha() and len(word) >= 4 for word in words)
    assert {"river", "window"} <= set(common_words(0, 5000))
    assert not {"with", "would", "recently"} & set(common_words(0, 5000))


def test_a_file_holds_a_word_a_line(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("river\n\n# a comment\nice cream  # two words\nriver\nBär\n", encoding="utf-8")
    assert word_list(str(path)) == ("river", "ice cream", "Bär")


@pytest.mark.parametrize(("text", "message"), [(b"river\n?!\n", "line 2"), (b"# nothing\n", "holds no words"), (b"\xff\xfe", "no UTF-8")])
def test_bad_files_are_named(tmp_path: Path, text: bytes, message: str):
    path = tmp_path / "words.txt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        word_list(str(path))


def test_an_unknown_list_is_named():
    with pytest.raises(ValueError, match="unknown word list 'nouns'"):
        word_list("nouns")
