"""Declarations: "I know the word!" and the one word that is then named.

A declaration is "I know the word" that opens a sentence, also after interjections ("Well, ...") and "I think"; questions, conditions and
negations of it are none. The guess is the quoted word of the declaring sentence or of one after it, else what follows "it is", "it must
be", "the word is", a colon and the like, else a sentence of a single word. Exactly one word must be named: after a declaration with none,
with two or with a negated one the guess is None. The first sentence that names something decides; nothing after it is read.

Works on folded text (see `normalise`), so that case, quotes of all kinds and look-alikes need no care here. Markup is emphasis: Markdown's,
tags in pairs, LaTeX's \\boxed; a spelled word (c a t) is one word.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .normalise import fold


@dataclass(frozen=True)
class Declaration:
    """Characters [start, end) of the raw text, from the opening to the end of the sentence that names the guess.

    guess: the folded word that is named; None if none is, or two are, or it is negated.
    """

    start: int
    end: int
    guess: str | None


def _either(*phrases: str) -> str:
    """An expression for any of the phrases, given as comma-separated lists of expressions, as whole words."""
    return rf"(?<![^\W_])(?:{'|'.join(', '.join(phrases).split(', '))})(?![^\W_])"


_SEP = r"[\s*_`\"'~]+"
_ADVERBS = rf"(?:{_SEP}(?:do|really|honestly|now|already|finally|pretty|quite|very|absolutely|truly|fairly|just))*"
_THINKING = rf"{_SEP}(?:think|believe|guess|suppose|bet|reckon|feel|say|sure|certain|confident|positive)"
_OPENING = re.compile(
    rf"(?<![^\W_])(?<![^\W_]')(?:i(?:'m|{_SEP}am)?{_ADVERBS}{_THINKING}(?:{_SEP}that)?[,:]?{_SEP})?"
    rf"i{_ADVERBS}(?:{_SEP}(?:think|definitely|certainly|actually|surely))?{_SEP}know(?:{_SEP}now)?{_SEP}the"
    rf"{_SEP}(?:(?:secret|hidden|target){_SEP})?word(?!'s)(?![^\W_])"
)
_INTERJECTIONS = _either(
    "a+h+, a+ha+, a-ha, o+h+, ooh+, wow, hey, hm+, mm+, um+, uh+, huh, er+m*, ha(?:ha)*, gee, gosh, yay",
    "ok, okay, well, very well, yes, yeah, yep, yup, ya, sure, of course, right, all right, alright",
    "now, so, and, but, then, in that case, finally, bingo, eureka, great, good, nice, cool, perfect",
    "hooray, hurray, excellent, wonderful, wait, no wait, stop, enough, listen, look, please, hello, hi",
    "thanks, thank you, clearly, obviously, certainly, honestly, actually, got it, i got it, i've got it",
    "done, indeed, i see, good hint, nice hint, guess what, you know what",
)
_INTERJECTION = re.compile(_INTERJECTIONS + "$")
"""What may stand between the start of a sentence and its opening."""
_AGAIN = re.compile(rf"[\W_]*(?:{_INTERJECTIONS}[\W_]+)*")
"""What may stand between an opening and the same said again."""
_LABEL = re.compile(
    r"(?:^|\n)[\W_]*(?:defender|attacker|player(?: [0-9ab])?|me|assistant|response"
    r"|(?:my |final )?(?:answer|guess)|[a-z])$"
)
_BOUNDARY = re.compile(r"[.!?;\n\u2013\u2014]|\s-+\s")

_QUOTED = re.compile(r"\"([^\"]+)\"|`+([^`]+)`+|(?<![^\W_])'((?:[^']|(?<=[^\W_])'(?=[^\W_]))+)'(?![^\W_])")
_EMPHASIS = re.compile(r"\*+([^*]+)\*+|(?<![^\W_])_+([^_]+)_+(?![^\W_])")
_BE = (
    r"(?:(?:is|was|will|must|has to|have to|has got to|should|would|could|can|might|may|ought to)"
    r"(?:n't| not)?(?: (?:only|surely|probably|likely))*(?: be)?|cannot be|can't be|won't be|ain't)"
)
_IT = r"(?:it|this|that)"
_THE_WORD = (
    r"(?:what you\b[^,:]{0,40}?"
    r"|(?:the|your|my)\b[^,:]{0,40}?\b(?:word|answer|guess|secret|target)\b[^,:]{0,40}?)"
)
_CONNECTOR = re.compile(
    rf"(?<![^\W_'])(?:{_IT}(?:'s|'ll be|'d be)|its(?![^.]*\b(?:is|are|was|has)\b)"
    rf"|(?:{_IT}|{_THE_WORD})(?: (?:really|surely|simply|definitely))? {_BE}"
    rf"|{_BE} {_IT}(?: be)?|(?:word|answer|guess|i (?:say|guess|choose|pick)) ?:)(?![^\W_])"
)
"""What the guess follows: it is, it must be, the word is, a colon, and their like; also "is it"."""
_TAIL_CONNECTOR = re.compile(rf"[\s*_`\"']*(?:[^,:;()]{{0,40}}? )?{_BE}(?![^\W_])|[^,:;()]{{0,40}}:")
"""The same where the sentence of the opening goes on: "I know the word you mean is cat"."""
_ASIDE = re.compile(r"\s*,?\s*" + _either("because, since, as, thanks, from, when, if, although, though, after, (?:that|which) (?:is|was)"))
_RELATIVE = re.compile(r"\s*(?:you|you're|that|which|we|for|of|to|in|on|behind)\b")
"""So goes on what says more of the word, and does not name it unless by a connector: "the word you mean"."""
_DOUBT = re.compile(
    r"(?:don't|do not|doesn't|didn't|can't|cannot|never) (?:think|believe|say|suppose|guess|bet)"
    r"|(?<!no )\bdoubt\b"
)
_NEGATION = re.compile(_either("not, never, no, nor, neither, hardly, cannot") + r"|n't(?![^\W_])")
_STOCK = re.compile(
    _either(
        "isn't it, isn't that right, is it not, am i right, am i not right, aren't i, of course, for sure",
        "i'm sure, i am sure, no doubt about it, no doubt, without (?:a|any) doubt, no question, why not",
        "i (?:think|believe|guess|suppose|bet|say), if (?:i'm|i am) not (?:wrong|mistaken), in the end",
        "after all, my friend, the word",
    )
    + r"|\(e?s\)"
)
"""Phrases that name nothing and negate nothing."""
_SPLIT = re.compile(r"[,;:()\[\]\u2013\u2014]|\s-+\s|\.{2,}")
_BRACKETED = re.compile(r"\((?!\s*(?:or|and|nor|not)\b)[^()]*\)")
_LISTED = re.compile(_either("or, and, not") + "|[/&]")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_CUT = frozenset(
    "because since as for given based from with if which that who where when while due considering thanks isn't is was right but".split()
)
"""Words that end the naming phrase: "cat because it purrs"."""
_SKIP = frozenset(
    "a an the some your my this that definitely certainly surely probably possibly maybe perhaps obviously "
    "clearly simply just really indeed likely undoubtedly actually only exactly finally now then of course "
    "i you think believe guess say suppose am got sure word called named none other than either thing right "
    "correct yes yeah yep please thanks thank friend attacker opponent everyone folks buddy mate sir haha so "
    "oh ah aha well hmm ok okay or and no not bingo eureka great it is must be to me hey wow here we go done "
    "gotcha most gotta got going go with thinking i'm i'd i'll dear win".split()
)
"""Words around a guess that are none themselves, unless nothing else is named."""
_TAG = re.compile(r"<(/?)([a-z]{1,12})>")
_INLINE = frozenset("b i u em strong code mark span".split())
_LATEX = re.compile(r"\\(?:boxed|text|textbf|textit|textrm|mathbf|mathrm|mathit|emph)\{")
_SPELLED = re.compile(r"(?<![^\W_])((?:[ai] (?=(?:[^\W\d_] ){2}))?)([^\W\d_](?:([ .])[^\W\d_](?![^\W_]))(?:\3[^\W\d_](?![^\W_]))+)")
_LAST_SENTENCES = 4
"""How many sentences after the opening may name the guess."""
_REACH = 2000
"""How many characters after the opening are read."""


def declaration(text: str) -> Declaration | None:
    """The first declaration in `text`, or None if there is none."""
    folded = fold(text)
    if "know" not in folded.text or "word" not in folded.text:
        return None
    plain = _without_markup(folded.text)
    for opening in _OPENING.finditer(plain):
        start = _sentence_start(plain, opening.start())
        if start is not None:
            guess, end = _guess(plain, _last_opening(plain, opening.end()))
            return Declaration(*folded.raw_span(start, end), guess)
    return None


def _without_markup(text: str) -> str:
    """Folded text, as long as before, with pairs of tags and commands of LaTeX as emphasis, and spelled words (c a t, c.a.t) hyphened."""
    if "<" in text:
        closed = set(re.findall(r"</([a-z]{1,12})>", text))
        text = _TAG.sub(lambda tag: _emphasis(tag) if tag[2] in closed else tag[0], text)
    if "\\" in text:
        text = _LATEX.sub(lambda command: "*" * len(command[0]), text)
    return _SPELLED.sub(lambda run: run[1] + re.sub(r"[ .]", "-", run[2]), text)


def _emphasis(tag: re.Match[str]) -> str:
    """Asterisks in the place of a tag; lines end behind one that is not for words within a line."""
    return ("\n" if tag[1] and tag[2] not in _INLINE else "*") * len(tag[0])


def _last_opening(text: str, at: int) -> int:
    """The end of the last opening, where one that ends at `at` is said again and again."""
    while (before := _AGAIN.match(text, at)) and (again := _OPENING.match(text, before.end())):
        at = again.end()
    return at


def _sentence_start(text: str, at: int) -> int | None:
    """Where the sentence starts that position `at` opens, interjections allowed before it; None if `at` is inside a sentence."""
    while True:
        head = at
        while head and not text[head - 1].isalnum():
            head -= 1
        gap = text[head:at]
        if not head or _BOUNDARY.search(gap):
            return at
        before = text[max(0, head - 40) : head]
        if ":" in gap and _LABEL.search(before):
            return at
        interjection = _INTERJECTION.search(before)
        if not interjection:
            return None
        at = head - (len(before) - interjection.start())


def _sentences(text: str, at: int) -> Iterator[tuple[str, int]]:
    """The sentences from position `at` on, each with its end. Ellipses end no sentence."""
    for match in re.finditer(r"(?:[^.!?\n]|\.{2,})+", text[at:]):
        end = at + match.end()
        yield match[0], end + (text[end : end + 1] in (".", "!", "?"))


def _guess(text: str, at: int) -> tuple[str | None, int]:
    """The word that is named after the opening, which ends at `at`, and the end of the naming sentence."""
    bare_allowed = True
    tail = text[at : at + 1] not in (".", "!", "?", "\n")
    for sentence, end in list(_sentences(text[: at + _REACH], at))[:_LAST_SENTENCES]:
        is_tail, tail = tail, False
        if is_tail and _ASIDE.match(sentence):
            continue
        named = _named(sentence, is_tail, bare_allowed and not (is_tail and _RELATIVE.match(sentence)))
        if named is not None:
            return named or None, end
        if _content(sentence):
            bare_allowed = is_tail
    return None, at


def _named(sentence: str, is_tail: bool, bare_allowed: bool) -> str | None:
    """The word that a sentence names; "" if it names two, or a negated one; None if it does not name."""
    plain = re.sub(r"\s+", " ", re.sub(r"[*_~]+", "", sentence))
    connector = (_TAIL_CONNECTOR.match(plain) if is_tail else None) or _CONNECTOR.search(plain)
    quotes = [match for match in _QUOTED.finditer(sentence) if _WORD.search(_inside(match))]
    if not quotes and (connector or bare_allowed):
        quotes = [match for match in _EMPHASIS.finditer(sentence) if len(_content(_inside(match))) == 1]
        quotes = quotes if len(quotes) == 1 else []
    if quotes:
        before, after = sentence[: quotes[0].start()], sentence[quotes[-1].end() :]
        return _one_of([_inside(match) for match in quotes], before, after)
    if connector:
        return _after_connector(plain, *connector.span())
    content = _content(plain)
    if bare_allowed and len(content) == 1:
        return _one_word(plain)
    listed = len(content) == 2 and _LISTED.search(plain)
    return "" if bare_allowed and listed else None


def _after_connector(sentence: str, start: int, end: int) -> str | None:
    """What a sentence names whose connector ("it is") is [start, end); None if nothing follows it."""
    if _NEGATION.search(_STOCK.sub(" ", sentence[start:end])) or _DOUBT.search(sentence[:start]):
        return ""
    said = sentence[end:]
    while (again := _CONNECTOR.search(said)) and not _WORD.search(_STOCK.sub(" ", said[: again.start()])):
        if _NEGATION.search(again[0]):
            return ""
        said = said[again.end() :]
    return _one_word(said) if _WORD.search(said) else None


def _inside(match: re.Match[str]) -> str:
    """What stands between the quotes."""
    return str(match[match.lastindex or 0])


def _content(piece: str) -> list[str]:
    """The words of a piece that could be named: no articles, adverbs, interjections, stock phrases."""
    found = _WORD.findall(_STOCK.sub(" ", piece))
    return [word for word in found if word not in _SKIP and not _INTERJECTION.fullmatch(word)]


def _one_of(quotes: list[str], before: str, after: str) -> str:
    """The word in quotes; "" if they hold several, or it is negated, or joined by one without quotes."""
    if _DOUBT.search(before) or _NEGATION.search(_STOCK.sub(" ", before)) or _rivals(after, joined=True):
        return ""
    found: set[str] = set()
    for quote in quotes:
        connector = _CONNECTOR.search(quote)
        found.add(_one_word(quote[connector.end() :] if connector else quote))
    return found.pop() if len(found) == 1 else ""


def _one_word(said: str) -> str:
    """The one word of what follows "it is"; "" if it is none, two or more, or negated."""
    said = _STOCK.sub(",", said)
    without_asides = _BRACKETED.sub(",", said)
    if _content(without_asides):
        said = without_asides
    pieces = [piece for piece in _SPLIT.split(said) if _WORD.search(piece)]
    while len(pieces) > 1 and not _content(pieces[0]) and not _NEGATION.search(pieces[0]):
        pieces.pop(0)
    if not pieces:
        return ""
    named = _WORD.findall(pieces[0])
    while len(named) > 1 and named[0] in _SKIP and not _NEGATION.fullmatch(named[0]):
        named.pop(0)
    named = named[: next((i for i, word in enumerate(named) if i and word in _CUT), len(named))]
    while len(named) > 1 and named[-1] in _SKIP:
        named.pop()
    if len(set(named)) != 1 or any(_rivals(piece, named=named[0]) for piece in pieces[1:]):
        return ""
    return str(named[0])


def _rivals(piece: str, joined: bool = False, named: str = "") -> bool:
    """Whether a later piece of the sentence names another word than `named`: "dog", "or dog"; longer talk does not."""
    piece = _STOCK.sub(" ", piece)
    words = _WORD.findall(piece)
    others = [word for word in _content(piece) if word != named]
    if words and words[0] in ("or", "nor", "and", "not") and (joined or words[0] != "and"):
        return 0 < len(others) <= 3
    return not joined and len(others) == 1 and words[0] not in ("you", "my")
