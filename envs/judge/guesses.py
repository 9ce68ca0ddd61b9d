"""The word that is named after "I know the word": the guess of a declaration.

A sentence names a word by quoting it, else by "it is", "it must be", "the word is", a colon and the like,
else by being a single word. Denied words are not named ("piano, not organ" names piano), and neither are
small talk, asides, stage directions and emoticons beside the name. Alternatives ("piano or organ", "piano,
guitar") name several. All texts are folded (see `normalise`).
"""

import re
from collections.abc import Iterator

from ..words.parts_of_speech import PARTS, words_of
from .assertions import either
from .normalise import LETTER
from .word_forms import forms

INTERJECTIONS = either(
    "a+h+, a+ha+, a-ha, o+h+, ooh+, wow, hey, hm+, mm+, um+, uh+, huh, er+m*, ha(?:ha)*, gee, gosh, yay",
    "ok, okay, well, very well, yes, yeah, yep, yup, ya, sure, of course, right, all right, alright",
    "now, so, and, but, then, in that case, finally, bingo, eureka, great, good, nice, cool, perfect",
    "hooray, hurray, excellent, wonderful, wait, no wait, stop, enough, listen, look, please, hello, hi",
    "thanks, thank you, clearly, obviously, certainly, honestly, actually, got it, i got it, i've got it",
    "done, indeed, i see, good hint, nice hint, guess what, you know what",
)
_INTERJECTION = re.compile(INTERJECTIONS)

_QUOTED = re.compile(r"\"([^\"]+)\"|`+([^`]+)`+|(?<![^\W_])'((?:[^']|(?<=[^\W_])'(?=[^\W_]))+)'(?![^\W_])")
_EMPHASIS = re.compile(r"\*+([^*]+)\*+|(?<![^\W_])_+([^_]+)_+(?![^\W_])")
_BE = (
    r"(?:(?:is|was)(?: (?:only|surely|probably|likely))*(?: be)?|(?:will|must|has to|have to|has got to"
    r"|should|would|could|can|might|may|ought to)"
    r"(?: (?:only|surely|probably|likely))* be|ain't)"
)
_IT = r"(?:it|this|that)"
_THE_WORD = (
    r"(?:what you\b[^,:]{0,40}?"
    r"|(?:the|your|my)\b[^,:]{0,40}?\b(?:word|answer|guess|secret|target)\b[^,:]{0,40}?)"
)
_CONNECTOR = re.compile(
    rf"(?<![^\W_'])(?:{_IT}(?:'s|'ll be|'d be)|its(?![^.]*\b(?:is|are|was|has)\b)"
    rf"|(?:{_IT}|{_THE_WORD})(?: (?:really|surely|simply|definitely))? {_BE}"
    rf"|(?:is|was|(?:will|must|should|would|could|can|might|may)(?= {_IT} be)) {_IT}(?: be)?|(?:word"
    rf"|answer|guess|i (?:say|guess|choose|pick)) ?:|you (?:mean|meant)(?! to| that| well))(?![^\W_])"
)
"""Connectors before a guess: it is, it must be, the word is, a colon, and the like; also "is it"."""
_INVERTED = re.compile(rf"(?:is|was|will|must|should|would|could|can|might|may) {_IT}")
_TAIL_CONNECTOR = re.compile(
    rf"[\s*_`\"']*(?:, ?(?:which|(?:and )?(?:that|the|this)) )?(?:[^,:;()]{{0,40}}? )??{_BE}(?![^\W_])|[^,:;()]{{0,40}}:"
)
"""Connectors within the sentence of the formula: "I know the word you mean is cat"."""
_REASON = re.compile(r"\s*,?\s*" + either("because, since, as, thanks, from, when, if, although, though, after, (?:that|which) (?:is|was)"))
_WHICH_IS = re.compile(r"\s*,?\s*(?:that|which) (?:is|was)(?![^\W_])")
"""What names the guess if no later sentence does: "I know the word, which is piano"."""
_AFTER_REASON = re.compile(rf"(?:[:;\u2013\u2014]|\s-+\s|,(?=\s*(?:and |so )?(?:{_IT}|the|my)\b))(.*)", re.DOTALL)
_RELATIVE = re.compile(r"\s*,?\s*(?:but|and|so|though|yet|you|you're|that|which|we|for|of|to|in|on|behind)\b")
"""Clauses about the word that name it only with a connector: "the word you mean"."""

