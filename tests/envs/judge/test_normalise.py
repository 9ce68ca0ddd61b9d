import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs.judge.normalise import fold, fold_char, haystack, is_silent, undisguised, words

ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""All strings, lone surrogates and unassigned characters included."""
DISGUISED = st.lists(
    st.sampled_from(
        ["c", "a", "t", "4", "@", "!", " ", "-", "_", "'", "s", "n't", ".", "\u200b", "\u0301", "\u0430",
         "ⓒ", "ﬁ", "\U000e0061", "\u0941", "\u0915", "\n"]
    ),
    max_size=14,
).map("".join)  # fmt: skip
"""Dense in everything that makes readings: the properties below would rarely meet it in random text."""


@given(ANY_TEXT | DISGUISED)
def test_folding_is_idempotent_and_maps_every_character_into_the_text(text):
    folded = fold(text)
    assert fold(folded.text).text == folded.text
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert list(folded.starts) == sorted(folded.starts)
    for start, end, char in zip(folded.starts, folded.ends, folded.text, strict=True):
        assert 0 <= start < end <= len(text)
        assert char in fold(text[start:end]).text


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_path_of_ascii_text_folds_like_the_long_one(text):
    long = fold(text + "é")
    assert fold(text).text == long.text[:-1]
    assert list(fold(text).starts) == list(long.starts)[:-1]


@given(ANY_TEXT | DISGUISED)
def test_words_lie_in_the_text_and_in_its_haystack(text):
    hay = haystack(text)
    for word in words(text):
        assert word.text
        assert 0 <= word.start < word.end <= len(text)
        assert hay is None or word.text in hay


@given(st.text(st.sampled_from("cat 4@!-_'.,\n\x00xé")) | DISGUISED)
def test_what_is_not_in_an_undisguised_text_is_not_said(text):
    plain = undisguised(text)
    if plain is not None:
        assert plain == fold(text).text
        assert all(word.text in plain for word in words(text))


def test_most_of_what_is_said_is_undisguised():
    for text in ("It is often yellow, and it tastes sour!", "Is it [a kind of fruit]?", "I am a cat."):
        assert undisguised(text) == text.lower()
    for text in ("c a t", "x-ray", "c4t", "can't", "!ead", "caf\u00e9", "a\x00b", "c. a. t"):
        assert undisguised(text) is None


@given(DISGUISED)
def test_the_span_of_a_word_reads_as_that_word(text):
    for word in words(text):
        if len(word.text) > 2 and word.text.isalpha():
            assert word.text in {other.text for other in words(text[word.start : word.end])}


def readings(text):
    return {word.text for word in words(text)}


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("Straße", "strasse"), ("ŁÓDŹ", "lodz"), ("Æsop", "aesop"), ("ﬁne", "fine"), ("Ⅷ", "viii"),
        ("ℌ𝔢𝔩𝔩𝔬", "hello"), ("you’re", "you"), ("won’t", "will"), ("can't", "can"),
        ("haven't", "have"), ("dogs'", "dogs"), ("rock'n'roll", "roll"), ("a.b.c", "abc"),
        ("w o r d", "word"), ("a w o r d", "word"), ("x-ray", "xray"), ("l33t", "leet"),
        ("h4ck3r", "hacker"), ("9irl", "girl"), ("co2", "coz"), ("w1ne", "wine"),
        ("1emon", "lemon"), ("pia-\nno", "piano"), ("pia- \r\n  no", "piano"), ("t0p", "top"), ("$1n", "sin"),
    ],
)  # fmt: skip
def test_readings(text, reading):
    assert reading in readings(text)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("haven't", "haven"), ("won't", "won"), ("I'll", "ill"), ("she'd", "shed"),
        ("o'clock", "clock"), ("1984", "lgba"), ("5in", "sin"), ("a b c a t e", "cat"),
        ("c at", "cat"), ("cat!dog", "catdog"), ("o x", "ox"), ("it's a b", "sab"),
        ("70p", "top"), ("10W", "low"), ("F16", "fig"), ("the 50s", "sos"), ("$1m", "sim"), ("b33", "bee"), ("pia - no", "piano"),
        ("pia\nno", "piano"),
    ],
)  # fmt: skip
def test_no_readings(text, reading):
    assert reading not in readings(text)


@pytest.mark.parametrize("text", ["", " \t\n", "\u200b\u200d\ufeff", "\u3164", "\u2800", "\U000e0041", "\u0301", "\x00", "\u00ad"])
def test_silent(text):
    assert is_silent(text)


@pytest.mark.parametrize("text", [*string.ascii_letters, *string.punctuation, "👍", "中", "\ud800", "…", " x", "\u200b.", "ß", "²"])
def test_not_silent(text):
    assert not is_silent(text)


def test_the_table_of_characters_has_room_for_large_alphabets():
    """All of Chinese and Korean, folded twice: the second time nothing is worked out again."""
    alphabets = "".join(map(chr, (*range(0x4E00, 0xA000), *range(0xAC00, 0xD7A4))))
    first = fold(alphabets).text
    misses = fold_char.cache_info().misses
    assert fold(alphabets).text == first
    assert fold_char.cache_info().misses == misses


def test_vowel_signs_spell_words_and_accents_do_not():
    assert fold("हिन्दी").text == "हिन्दी"
    assert readings("हिन्दी, काला") == {"हिन्दी", "काला"}
    assert readings("cafe\u0301") == {"cafe"}
    for disguised in ("c\u0941at", "c\u093eat", "c\u200b\u093eat", "с\u0941\u0941аt", "c \u093e a \u093e t"):
        assert "cat" in readings(disguised)
