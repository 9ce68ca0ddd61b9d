import json
import time
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparring.envs.judge.normalise import words
from sparring.envs.judge.verdict import ROLES, RULES, declaration, is_right, judge_line, matcher, verdict
from sparring.envs.judge.word_forms import forms

CORPUS = [json.loads(line) for line in Path(__file__).with_name("judge_corpus.jsonl").read_text().splitlines()]
TALK = [json.loads(line) for line in Path(__file__).with_name("judge_talk.jsonl").read_text().splitlines()]
"""Utterances as chat models say them, each with the reason it must be judged by, "none" where the game goes on."""
BY_TOPIC = defaultdict(list)
for _row in CORPUS:
    BY_TOPIC[_row["about"]].append(_row)

ANY_TEXT = st.text(st.characters(exclude_categories=()))
PIECES = st.lists(
    st.sampled_from(
        ["cat", "Cats", "c-a-t", "c a t", "c4t", "с\u0430t", "ｃａｔ", "c\u200bat", "location", "dog",
         "I know the word", "it is", "!", "? ", ". ", '"', "'", "`", " or ", " not ", " ", "\n", ", ", ":",
         "İ", "ß", "n't", "*", "I think ", "Do ", "\U000e0063\U000e0061\U000e0074", "<b>", "</b>", "\\text{", "ice", "3"]
    ),
    max_size=12,
).map("".join)  # fmt: skip
TARGETS = st.sampled_from(["cat", "run", "mouse", "word", "c.t", "a+", "ice cream", "o'clock", "(((", "know", "blorf"])
PUNCTUATION = st.text("!?.,;:\"'`*_-#()[]{}<>~/\\|$@%^&+= \t\n…—–“”‘’«»¡¿", max_size=6)


@pytest.mark.parametrize("topic", BY_TOPIC)
def test_corpus(topic):
    wrong = []
    for row in BY_TOPIC[topic]:
        for rule in row["rules"]:
            ruling = verdict(row["text"], row["role"], row["target"], rule)
            reason = ruling and ruling.reason
            evidence = ruling and row["evidence"] is not None and row["text"][ruling.start : ruling.end]
            if reason != row["reason"] or (evidence and evidence != row["evidence"]):
                wrong.append((rule, row["target"], row["text"], reason, evidence, row["reason"], row["evidence"]))
    assert not wrong


@pytest.mark.parametrize("topic", dict.fromkeys(row["about"] for row in TALK))
def test_talk(topic):
    wrong = []
    for row in TALK:
        ruling = verdict(row["text"], row["role"], row["target"], row["rule"]) if row["about"] == topic else None
        reason = ruling.reason if ruling else "none"
        if row["about"] == topic and reason != row["reason"]:
            wrong.append((row, reason, ruling and ruling.matched))
    assert not wrong


