"""The forms of a word: what counts as saying it.

Forms go from the target downward only: those of "market" include "marketing", those of "marketing" do not
include "market". A shipped table (made by data/build_forms.py) has the inflections and derivations of some
25,000 words; all other words are inflected by regular rules, and `is_known` says which. Forms are folded as
in `normalise`.
"""

import gzip
import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from .normalise import LETTER, fold

RULES = ("lemma", "family", "spag")
"""lemma: inflections. family: also derivations and their inflections. spag: the strings that SPAG's judge
looks for."""

TABLE_PATH = Path(__file__).parents[1] / "data" / "forms.txt.gz"


_GRAMMAR = frozenset(
    "about above after all also and any are away been before being below both but can could did does "
    "down each else even ever every few for "
    "from had has have her here him his how into its just least less like many may might more most much "
    "must near never not now off often "
    "once one only other our out over own per quite rather same shall she should since some soon still "
    "such than that the their them then "
    "there these they this those though through till too two under until upon very was were what when "
    "where which while who whom why "
    "will with within without would yes yet you your".split()
)
_TARGET_WORD = re.compile(rf"{LETTER}+(?:'{LETTER}+)*[+#]*")


def check_rule(rule: str) -> None:
    """Raises ValueError for an unknown rule, with the known ones."""
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; known rules: {', '.join(RULES)}")


@lru_cache(maxsize=1 << 12)
def clean_target(target: str) -> str:
    """The folded target, its words joined by single blanks; + and # at the end of a word are kept (C++).
    Raises ValueError for a target without a letter or digit."""
    cleaned = " ".join(_TARGET_WORD.findall(fold(target).text))
    if not cleaned:
        raise ValueError(f"the target {target!r} holds no letter or digit")
    return cleaned


def is_known(target: str) -> bool:
    """Whether the table has the forms of `target`; if not, `forms` uses regular rules."""
    return clean_target(target) in _table()


def known_targets() -> Iterable[str]:
    """All words whose forms are in the table, in alphabetical order."""
    return _table().keys()


def forms(target: str, rule: str = "lemma") -> frozenset[str]:
    """All folded forms that count as `target` under `rule`, including the target itself. Of a target of
    several words the last word is inflected.

    Raises ValueError for an unknown rule and for a target without a letter or digit.
    """
    check_rule(rule)
    cleaned = clean_target(target)
    return _spag_forms(target) if rule == "spag" else _forms(cleaned, rule)


@lru_cache(maxsize=1 << 12)
def written_forms(target: str, rule: str = "lemma") -> dict[str, str]:
    """Expressions for the spellings of a target that is not one word of letters, and of a closed compound as
    two words; each with the form that it stands for.

    An abbreviation of two letters may contain a dot: "P.C.". Words of a target may be separated by blanks or
    hyphens, by nothing, or as the target itself separates them: "St. Louis", "AC/DC", "R&B".
    """
    word = clean_target(target)
    if " " in word or word[-1] in "+#":
        gaps = [_gap(gap) for gap in _TARGET_WORD.split(fold(target).text)[1:-1]]
        return {_joined(form.split(" "), gaps): form for form in forms(target, rule)}
    if len(word) == 2 and word.isalpha():
        return {rf"{word[0]}\.{word[1]}": word}
    return {
        rf"{word[:cut]}\s{{1,3}}{re.escape(form[cut:])}": form
        for cut in range(3, len(word) - 2)
        if _is_part(word[:cut]) and (_is_part(word[cut:]) or _is_part(word[cut:].removesuffix("s")))
        for form in forms(target, rule)
        if form.startswith(word[:cut]) and len(form) > cut + 2
    }


def _gap(gap: str) -> str:
    """An expression for the gap between two words of a target."""
    sign = gap.strip()
    ways = [r"[\s_-]{1,3}"]
    if sign not in ("", "-", "_"):
        ways.append(rf"\s?{re.escape(sign)}\s?")
    if sign == "&":
        ways.append(r"[\s-]and[\s-]")
    return f"(?:{'|'.join(ways)})"


def _joined(words: list[str], gaps: list[str]) -> str:
    """An expression for words with these gaps between them, or closed up."""
    apart = "".join(re.escape(word) + gap for word, gap in zip(words, [*gaps, ""], strict=True))
    closed = "".join(words)
    return f"{apart}|{re.escape(closed)}" if len(words) > 1 and len(closed) > 3 else apart


def _is_part(word: str) -> bool:
    """Whether a word may be half of a compound: in the table, of three letters or more, and no function
    word."""
    return len(word) > 2 and word in _table() and word not in _GRAMMAR