_ONLY = re.compile(
    either(
        "isn't it, isn't that right, is it not, am i not right, aren't i, no doubt about it, no doubt",
        "without (?:a|any) doubt, no question",
        "(?:weren|aren|didn|don|can|won|haven|wasn)'t (?:you|it|i), why not",
        "if (?:i'm|i am) not (?:wrong|mistaken), not only, (?:no|none|nothing) other than",
        "nothing (?:else )?but, nothing else than",
        "(?:can't|cannot|can not) be (?:anything|something) (?:but|else than|other than)(?= )",
    )
)
"""Phrases that look like denials but are none."""
_DENIED = re.compile(
    r"(?:(?:(?<![^\W_])(?:and|but|so|or|definitely|certainly) )?(?<![\"'`])(?<![^\W_])(?:not|never"
    r"|cannot|hardly|neither|nor|no|rather than"
    r"|instead of|as opposed to|unlike)(?![^\W_\"'`])|(?:(?<=, )\w+ )?\w*n't(?![^\W_]))"
    r"(?: (?:really |even )?(?:think|believe|say|suppose|guess|bet|mean)(?![^\W_])[^,;:()\u2013\u2014]*"
    r"|[^,;:()\u2013\u2014]*?(?=[,;:()\u2013\u2014]|\s-+\s| but | (?:it|that|this)(?:'s| is| must)|$))"
    r"|(?<![^\W_])i doubt(?![^\W_])[^,;:()\u2013\u2014]*"
)
_STOCK = re.compile(
    either(
        "isn't it, isn't that right, is it not, am i right, am i not right, aren't i, of course, for sure",
        "i'm sure, i am sure, no doubt about it, no doubt, without (?:a|any) doubt, no question, why not",
        "i (?:think|believe|guess|suppose|bet|say|hope|exclaim|shout|yell|declare|announce|whisper)",
        "(?:is|must be|has to be) (?:the|my|your) (?:\\w+ )?(?:answer|guess|solution|one)",
        "over and out, if (?:i'm|i am) not (?:wrong|mistaken), in the end",
        "it is",
        "after all, my friend, the word, hands down, i'm certain, i am certain, i'm positive",
        "i'm confident, i am confident, i'm pretty sure",
        "good game, well played, game over, case closed, got you, you see, you know, by the way",
        "at last, right there, drum ?roll, (?:only )?one thing, (?:and )?nothing (?:else|more)",
        "(?:three|four|five|six|seven|eight|nine|ten|[0-9]+) letters",
    )
    + r"|\(e?s\)|[0-9]+(?:\.[0-9]+)? ?%"
)
"""Phrases that name nothing."""
_NOISE = re.compile(
    r"<\|[^|<>\n]*\|?>|</[a-z_]+>|<(?:s|eos|bos|pad|unk|0x[0-9a-f]{2}|end|eot|br|(?:end|start)_of_turn)/?>|\[/?inst\]"
    r"|(?<=\s)[:;=][-']?[a-z0-9)(\[\]*/\\|]{1,2}(?![^\W_])|<3|\\o/|(?<=\s)x+d+(?![^\W_])|\^_+\^"
)
"""Template tokens, stray tags, emoticons."""
_STAGED = re.compile(r"\*+(?:\w+(?:s|ing|ly)|drum\w*|dramatic|pause|beat|wink|grin|smile|nod)(?![^\W_])[^*\n]*\*+")
_SPLIT = re.compile(r"[,;:()\[\]\u2013\u2014|]|\s-+\s|\.{2,}")
_BRACKETED = re.compile(r"\((?!\s*(?:or|and|nor|not)\b)[^()]*\)|\[(?!\s*(?:or|and|nor|not)\b)[^\[\]]*\]")
_LISTED = re.compile(either("or, and, not") + "|[/&]")
_WORD = re.compile(rf"{LETTER}+(?:['-]{LETTER}+)*[+#]*")
_CALLED = re.compile(r".*(?<![^\W_])(?:called|known as|named)(?![^\W_])(?=.*[^\W_])")
_CUT = frozenset(
    "because since as for given based from with if which that who where when while due considering "
    "thanks isn't is was right but you we all "
    "i'm he she they it's you're".split()
)
"""Words that end the naming phrase: "cat because it purrs"."""
_REASONS = frozenset("because since given based considering judging thanks due owing which who whose".split())
"""Words that begin a reason, or say more about the name."""
_CLAUSE = frozenset(
    "i you it we he she they i'm it's you're am is are was were have has had do did "
    "that that's let's lets love like for with of in at from by".split()
)
"""Words by which a clause ("and I love it") differs from a name ("and the organ")."""
_TALK = frozenset(
    "lol lmao rofl hehe haha hihi xd gg ggwp wp yay woo woohoo woot w00t bro bruh dude fam yo duh imo "
    "imho tbh ngl fr ez easy simple obvious "
    "elementary checkmate victory gotcha boom bam bravo congrats congratulations cheers thx ty friend "
    "friends buddy pal mate genius champ "
    "champion boss master sir madam baby period final finally naturally indeed absolutely totally "
    "completely clearly hooray hurrah huzzah "
    "tada ta-da voila game over winner winning i-win done solved nailed amazing awesome brilliant "
    "opponent attacker defender guys team "
    "ladies gentlemen folks everyone baby yeah yep yup nope sorry oops whew phew wink smile grin nice "
    "luck again anyway though always "
    "forever yum yummy peasy duh yikes amigo sensei m'lady spelled spelt confirmed locked signed meow "
    "literally 100 percent guaranteed certain positive confident exactly precisely correct bye "
    "goodbye haha lmfao kek rip there goodness letters "
    "a-k-a aka i-e".split()
)
"""Words of small talk beside a name."""
_SKIP = frozenset(
    "a an the some your my this that definitely certainly surely probably possibly maybe perhaps obviously "
    "clearly simply just really indeed likely undoubtedly actually only exactly finally now then of course "
    "i you think believe guess say suppose am got sure word called named none other than either thing right "
    "correct yes yeah yep please thanks thank friend attacker opponent everyone folks buddy mate sir haha so "
    "oh ah aha well hmm ok okay or and no not bingo eureka great it is must be to me hey wow here we go done "
    "gotcha most gotta got going go with thinking i'm i'd i'll dear win were are already you're you've "
    "talking about referring describing but "
    "absolutely totally 100 lol".split()
)
"""Words around a guess that are guesses only if nothing else is named."""
_REMARKS = frozenset(
    "easy hard tricky tough clever obvious clear simple fun great good nice smart brilliant amazing "
    "interesting challenging difficult helpful "
    "perfect awesome wonderful funny sneaky cool close one hint clue hints clues game try question "
    "pleasure honor fair genius subtle "
    "enough time over crystal very so too quite rather such all bit little long last helpful revealing "
    "giveaway it this makes sense".split()
)
"""Words of remarks: "That was a good hint"."""
_LAST_SENTENCES = 8
"""How many sentences after the formula may name the guess."""
_REACH = 2000
"""How many characters after the formula are read."""


