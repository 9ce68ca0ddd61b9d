"""The judge of Adversarial Taboo: whether an utterance ends the game, who wins by it, and which of its
characters decide.

Rules of word matching: "lemma" (the target and its inflections), "family" (also derivations) and "spag", the
judge of SPAG (arXiv 2404.10642, code Linear95/SPAG) with its errors: it matches substrings, and its guess
expression takes "It is a category" for cat. Judges single utterances; turns, lengths and utilities belong to
the game.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .declarations import Declaration, declaration
from .normalise import LETTER, NO_LETTER_BEFORE, Word, fold, haystack, is_silent, undisguised, words
from .word_forms import RULES, check_rule, clean_target, forms, written_forms

__all__ = [
    "ROLES",
    "RULES",
    "Declaration",
    "Match",
    "Verdict",
    "declaration",
    "is_right",
    "judge_line",
    "matcher",
    "verdict",
]

ROLES = ("attacker", "defender")


@dataclass(frozen=True)
class Match:
    """The target was said: characters [start, end) of the raw text, read as the form `matched`."""

    start: int
    end: int
    matched: str


@dataclass(frozen=True)
class Verdict:
    """How one utterance ended the game.

    reason: of the attacker "foul" or "silent"; of the defender "declared_right", "declared_wrong", "uttered"
    or "silent". start, end: the deciding characters of the raw utterance; the whole utterance for "silent".
    matched: the form of the target that was said, or the guess that was named; "" for neither.
    """

    reason: str
    winner: str
    start: int
    end: int
    matched: str


@lru_cache(maxsize=1 << 14)
def matcher(target: str, rule: str = "lemma") -> Callable[[str], Match | None]:
    """A function that returns the first position where a text says `target`, or None. Raises ValueError for
    an unknown rule or an empty target."""
    check_rule(rule)
    if rule == "spag":
        return _substring_matcher(target)
    wanted = forms(target, rule)
    stems = _stems(target, rule)
    written = _written(target, rule)

    def match(text: str) -> Match | None:
        hay = haystack(text) if stems else None
        if hay is not None and not any(map(hay.__contains__, stems)):
            return None
        readings = [word for word in words(text) if word.text in wanted]
        if written:
            readings += _phrases(text, target, rule)
        if not readings:
            return None
        first = min(readings, key=lambda word: (word.start, word.end))
        return Match(first.start, first.end, first.text)

    return match


@lru_cache(maxsize=1 << 14)
def _written(target: str, rule: str) -> tuple[re.Pattern[str], tuple[str, ...]] | None:
    """An expression for a target of several words or with symbols in it, and the form that each of its groups
    stands for."""
    ways = sorted(written_forms(target, rule).items(), key=lambda way: (-len(way[1]), way))
    if not ways:
        return None
    one_of = "|".join(f"({way})" for way, _ in ways)
    return re.compile(rf"{NO_LETTER_BEFORE}(?:{one_of})(?!{LETTER})"), tuple(form for _, form in ways)


def _phrases(text: str, target: str, rule: str) -> list[Word]:
    """Where a text says a target as several words: "St. Louis", or "sun light" for sunlight."""
    written = _written(target, rule)
    if not written:
        return []
    expression, forms_of = written
    folded = fold(text)
    return [Word(forms_of[(m.lastindex or 1) - 1], *folded.raw_span(*m.span())) for m in expression.finditer(folded.text)]


def is_right(guess: str, target: str) -> bool:
    """Whether a guess is the target or one of its inflections. The rule does not matter, as "family" only
    forbids more words."""
    wanted = forms(target, "lemma")
    folded = fold(guess)
    spans = [match.span() for match in re.finditer(f"{LETTER}+", folded.text.removesuffix("'s"))]
    if not spans:
        return False
    start, end = folded.raw_span(spans[0][0], spans[-1][1])
    readings = [*words(guess), *_phrases(guess, target, "lemma")]
    return any(word.text in wanted and word.start <= start and word.end >= end for word in readings)


def verdict(text: str, role: str, target: str, rule: str = "lemma") -> Verdict | None:
    """How `text`, said by `role`, ends the game; None if the game goes on.

    A declaration decides by its guess alone. The target said before the declaration counts as uttered; inside
    or after it, it does not count. Silence loses under every rule; SPAG itself plays on after an empty
    utterance.
    """
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}; known roles: {', '.join(ROLES)}")
    stems = _stems(target, rule)
    if stems and _says_nothing(text, stems):
        return None
    match = matcher(target, rule)(text)
    declared, right = _declared(text, target, rule)
    other = "defender" if role == "attacker" else "attacker"
    if role == "attacker":
        if match:
            return Verdict("foul", other, match.start, match.end, match.matched)
        if declared:
            return Verdict("foul", other, declared.start, declared.end, declared.guess or "")
    else:
        if match and (not declared or (match.start < declared.start and rule != "spag")):
            return Verdict("uttered", other, match.start, match.end, match.matched)
        if declared:
            reason, winner = ("declared_right", role) if right else ("declared_wrong", other)
            return Verdict(reason, winner, declared.start, declared.end, declared.guess or "")
    return Verdict("silent", other, 0, len(text), "") if is_silent(text) else None


@lru_cache(maxsize=1 << 14)
def _stems(target: str, rule: str) -> tuple[str, ...]:
    """Strings of which an undisguised text must contain one to say the target. Empty for "spag" and for
    targets of several words."""
    check_rule(rule)
    if rule == "spag" or not clean_target(target).replace("'", "").isalnum():
        return ()
    halves = {way.partition("\\")[0] for way in written_forms(target, rule)}
    wanted = forms(target, rule) | halves
    return tuple(form for form in wanted if not any(other in form for other in wanted if other != form))


def _says_nothing(text: str, stems: tuple[str, ...]) -> bool:
    """The quick path for most texts: True proves that a text neither says a target with these stems nor
    declares, and is not silent."""
    plain = undisguised(text)
    if plain is None or not plain[:1].isalpha() or ("know" in plain and "word" in plain):
        return False
    for stem in stems:  # noqa: SIM110  a generator costs more than the search
        if stem in plain:
            return False
    return True


def judge_line(record: dict[str, Any], rule: str = "lemma") -> dict[str, Any]:
    """Judges {"target", "role", "text"}. Returns {"reason", "winner", "span", "matched"}, all None if the
    utterance does not end the game.

    Raises ValueError for a missing key, a value that is no string, an unknown role or rule.
    """
    for key in ("target", "role", "text"):
        if not isinstance(record.get(key), str):
            raise ValueError(f"a line to judge needs the strings target, role and text; {key} is {record.get(key)!r}")
    ruling = verdict(record["text"], record["role"], record["target"], rule)
    if ruling is None:
        return {"reason": None, "winner": None, "span": None, "matched": None}
    return {
        "reason": ruling.reason,
        "winner": ruling.winner,
        "span": [ruling.start, ruling.end],
        "matched": ruling.matched,
    }


def _declared(text: str, target: str, rule: str) -> tuple[Declaration | None, bool]:
    """(the declaration in a text or None, whether its guess is right)."""
    if rule == "spag":
        return _spag_declaration(text, target)
    declared = declaration(_in_one_piece(text, target))
    return declared, declared is not None and declared.guess is not None and is_right(declared.guess, target)


_GAP = re.compile(rf"(?:(?!{LETTER})[^+#'\u2019]|['\u2019](?!\w)|(?<!\w)['\u2019])+")
"""What may stand between the words of a target: no letters, no symbols at the end of a word, no apostrophes
within a word."""


def _in_one_piece(text: str, target: str) -> str:
    """The text, of equal length, with a target of several words hyphenated wherever it is said, so that it
    reads as one word."""
    for word in _phrases(text, target, "lemma"):
        text = text[: word.start] + _GAP.sub(_hyphen, text[word.start : word.end]) + text[word.end :]
    return text


def _hyphen(gap: re.Match[str]) -> str:
    """A hyphen as long as a gap; invisible characters are kept."""
    return "-" + "\u200b" * (len(gap[0]) - 1) if fold(gap[0]).text else gap[0]


def _lower(text: str) -> tuple[str, list[int] | range]:
    """The lower-case text that SPAG compares, and the raw position of each of its characters and of its
    end."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered, range(len(text) + 1)
    positions = [at for at, char in enumerate(text) for _ in char.lower()]
    return "".join(char.lower() for char in text), [*positions, len(text)]


