"""Word lists: what they hold, how they are split, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs.words.frequency import ranked
from sparring.envs.words.lists import band_words, curriculum, profane_words, split_words, word_list
from sparring.envs.world.facts import everyday, word_groups


def test_the_everyday_words_are_the_worlds_nouns():
    assert word_list("everyday") == everyday().nouns


def test_bands_hold_nouns_and_leave_out_what_they_say():
    words = band_words(1, 10_000)
    assert {"river", "window", "dog", "wedding", "bridge"} <= set(words)
    verbs, names, forms = {"bring", "hear"}, {"london", "monday", "john"}, {"cities", "words", "taking", "won"}
    grammar, profane = {"with", "can", "something", "yes"}, {"fuck", "shit", "bitch"}
    assert not (verbs | names | forms | grammar | profane) & set(words)
    assert set(band_words(1, 10_000, profane=True)) - set(words) >= profane
    assert {"bring", "hear"} <= set(band_words(1, 10_000, "verb"))


def test_a_band_is_a_stretch_of_the_frequency_list_with_both_ends():
    rank = {word: number for number, word in enumerate(ranked(50_000), 1)}
    words = band_words(1000, 5000)
    assert [rank[word] for word in words] == sorted(rank[word] for word in words)
    first, last = rank[words[0]], rank[words[-1]]
    assert 1000 <= first < last <= 5000
    assert band_words(first, last) == words
    assert band_words(first + 1, last - 1) == words[1:-1]
    assert band_words(1000, 3000) + band_words(3001, 5000) == words


def test_common_is_a_band():
    assert word_list("common") == band_words(501, 5000)
    assert len(word_list("common")) > 1000


def test_profane_words_come_with_what_is_made_of_them():
    assert {"fuck", "fucking", "fucker", "shits", "bastards"} <= profane_words()
    assert not profane_words() & set(everyday().nouns)


def test_a_file_holds_a_word_a_line(tmp_path: Path):
    path = tmp_path / "words, mine.txt"
    path.write_text("river\n\n# a comment\nice cream  # two words\nriver\nBär\nC#\n#C\nF#m\n", encoding="utf-8")
    assert word_list(str(path)) == ("river", "ice cream", "Bär", "C#", "F#m")


@pytest.mark.parametrize("words", ["everyday", "common", "band:1-9000:verb"])
def test_a_list_is_split_without_loss(words: str):
    train, heldout = set(word_list(f"{words}@train")), set(word_list(f"{words}@heldout"))
    assert train | heldout == set(word_list(words))
    assert not train & heldout
    assert train and heldout


def test_the_everyday_world_brings_its_own_split():
    assert word_list("everyday@heldout") == word_groups().heldout


@given(words=st.lists(st.sampled_from(everyday().nouns), unique=True), share=st.floats(0, 1))
def test_a_word_falls_on_the_same_side_in_every_list(words: list[str], share: float):
    train, heldout = split_words(everyday().nouns, share)
    assert split_words(words, share) == (tuple(w for w in words if w in train), tuple(w for w in words if w in heldout))


def test_about_the_share_asked_for_is_held_out_and_more_hold_out_more():
    words = word_list("band:1-50000")
    few, many = (set(split_words(words, share)[1]) for share in (0.1, 0.3))
    assert few < many
    assert abs(len(few) / len(words) - 0.1) < 0.01 > abs(len(many) / len(words) - 0.3)
    assert split_words(words, 0)[1] == () == split_words(words, 1)[0]


def test_the_split_is_the_same_everywhere():
    """By sha256sum "heldout mountain" begins with 19, and 0x19 / 0x100 is below a tenth; river: 67, window: 83, garden: e0."""
    assert split_words(("river", "mountain", "window", "garden", "Mountain")) == (("river", "window", "garden"), ("mountain", "Mountain"))
    code = "from sparring.envs.words.lists import word_list; print(*word_list('band:1000-3000@heldout'))"
    splits = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert splits == {" ".join(word_list("band:1000-3000@heldout")) + "\n"}


def test_a_curriculum_takes_lists_one_after_the_other():
    easy, middle, hard = curriculum("everyday,band:1-2000,band:1-8000")
    assert easy == everyday().nouns
    assert middle == tuple(word for word in band_words(1, 2000) if word not in easy)
    assert not set(hard) & set(easy + middle)
    assert word_list("everyday,band:1-2000,band:1-8000") == easy + middle + hard


def test_a_file_of_another_system_holds_the_same_words(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"\xef\xbb\xbfriver\r\n\tice  cream \r\rB\xc3\xa4r# \x1b[2J\r\n\r\n")
    assert word_list(str(path)) == ("river", "ice cream", "Bär")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"river\n?!\n", "line 2"),
        (b"# nothing\n", "holds no words"),
        (b"\xff\xfe", "no UTF-8"),
        ("river\n".encode("utf-16"), "no UTF-8"),
        (b"river\nca\0t\n", r"line 2: the word 'ca\\x00t' holds U\+0000 \(a control character\), which cannot be seen; remove it"),
        (b"river\n\x1b[31mcat\n", r"line 2: .* U\+001B"),
        (b"river\ncat\x0bdog\n", r"line 2: .* U\+000B"),
        ("river\n\ufeffcat\n".encode(), r"line 2: .* U\+FEFF \(ZERO WIDTH NO-BREAK SPACE\)"),
        ("ca\u200bt\n".encode(), r"line 1: .* U\+200B \(ZERO WIDTH SPACE\)"),
        ("ca\u2028t\n".encode(), r"line 1: .* U\+2028 \(LINE SEPARATOR\)"),
        ("\u202ecat\n".encode(), r"line 1: .* U\+202E \(RIGHT-TO-LEFT OVERRIDE\)"),
        (b"river\n" + b"a" * 101, "line 2: a word has at most 100 characters, got 101, beginning with 'aaaaaaaaaaaaaaaaaaaa'$"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: bytes, message: str):
    path = tmp_path / "words.txt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        word_list(str(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nouns", "unknown word list 'nouns'"),
        ("n" * 5000, "unknown word list 'n{99}: neither"),
        ("words\0.txt", "unknown word list"),
        ("everyday,", "unknown word list ''"),
        ("band:5000-1000", "got 5000-1000"),
        ("band:0-10", "got 0-10"),
        ("band:1-50001", "within 1-50000; got 1-50001"),
        ("band:1-2", "holds no words"),
        ("band:ten-20", "cannot read the band 'band:ten-20'"),
        ("band:1-20:pronoun", "noun, verb, adjective, adverb"),
        ("common@dev", "unknown split 'dev' in 'common@dev'; known splits: train, heldout"),
        ("common,common", "that the lists before it lack"),
    ],
)
def test_what_is_no_list_is_named(words: str, message: str):
    with pytest.raises(ValueError, match=message):
        word_list(words)