def named_word(text: str, at: int) -> tuple[str | None, int]:
    """(the word named after a formula that ends at `at`, "" for several, None for none; the end of the naming
    sentence)."""
    bare_allowed, remark = True, None
    tail = text[at : at + 1] not in (".", "!", "?", "\n")
    for sentence, end in list(_sentences(text[: at + _REACH], at))[:_LAST_SENTENCES]:
        is_tail, tail = tail, False
        if is_tail and _REASON.match(sentence):
            behind = _AFTER_REASON.search(sentence)
            if not behind:
                said_of_it = _WHICH_IS.match(sentence)
                if said_of_it and (word := _one_word(sentence[said_of_it.end() :])):
                    remark = (word, end)
                continue
            sentence = behind[1]
        named = _named(sentence, is_tail, bare_allowed and not (is_tail and _RELATIVE.match(sentence)))
        if named is not None and _is_remark(sentence):
            remark = remark or (named, end)
        elif named is not None:
            return named, end
        if content(sentence):
            bare_allowed = is_tail
    return remark or (None, at)


def named_in_tail(tail: str) -> str | None:
    """The word named by the rest of the formula's own sentence, as in `named_word`."""
    return _named(tail, True, not _RELATIVE.match(tail)) if not _REASON.match(tail) else None


def _sentences(text: str, at: int) -> Iterator[tuple[str, int]]:
    """The sentences from position `at` on, each with its end. An ellipsis does not end a sentence."""
    for match in re.finditer(r"(?:[^.!?\n]|\.{2,})+", text[at:]):
        end = at + match.end()
        yield match[0], end + (text[end : end + 1] in (".", "!", "?"))