def _substring_matcher(target: str) -> Callable[[str], Match | None]:
    wanted = forms(target, "spag")

    def match(text: str) -> Match | None:
        lowered, raw = _lower(text)
        positions = [(at, form) for form in wanted if (at := lowered.find(form)) >= 0]
        if not positions:
            return None
        start, form = min(positions)
        return Match(raw[start], raw[start + len(form) - 1] + 1, form)

    return match


_SPAG_PREDICTION = re.compile(r"i know the word! it.{1,8}")


@lru_cache(maxsize=1 << 14)
def _spag_guess(target: str) -> re.Pattern[str]:
    """SPAG's expression for a right guess. The source does not escape the word; here it is escaped, so no
    target can break or stall the expression."""
    one_of = "|".join(re.escape(form) for form in sorted(forms(target, "spag")))
    return re.compile(rf"i know the word! it.{{1,8}}({one_of})")


def _spag_declaration(text: str, target: str) -> tuple[Declaration | None, bool]:
    lowered, raw = _lower(text)
    prediction = _SPAG_PREDICTION.search(lowered)
    if not prediction:
        return None, False
    right = _spag_guess(target).search(lowered)
    start, end = (right or prediction).span()
    return Declaration(raw[start], raw[end - 1] + 1, right[1] if right else None), right is not None