def test_the_page_on_games_holds_examples_of_every_rule():
    page = (Path(__file__).parents[3] / "docs" / "games.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    examples = [row for row in rows if row[0] in RULES]
    assert len(examples) >= 50
    for rule, role, target, text, reason in examples:
        ruling = verdict(text, role, target, rule)
        assert (ruling.reason if ruling else "none") == reason, (rule, role, target, text)


def test_the_corpus_is_large_and_covers_every_reason_and_rule():
    assert len(CORPUS) >= 300
    assert len(TALK) >= 900
    assert {row["reason"] for row in CORPUS} == {
        "foul", "silent", "declared_right", "declared_wrong", "uttered", None,
    }  # fmt: skip
    assert {rule for row in CORPUS for rule in row["rules"]} == set(RULES)


@given(ANY_TEXT | PIECES, st.sampled_from(ROLES), TARGETS, st.sampled_from(RULES))
def test_every_text_is_judged_and_the_evidence_lies_in_it(text, role, target, rule):
    try:
        ruling = verdict(text, role, target, rule)
    except ValueError:
        assert target == "((("
        return
    if ruling:
        assert ruling.winner in ROLES
        assert 0 <= ruling.start <= ruling.end <= len(text)
        assert (ruling.winner == role) == (ruling.reason == "declared_right")


@given(ANY_TEXT, ANY_TEXT, st.sampled_from(RULES))
@example("cat", "[", "spag")
@example("I know the word! It is a", "(a+)+$", "spag")
def test_every_target_is_judged_or_refused(text, target, rule):
    try:
        verdict(text, "defender", target, rule)
    except ValueError as error:
        assert "no letter or digit" in str(error)  # noqa: PT017


@given(PIECES, st.sampled_from(["cat", "mouse", "run", "o'clock"]), st.sampled_from(["lemma", "family"]))
def test_a_match_reads_as_a_form_of_the_target(text, target, rule):
    match = matcher(target, rule)(text)
    if match:
        assert match.matched in forms(target, rule)
        assert match.matched in {word.text for word in words(text[match.start : match.end])}


@given(PIECES, st.sampled_from(["cat", "word", "dog"]), st.sampled_from(["lemma", "family"]))
def test_the_quick_way_finds_what_the_slow_one_finds(text, target, rule):
    slow = any(word.text in forms(target, rule) for word in words(text))
    assert (matcher(target, rule)(text) is not None) == slow


@given(PIECES | st.text("cat know wrd!?'.,-\n", max_size=24), st.sampled_from(ROLES), TARGETS, st.sampled_from(RULES))
@example("c a t", "defender", "cat", "lemma")
@example("I said c, a. t", "defender", "cat", "lemma")
@example("Oh!cat", "defender", "cat", "lemma")
def test_the_quick_way_of_a_verdict_changes_none(text, role, target, rule):
    if target == "(((":
        return
    quick = verdict(text, role, target, rule)
    with patch("sparring.envs.judge.verdict._says_nothing", return_value=False):
        assert verdict(text, role, target, rule) == quick


@given(
    st.sampled_from(["cat", "mouse", "decide", "run"]).flatmap(
        lambda target: st.tuples(st.just(target), st.sampled_from(sorted(forms(target, "lemma"))))
    ),
    PUNCTUATION,
    PUNCTUATION,
    st.sampled_from([str.lower, str.upper, str.title, str.swapcase]),
)
def test_matching_is_unaffected_by_case_and_surrounding_punctuation(said, before, after, case):
    target, form = said
    match = matcher(target, "lemma")(before + case(form) + after)
    assert match
    assert match.matched in forms(target, "lemma")


@given(PUNCTUATION, st.sampled_from(["", " is", "s", "x"]), st.sampled_from([str.lower, str.upper, str.title]))
def test_longer_words_are_other_words(punctuation, ending, case):
    text = case(punctuation + "location scatter" + ending + " catalogue") + punctuation
    assert matcher("cat", "family")(text) is None


@given(ANY_TEXT | PIECES)
def test_declarations_lie_in_the_text(text):
    declared = declaration(text)
    if declared:
        assert 0 <= declared.start < declared.end <= len(text)
        assert declared.guess is None or declared.guess.strip()


@given(ANY_TEXT | PIECES)
def test_the_opening_always_declares(text):
    declared = declaration("I know the word! " + text)
    assert declared
    assert declared.start == 0


@pytest.mark.parametrize("word", ["cat", "dog", "run", "not", "well", "x", "email"])
def test_a_quoted_word_is_the_guess_whatever_it_is(word):
    for opened, closed in ('""', "''", "``", "“”", "«»", "‘’"):
        assert declaration(f"I know the word! It is {opened}{word}{closed}!").guess == word


def test_a_guess_is_right_up_to_inflection():
    assert is_right("cat", "cat") and is_right("Cats", "cat") and is_right("mice", "mouse") and is_right(" ran! ", "run")
    assert is_right("e-mail", "email") and is_right("c-a-t", "cat") and is_right("cat's", "cat") and is_right("ｃａｔ", "cat")
    assert not is_right("run", "running") and not is_right("teacher", "teach") and not is_right("category", "cat")
    assert not is_right("cat dog", "cat") and not is_right("", "cat") and not is_right("!", "cat")


def test_a_verdict_in_full():
    ruling = verdict("Hm. I know the word! It is “mice”!", "defender", "mouse")
    assert (ruling.reason, ruling.winner, ruling.matched) == ("declared_right", "defender", "mice")
    assert (ruling.start, ruling.end) == (4, 34)
    ruling = verdict("So they were c\u200bats?", "attacker", "cat")
    assert (ruling.reason, ruling.winner, ruling.matched, ruling.start, ruling.end) == (
        "foul",
        "defender",
        "cats",
        13,
        18,
    )


def test_judge_line():
    line = {"target": "cat", "role": "defender", "text": "two cats"}
    assert judge_line(line) == {"reason": "uttered", "winner": "attacker", "span": [4, 8], "matched": "cats"}
    assert judge_line({**line, "text": "a dog"}) == dict.fromkeys(("reason", "winner", "span", "matched"))
    assert judge_line(line, "spag")["matched"] == "cat"


@pytest.mark.parametrize("line", [{}, {"target": "cat", "role": "defender"}, {"target": "cat", "role": "defender", "text": 5}])
def test_a_line_needs_its_keys(line):
    with pytest.raises(ValueError, match="needs the strings target, role and text"):
        judge_line(line)


def test_unknown_rule_and_role():
    with pytest.raises(ValueError, match="unknown rule 'stem'; known rules: lemma, family, spag"):
        matcher("cat", "stem")
    with pytest.raises(ValueError, match="unknown role 'judge'; known roles: attacker, defender"):
        verdict("cat", "judge", "cat")


@pytest.mark.parametrize(
    "piece",
    ["a ", "i ", "!", "*", '"', "'", "`", "a-", "a4", ".", "it is ", "I know the word! ", "\u200b", " - "],
)
def test_no_text_stalls_the_judge(piece):
    started = time.process_time()
    for rule in RULES:
        verdict("I know the word! " + piece * 5000, "defender", "cat", rule)
        verdict(piece * 5000 + " know the word", "defender", "cat", rule)
    assert time.process_time() - started < 20, "on a core, whatever else runs there"