def _is_remark(sentence: str, connected: bool = False) -> bool:
    """Whether a sentence is only a remark: "That was easy!". connected: the sentence is what follows its
    connector."""
    if connected:
        return (_REMARKS | _SKIP).issuperset(_WORD.findall(_STOCK.sub(" ", sentence)))
    connector = _CONNECTOR.search(sentence)
    words = _WORD.findall(sentence[connector.end() :]) if connector else ()
    return bool(words) and not _QUOTED.search(sentence) and all(word in _REMARKS | _SKIP for word in words)


def _named(sentence: str, is_tail: bool, bare_allowed: bool) -> str | None:
    """The word that a sentence names; "" if it names several; None if it does not name."""
    sentence = _NOISE.sub(" ", sentence)
    without_stage = _STAGED.sub(" ", sentence)
    if content(without_stage):
        sentence = without_stage
    sentence = _DENIED.sub(" ", _ONLY.sub(" ", re.sub(r"\s+", " ", sentence)))
    plain = re.sub(r"\s+", " ", re.sub(r"[*_~]+", "", sentence))
    connector = (_TAIL_CONNECTOR.match(plain) if is_tail else None) or _CONNECTOR.search(plain)
    quotes = [match for match in _QUOTED.finditer(sentence) if _WORD.search(_inside(match))]
    if not quotes and (connector or bare_allowed):
        quotes = [match for match in _EMPHASIS.finditer(sentence) if len(content(_inside(match))) == 1]
        quotes = quotes if len(quotes) == 1 else []
    if quotes:
        return _one_of([_inside(match) for match in quotes], sentence[quotes[-1].end() :])
    if connector:
        named = _after_connector(plain, connector)
        if named is not None or plain[connector.end() :].strip(" .,!'\""):
            return named
        plain = plain[: connector.start()]  # "Cat it is!"
    if not bare_allowed:
        return None
    return _alone(plain)


def _alone(sentence: str) -> str | None:
    """What a sentence names that has no verb: its one word, also behind a pause ("Drum roll... piano") and
    before small talk."""
    pieces = [piece for piece in re.split(r"\.{2,}|:", _STOCK.sub(",", sentence)) if content(piece)]
    if len(pieces) > 1 and len(content(pieces[-1])) == 1:
        sentence = pieces[-1]
    candidates = [word for word in content(sentence) if word not in _TALK] or content(sentence)
    if len(candidates) == 1:
        return _one_word(sentence)
    return "" if len(candidates) == 2 and _LISTED.search(sentence) else None


def _after_connector(sentence: str, connector: re.Match[str]) -> str | None:
    """The word that a sentence names after its connector ("it is"); None if nothing follows, or a question
    does ("is it played")."""
    rest = sentence[connector.end() :]
    while (again := _CONNECTOR.search(rest)) and _is_remark(rest[: again.start()], connected=True):
        connector, rest = again, rest[again.end() :]
    if not _WORD.search(_STOCK.sub(" ", rest)):
        return None
    named = _one_word(rest)
    if _INVERTED.match(connector[0]) and not _LISTED.search(rest) and (not named or _is_cut(rest)):
        return None
    return named


def _is_cut(text: str) -> bool:
    return not _CUT.isdisjoint(_WORD.findall(_SPLIT.split(text)[0]))


def _inside(match: re.Match[str]) -> str:
    """The text between the quotes."""
    return str(match[match.lastindex or 0])


def content(piece: str) -> list[str]:
    """The words of a piece that could be a name: without articles, adverbs, interjections and stock
    phrases."""
    words = _WORD.findall(_STOCK.sub(" ", piece))
    return [word for word in words if word not in _SKIP and not _INTERJECTION.fullmatch(word)]


def _one_of(quotes: list[str], after: str) -> str:
    """The word in quotes; "" if they contain several, or a word without quotes is joined to it."""
    if _rivals(after, "", joined=True):
        return ""
    names: set[str] = set()
    for quote in quotes:
        connector = _CONNECTOR.search(quote)
        names.add(_one_word(quote[connector.end() :] if connector else quote))
    return names.pop() if len(names) == 1 else ""


