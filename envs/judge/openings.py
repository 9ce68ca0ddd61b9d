"""The grammar of declarations: formulas ("I know the word"), whether they declare, and the word that is then
named.

`declarations` defines what a declaration is. All texts are folded (see `normalise`).
"""

import re

from .assertions import is_cancelled_by_lead, is_cancelled_by_tail, is_cited, is_weak, lead_of
from .guesses import INTERJECTIONS, named_in_tail, named_word

_SEP = r"[\s*_`\"'~]+"
_ADVERBS = (
    rf"(?:{_SEP}(?:do|really|honestly|now|already|finally|pretty|quite|very|absolutely|truly|fairly|just"
    rf"|still|also|totally"
    rf"|completely|clearly|definitely|certainly|actually|surely|almost(?={_SEP}(?:sure|certain"
    rf"|positive))|[0-9]+ ?%))*"
)
_OPENING = re.compile(
    rf"(?<![^\W_])(?<![^\W_]')(?:i(?:'m|'d|{_SEP}am)?{_ADVERBS}{_SEP}(?:(?P<hedge>think|believe|guess"
    rf"|assume|suspect|imagine|suppose|reckon|feel)"
    rf"|bet|say|sure|certain|confident|positive)(?:{_SEP}that)?[,:]?{_SEP})?"
    rf"i{_ADVERBS}(?:{_SEP}(?P<maybe>think|probably|maybe|perhaps))?{_SEP}know(?:{_SEP}now)?{_SEP}the"
    rf"{_SEP}(?:(?:secret|hidden|target|mystery|magic){_SEP})?word(?!'s)(?! (?:limit|count|order"
    rf"|game|choice|association|list|search|play|puzzle|length)s?(?![^\W_]))(?![^\W_])"
)
_INTERJECTION = re.compile(INTERJECTIONS + "$")
"""Interjections right before a formula, which belong to it."""
_AGAIN = re.compile(rf"[\W_]*(?:{INTERJECTIONS}[\W_]+)*")
"""What may stand between a formula and its repetition."""
_BOUNDARY = re.compile(r"[.!?;\n\u2013\u2014]|\s-+\s")
_PLACEHOLDERS = ("x", "xyz", "word", "blank", "guess", "whatever", "answer", "something")
_BLANK = re.compile(r"[\[{<][^\[\]{}<>]*(?:your|insert|word|guess|answer)[^\[\]{}<>]*[\]}>]")
"""A blank to be filled in: "{your_guess}"."""
_TAG = re.compile(r"<(/?)([a-z]{1,12})>")
_INLINE = frozenset("b i u em strong code mark span".split())
_LATEX = re.compile(r"\\(?:boxed|text|textbf|textit|textrm|mathbf|mathrm|mathit|emph)\{")
_SPELLED = re.compile(r"(?<![^\W_])((?:[ai] (?=(?:[^\W\d_] ){2}))?)([^\W\d_](?:([ .])[^\W\d_](?![^\W_]))(?:\3[^\W\d_](?![^\W_]))+)")
_SENTENCE = re.compile(r"(?:[^.!?\n]|\.{2,})*")


def first_declared(text: str) -> tuple[int, int, str | None] | None:
    """(start, end, guess) of the first declaration in a folded text; the guess is "" or None where no word is
    named. None without a declaration."""
    plain = _without_markup(text)
    for opening in _OPENING.finditer(plain):
        named = _declares(plain, opening)
        if named is not None:
            guess, end = named
            return _start(plain, opening.start()), end, guess
    return None


def _declares(text: str, opening: re.Match[str]) -> tuple[str | None, int] | None:
    """(the guess, the end of the declaration) of a formula; None if it does not declare."""
    lead, quote, outside = lead_of(text, opening.start())
    tail = _sentence(text, opening.end())
    asks = text.startswith("?", opening.end() + len(tail))
    if is_cancelled_by_lead(lead, asks):
        return None
    if quote:
        closing = _closing(text, opening.end(), quote)
        behind = _sentence(text, closing + 1) if closing >= 0 else ""
        asks_outside = bool(behind.strip()) and text.startswith("?", closing + 1 + len(behind))
        if is_cancelled_by_lead(outside, asks_outside, cites=True) or is_cited(behind):
            return None
    if (tail.strip() or asks) and is_cancelled_by_tail(tail, asks, named_in_tail(tail)):
        return None
    at = _last_opening(text, opening.end())
    quoted = text[at:closing] if quote and closing >= at else ""
    named, end = named_word(text[:closing] if any(map(str.isalnum, quoted)) else text, at)
    if quote and (named in (None, *_PLACEHOLDERS) or _BLANK.search(quoted)):
        return None
    weak = opening["hedge"] or opening["maybe"] or is_weak(lead)
    return None if weak and named is None else (named, end)


def _closing(text: str, at: int, quote: str) -> int:
    """Where the quotation ends that is open at position `at`; -1 if it does not end. Quotes escaped as in
    JSON are inside it."""
    closing = re.compile(rf"(?<!\\){quote}").search(text, at)
    return closing.start() if closing else -1


def _sentence(text: str, at: int) -> str:
    """The rest of the sentence from position `at` on."""
    rest = _SENTENCE.match(text, at)
    return rest[0] if rest else ""


def _start(text: str, at: int) -> int:
    """Where a formula starts with its interjections; the formula alone starts at `at`."""
    while True:
        head = at
        while head and not text[head - 1].isalnum():
            head -= 1
        before = text[max(0, head - 40) : head]
        interjection = _INTERJECTION.search(before)
        if not head or _BOUNDARY.search(text[head:at]) or not interjection:
            return at
        at = head - (len(before) - interjection.start())


def _without_markup(text: str) -> str:
    """Folded text of equal length, with paired tags and LaTeX commands as emphasis, and spelled words (c a t,
    c.a.t) hyphenated."""
    if "<" in text:
        closed = set(re.findall(r"</([a-z]{1,12})>", text))
        text = _TAG.sub(lambda tag: _emphasis(tag) if tag[2] in closed else tag[0], text)
    if "\\" in text:
        text = _LATEX.sub(lambda command: "*" * len(command[0]), text)
    return _SPELLED.sub(lambda run: run[1] + re.sub(r"[ .]", "-", run[2]), text)


def _emphasis(tag: re.Match[str]) -> str:
    """Asterisks in place of a tag; a tag that is not used within a line ends the line."""
    return ("\n" if tag[1] and tag[2] not in _INLINE else "*") * len(tag[0])


def _last_opening(text: str, at: int) -> int:
    """The end of the last formula, where the one that ends at `at` is repeated."""
    while (before := _AGAIN.match(text, at)) and (again := _OPENING.match(text, before.end())):
        at = again.end()
    return at