def table_hash() -> str:
    """Short hash of the table's content, recorded with every game."""
    return hashlib.sha256(_table_text().encode()).hexdigest()[:12]


def _spag_forms(target: str) -> frozenset[str]:
    """The strings that SPAG looks for: lower-cased but not folded, so accents and hyphens count."""
    word = " ".join(target.lower().split())
    return frozenset({word, word + "ing", word + "ed", plural(word)})


@lru_cache(maxsize=1 << 12)
def _forms(word: str, rule: str) -> frozenset[str]:
    first, blank, last = word.rpartition(" ")
    if blank:
        return frozenset(f"{first} {form}" for form in _forms(last, "lemma"))
    forms = {word, *_inflections(word)}
    if rule == "family" and word in _table():
        forms.update(_decode(word, _table()[word].partition("\t")[2]))
    return frozenset(forms)


def _inflections(word: str) -> frozenset[str]:
    if word in _table():
        return frozenset(_decode(word, _table()[word].partition("\t")[0]))
    plurals = [form for form in _inflections(word[:-1]) if form[-1] == "s"] if word[-1] == "s" and word[:-1] in _table() else []
    return regular_inflections(word).union(plurals if word in plurals else ())  # colors and colours


def _decode(word: str, coded: str) -> list[str]:
    """Decodes the table's entry of a word: how many letters to drop from its end (no number: 0), then what to
    append."""
    decoded = []
    for code in coded.split():
        drop = int(re.match(r"[0-9]+", code)[0])  # type: ignore[index]
        decoded.append(word[: len(word) - drop] + code.lstrip("0123456789"))
    return decoded


@lru_cache(maxsize=1)
def _table_text() -> str:
    return gzip.decompress(TABLE_PATH.read_bytes()).decode("utf-8") if TABLE_PATH.exists() else ""


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    """The table: one encoded line of forms per target. Read once, at first use."""
    lines = _table_text().splitlines()
    return {target: rest for target, _, rest in (line.partition("\t") for line in lines if not line.startswith("#"))}


_VOWELS = "aeiou"


def doubles(word: str) -> bool:
    """Whether the last consonant is doubled before -ed and -ing: one syllable, consonant-vowel-consonant
    (stop, but not open, fix or rain)."""
    return re.fullmatch(r"[^aeiouy]*(?:qu)?[aeiouy][^aeiouywx]", word) is not None


def plural(word: str) -> str:
    """The plural of a noun, by rule and a list of irregular ones; also the third person of a verb."""
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def regular_inflections(word: str) -> frozenset[str]:
    """Plural and third person, -ed and -ing with doubling, e-dropping and y -> ie: the likely forms of a word
    that is in no list.

    Possessives need no form of their own, as `normalise.words` removes the 's.
    """
    if not word.isalpha() or len(word) < 2:
        return frozenset({word, word + "s"} if len(word) > 1 else {word})
    forms = {word, plural(word)}
    if word.endswith("ie"):
        forms |= {word + "d", word[:-2] + "ying"}
    elif word.endswith("e"):
        forms |= {word + "d", word + "ing" if word.endswith(("ee", "oe", "ye")) else word[:-1] + "ing"}
    elif word.endswith("y") and word[-2] not in _VOWELS:
        forms |= {word[:-1] + "ied", word + "ing"}
    elif doubles(word):
        forms |= {word + word[-1] + "ed", word + word[-1] + "ing"}
    else:
        forms |= {word + "ed", word + "ing"}
    return frozenset(forms)


IRREGULAR_PLURALS = dict(
    pair.split()
    for pair in (
        "man men, woman women, child children, mouse mice, louse lice, goose geese, foot feet, tooth "
        "teeth, ox oxen, person people, leaf leaves, wolf wolves, knife knives, life lives, wife wives, "
        "shelf shelves, half halves, calf calves, loaf loaves, thief thieves, elf elves, self selves, "
        "scarf scarves, sheaf sheaves, hoof hooves, sheep sheep, deer deer, fish fish, moose moose, swine "
        "swine, salmon salmon, trout trout, hero heroes, potato potatoes, tomato tomatoes, echo echoes, "
        "veto vetoes, torpedo torpedoes, analysis analyses, basis bases, crisis crises, thesis theses, "
        "oasis oases, axis axes, cactus cacti, fungus fungi, nucleus nuclei, radius radii, stimulus "
        "stimuli, alumnus alumni, criterion criteria, phenomenon phenomena, datum data, medium media, "
        "bacterium bacteria, matrix matrices, index indices, vertex vertices, appendix appendices, series "
        "series, species species, aircraft aircraft, penny pence, die dice, quiz quizzes"
    ).split(", ")
)
"""For `plural` alone; the table has many more."""