def _one_word(text: str) -> str:
    """The single word of what follows "it is"; "" for none or several."""
    text = _STOCK.sub(",", text)
    without_asides = _BRACKETED.sub(",", text)
    if content(without_asides):
        text = without_asides
    pieces = [piece for piece in _SPLIT.split(text) if _WORD.search(piece)]
    while pieces and _TALK.issuperset(content(pieces[0])) and any(_is_name(piece) for piece in pieces[1:]):
        pieces.pop(0)
    if not pieces:
        return ""
    named = _WORD.findall(_CALLED.sub("", pieces[0]))
    while len(named) > 1 and named[0] in _SKIP:
        named.pop(0)
    named = named[: next((i for i, word in enumerate(named) if i and _ends_name(named, i)), len(named))]
    while len(named) > 1 and (named[-1] in _SKIP or (named[-1] in _TALK and not _compounds(named[-1]))):
        named.pop()
    same = bool(named) and all(_same(word, named[0]) for word in named if word not in ("or", "and", "only"))
    if not same or any(_rivals(piece, named[0]) for piece in _without_reasons(pieces)):
        return ""
    return str(named[0])


def _ends_name(named: list[str], i: int) -> bool:
    """Whether the naming phrase ends before its word number i: "cat because it purrs", "cat and I love
    it"."""
    if named[0] in ("something", "anything", "someone"):
        return False
    joins = named[i] in ("and", "or", "so")
    return named[i] in _CUT or (joins and i + 1 < len(named) and named[i + 1] in _CLAUSE)


def _rivals(piece: str, named: str, joined: bool = False) -> bool:
    """Whether a later piece of the sentence names another word than `named`: "dog", "or a dog", "dog or
    bird". Clauses, small talk and more about the name ("the instrument") do not. joined: only pieces with
    "or" or "and" count."""
    piece = _STOCK.sub(" ", piece)
    if (again := _CONNECTOR.search(piece)) and again[0] != "its":
        piece = piece[again.end() :]
    words = _WORD.findall(piece)
    if not words or any(word in _CLAUSE for word in words):
        return False
    others = [
        word
        for word in content(piece)
        if not (_same(word, named) or len(word) < 2 <= len(named)) and word.isdigit() <= named.isdigit() and word not in _TALK | _REMARKS
    ]
    if words[0] in ("or", "nor", "and", "alternatively", "else", "otherwise"):
        return 0 < len(others) <= 3 and (words[0] != "and" or joined or len(others) == 1)
    if joined or not others:
        return False
    if _LISTED.search(piece):
        return len(others) <= 3 and any(_alike(other, named) for other in others)
    apposed = words[0] in ("you", "my", "the", "a", "an", "your", "how", "what", "so", "too", "very", "all", "aka", "a-k-a")
    return len(others) == 1 and not apposed and _alike(others[0], named)


def _alike(word: str, named: str) -> bool:
    """Whether two words can be alternatives: they are the same part of speech, as far as is known."""
    first, second = ([part for part in PARTS if one in words_of(part)] for one in (word, named))
    return not first or first == (second or ["noun"])


def _without_reasons(pieces: list[str]) -> Iterator[str]:
    """The later pieces that may name a word: after a reason ("based on fur, milk and mice") only alternatives
    do."""
    reasons = False
    for piece in pieces:
        words = _WORD.findall(piece)
        reasons = reasons or not _REASONS.isdisjoint(words)
        if piece is not pieces[0] and (not reasons or words[0] == "or"):
            yield piece


def _compounds(word: str) -> bool:
    """Whether a word of small talk is a noun that forms a compound with a name before it: "video game"."""
    return word in words_of("noun")


def _same(word: str, named: str) -> bool:
    """Whether two words are the same, spelled or inflected: "piano" and "p-i-a-n-o", "color" and
    "colours"."""
    return word.replace("-", "") == named.replace("-", "") or bool(named and (named in forms(word) or word in forms(named)))


def _is_name(piece: str) -> bool:
    """Whether a piece of a sentence contains exactly one word that could be the name."""
    return len([word for word in content(piece) if word not in _TALK]) == 1
