"""Whether a speaker asserts the formula "I know the word", or merely talks about it.

The formula stands between its lead (the words of the sentence before it) and its tail (the words after it).
Any lead leaves it asserted, except these, which cancel it:

- a question: "Do I know the word?", "I know the word?";
- a condition: "If it has keys, I know the word", "I know the word when I hear it"; but not "if I am not
  mistaken";
- a denial, a doubt, a wish: "I don't think I know the word", "I know the word, but I am not sure", "I hope I
  know the word soon";
- reported speech of others: "You think I know the word";
- an order or an example of the rules: "Say: I know the word", "The rule is: I know the word! It is X";
- a quotation that is cited: '"I know the word" is what you say'.

Stage directions, speakers' labels, JSON keys, tags and template tokens are not part of the sentence. A clause
reaches back to the nearest comma, colon or conjunction; a condition reaches across commas and ends at "but".
All texts are folded (see `normalise`).
"""

import re


def either(*phrases: str) -> str:
    """A regular expression that matches any of the phrases as whole words. phrases: comma-separated lists of
    expressions."""
    return rf"(?<![^\W_])(?:{'|'.join(', '.join(phrases).split(', '))})(?![^\W_])"


_WINDOW = 400
"""How many characters before a formula are read."""
_BOUNDARY = re.compile(r"[.!?;\n|\u2013\u2014]|\s-+\s")
_KEY = re.compile(r"[\"'][^\"'\n]*[\"']\s*:|\w+(?:\s*=|\()\s*$")
_ABBREVIATED = re.compile(r"(?<![^\W_])([ei])\.([ge])\.")
_ASIDE = re.compile(
    r"<[^<>\n]*>|\[[^\[\]\n]*\]|\([^()\n]*\)"
    r"|(?<!\*)\*+(?=[^*\s])[^*\n]+\*+|(?<![^\W_])_+(?=[^_\s])[^_\n]+_+(?![^\W_])"
)
"""Stage directions, labels in brackets, tags and template tokens."""
_OPEN_QUOTE = re.compile(r"(?<![^\W_])['`]+(?:(?=[^\W_*])(?:(?!['`](?![^\W_])).)*)?$")
_CONJUNCTION = re.compile(either("and, so, because, since, as, now, then, therefore, thus, hence, that's how, this is how"))
_BUT = re.compile(either("but, however, (?<!not )(?<!n't )yet"))

_SET_PHRASE = re.compile(
    either(
        "even (?:if|though)[^,]*(?=,), (?:see|check) if [^,:]+(?=[,:])",
        "(?:if|unless) (?:i'm|i am) (?:(?:not|very|much|badly|completely|totally) )*(?:wrong|mistaken)",
        "if (?:i'm|i am) (?:right|correct), if (?:i|you) ha(?:d|ve) to \\w+(?: it)?",
        "if (?:i|you) (?:may|might|ask me|insist|must know|don't mind|like)",
        "(?:if|unless) (?:i|my \\w+)(?: \\w+(?:'t)?){0,2} (?:fail|recall|remember|understand|understood"
        "|follow|followed|read|hear|heard|see|saw|get|got|missed|misread|misheard|deceives?|fails?|tricks?|betrays?)(?![^\\W_])[^,]*",
        "if (?:i'm|i am) (?:being|reading|hearing|following|understanding|remembering|honest|frank)[^,:]*",
        "if you(?:'ll| will)? (?:allow|excuse|forgive|permit|pardon|please)[^,:]*, if nothing else, if there(?:'s| is) [^,:]*",
        "in case (?:it|that|you|this) (?:were|was|weren't|wasn't|hadn't|haven't|didn't)[^,:]*",
        "if memory serves(?: me)?(?: right)?, if anything",
        "say what you (?:will|want|like), (?:at|for) once, so to (?:say|speak)",
        "(?:sad|strange|needless|that is|suffice it|suffice) to say",
        "if (?:that's|that is|this is|it's|it is) (?:so|the case|true|right|all)",
        "if (?:my|the) (?:guess|hunch|reasoning|instincts?|intuition|logic|memory) (?:is|are|serves?|holds?)[^,]*",
        "(?:there is |there's |i have |have )?no (?:doubt|question)(?: about it)?, not only, no wonder",
        "no longer, doubtless, undoubtedly",
        "(?:without|beyond) (?:a|any|further|more|the) (?:\\w+ ){0,3}(?:doubt|ado|delay|hints?|clues?)",
        "once and for all, why not",
        "(?:can't|cannot|can not|couldn't|could not) (?:believe|wait|help|be (?:more|happier|surer))(?: it| any longer| but| to [^,]*)?",
        "whether [^,]* or not",
        "no need for (?:more|further|another|any more) (?:hints?|clues?)",
        "when you put it (?:that way|like that), if it pleases you",
    )
)
"""Phrases that look like conditions or denials but are none."""
_CONDITION = re.compile(
    either(
        "if, unless, whether, suppose, supposing, assuming, imagine, imagining, pretend, provided",
        "in case, lest, wish(?! to), pretending",
        "as though",
    )
)
_INVERTED = re.compile(
    either(
        "do, does, did, don't, didn't, should, shall, would, will, could, can, may, might, must, am",
        "had, shouldn't",
        "wouldn't, have",
    )
    + r"(?: (?:now|already|really|then|ever))?\W*$"
)
_INTERROGATIVE = re.compile(
    r"^\W*(?:so |and |but |wait |well )?"
    + either("do, does, did, should, would, will, could, can, are, is, was, have, has, how, why, who, when")
)
_NOT_YET = re.compile(
    either(
        "when, whenever, once, until, till, before, after, as soon as, as long as, by the time, while",
        "where, not that, let's (?:say|assume), let us (?:say|assume)",
        "(?:the|every|each|any|next) (?:moment|instant|minute|day|second|time)",
    )
    + r"(?: (?:that|finally|really))?[^\w,:]*$|^\W*because\W*$"
)
"""Words right before the formula that make it the time or the reason of something else."""
_DENIAL = re.compile(
    r"n't(?![^\W_])|"
    + either(
        "not, never, no, nor, neither, nobody, nothing, hardly, barely, scarcely, cannot, without, hope, hoped",
        "hoping, hopes, wished, wishes, wonder",
        "wondering, doubt, doubted, doubtful, deny, fear, dream, unsure, uncertain, unlikely",
        "impossible, false, untrue, far from, refuse",
        "acting like, act like, so that, make sure, be sure, able to say, too (?:early|soon|hasty|risky)",
    )
)
_SAY = (
    r"(?:say|saying|claim|claiming|declare|declaring|announce|announcing|state|answer|reply|respond|shout|exclaim"
    r"|whisper|repeat|utter|type|write|writing|use"
    r"|using|yell|call out|tell me|tell them|begin|start|speak|proclaim)"
)
_SAYS = (
    r"(?:says|said|saying|thinks|thought|believes|believed|claims|claimed|assumes|assumed|supposes"
    r"|suspects|hears|heard|hopes|expects|insists"
    r"|insisted|swears|declares|declared|announces|announced|shouts|shouted|exclaims|exclaimed|replies"
    r"|replied|states|stated|writes|wrote|types"
    r"|argues|wants|wishes|whispers|told|tells|asks|asked|repeats|convinced|uses|utters|yells|sure"
    r"|certain|concludes|imagines)"
)
_DO_SAY = (
    r"(?:say|think|believe|claim|assume|suppose|suspect|hear|hope|expect|insist|swear|declare|announce"
    r"|shout|exclaim|answer|reply|respond|state"
    r"|write|type|guess|argue|want|wish|whisper|tell|ask|repeat|use|utter|yell|conclude|imagine|mean"
    r"|hoping|thinking|assuming|claiming|suggesting|implying|hinting|saying|insisting|pretending)"
)
_FILLER = (
    r"(?: (?:with|that|this|it|out|loud|loudly|clearly|exactly|something|like|to|me|him|her|us|them|you"
    r"|by|the"
    r"|words|word|phrase|sentence|formula|magic))*"
)
_OTHERS = re.compile(
    r"(?<![^\W_])(?:(?:you|you're|you'd|you'll|you've|he|she|they|he'd|she'd|they'd|they'll|it|one|who|whoever|people|every(?:one"
    r"|body)|some(?:one|body)|any(?:one|body)"
    rf"|players|defenders|attackers)(?: \w+(?:'\w+)?){{0,4}} (?:{_SAYS}|{_DO_SAY})|(?:(?:the|my|your|a"
    rf"|an|another|any|each|some|most|other|both)"
    rf" \w+(?: \w)?|player(?: \w)?|defender|attacker|guesser)(?: \w+(?:'\w+)?){{0,3}} {_SAYS}){_FILLER}\W*$"
)
"""Subjects and verbs by which others say, think or want it."""
_IN_PASSING = re.compile(
    r"^\W*(?:as|like|from|after|since|with|given|based|because|when|now|what|considering|by|judging"
    r"|going|following|thanks)(?![^\W_])"
)
"""Openings that mention others' words without reporting them: "Based on what you said, ..."."""
_RUMOUR = re.compile(
    r"(?<![^\W_])(?:(?:rumou?r|legend|word|gossip) (?:has it|is)|it(?:'s| is| was) (?:said|rumou?red|claimed|believed|thought|reported))"
    r"(?: that)?\W*$"
)
"""Reports without a speaker: "Rumour has it that ..."."""
_MY_HINT = re.compile(
    r"(?:something|gut|feeling|instincts?|intuition|hints?|clues?|brain|logic|heart|mind|reasoning"
    r"|experience|which|evidence) (?:\w+ )?(?:tells? me|says?|makes? me (?:think|believe|sure|certain))"
    r"(?: that)?\W*$"
)
_ORDER = re.compile(
    rf"^\W*(?:(?:please|just|then|always|only|simply|or|first|to win|remember to|remember"
    rf"|don't forget to|must|should|can|also|next time)\W+)*{_SAY}{_FILLER}\W*$"
    rf"|(?<![^\W_])(?:to|by|before|without|must|should|can) {_SAY}{_FILLER}\W*$"
)
_OWN = re.compile(
    either(
        "i, i'm, i'd, i'll, i've, me, my, let's, time, ready, happy, glad, proud, pleased, excited",
        "safe, fair, pleasure",
        "we",
    )
)
_RULES = r"(?:format|formula|phrase|sentence|example|rules?|template|wording|syntax|statement|words|line|password)"
_BARGAIN = re.compile(
    r"^\W*(?:\w+ )?(?:please |just |only )*(?:give|tell|show|offer|grant|lend|one more|one last|one final|another|a few more"
    r"|a little more|a bit more)(?![^\W_])[^:]*?(?:,? (?:and|so))(?: then| that)?(?: maybe| perhaps)?\W*$"
)
"""Orders or wishes that the formula would follow: "One more clue and I know the word"."""
_EXAMPLE = re.compile(
    rf"(?<![^\W_]){_RULES}(?: \w+){{0,4}} (?:is|are|was|be|goes|reads|like)(?: this| simply| just)?\W*$"
    rf"|^\W*(?:for |an |the |as an? |one |winning |required |correct )*(?:{_RULES}(?: declaration"
    rf"| guess| reminder)?|instance|eg"
    rf"|reminder)\W*$"
    r"|(?<![^\W_])(?:looks? (?:something )?like this|such as|as in|eg|called|namely|for example|for instance)\W*$"
)
_CITED = re.compile(
    r"^[\"'`*_.!?\s]*(?:[\u2013\u2014,-]+\s*)?(?:(?:that|this|which)(?: \w+)? )?(?:is|are|was|would be"
    r"|means|when|whenever|once|if|only|to|you"
    r"|as soon as|before|after|works?|will|ends?|wins?|must|should|has to|have to|counts?|and|or"
    r"|in order|at|correctly|but|until|now)(?![^\W_])"
    r"(?! my(?![^\W_]))"
)
"""How a sentence continues after a quotation that it cites."""
_WEAK = re.compile(
    either(
        "maybe, perhaps, possibly, probably, presumably, apparently, (?:think|believe|guess|suppose|reckon|feel|suspect|assume"
        "|imagine)(?: like| that)*"
    )
    + r"\W*$|(?:tempted to say|a (?:\w+ )?(?:chance|possibility))(?: that)?\W*$"
    r"|(?:seems?|looks?|sounds?|feels?|appears?)(?: to me)?(?: like| as if| as though| that)?\W*$"
)

_MAYBE = re.compile(r"\W*(?:maybe|perhaps|possibly|probably)(?![^\W_])")

_HINGE = re.compile(
    r"^[\s,:*_\"'`(\u2013\u2014-]*(?:but |and )?(?:only |just |even )?"
    + either("if, unless, when, whenever, once, until, till, as soon as, as long as, in case, provided, assuming")
)
_DOUBT = re.compile(
    r"(?:not|n't) (?:\w+ )?(?:sure|certain|confident|positive|convinced)(?! i(?:'ll| will| can| should"
    r"| want))"
    r"|"
    + either(
        "unsure, uncertain, unconvinced, have (?:my|some|a few) doubts?, (?:could|may|might) be "
        "(?:wrong|mistaken), or do i, or not, or maybe not, i hope"
    )
)
_RETRACTED = re.compile(
    either(
        "or (?:do|don't) i, or maybe (?:not|i don't)",
        "(?:that|it|this)(?: would|'d) be (?:an? )?(?:lie|lying|untrue|premature|rash|reckless|dishonest|exaggeration|bluff|bluffing"
        "|too \\w+)",
    )
)
_TAKEN_BACK = re.compile(r"(?<![^\W_])but(?![^\W_]) *(?:which|what|how|i|can|could|let|give|tell|maybe|perhaps)(?![^\W_])")
_TAG = re.compile(
    r"^[\s,:\u2013\u2014-]*(?:(?:right|correct|huh|eh|yes|no|okay|ok|you (?:say|think|mean|ask)|don't i"
    r"|do i|is that \w+|really|already|now"
    r"|yet|by|or|not|is it|isn't it|am i|seriously|me|how|why|what|who says)[\W_]*)*$"
)
_ABOUT = re.compile(
    r"(?:\s+(?:that )?(?:you|we)(?:'re| are|'ve)? \w+(?: in mind| of| about| at"
    r"| for)?)?\s+(?:(?:probably|likely|also|really|actually|only|just|usually|often|always|definitely"
    r"|clearly"
    r"|never|somehow) )*"
    r"(?:of the (?:day|week|month|year)|(?:has|have)(?! (?:got )?to be)|had|relates?|refers?|means?|meant|sounds?|starts?|begins?|ends?"
    r"|rhymes?|contains?|describes?|comes?|belongs?"
    r"|involves?|looks?|seems?|appears?|stands?|(?:does|did)(?:n't)?|deals?|fits?|applies|goes|makes?"
    r"|made|gets?|exists?|concerns?|denotes?|names?"
    r"|represents?|consists?|includes?|matters?|lies|feels?|evades|escapes|eludes|(?:isn|wasn|can|won"
    r"|couldn|shouldn|wouldn|mustn)'t|cannot"
    r"|(?:is|was|must be|should be) (?:not|related|connected|about|part|in|on|from|used|made|associated"
    r"|somewhere|something|some)"
    r"|(?:can|could|may|might|will|would|should|must)(?! (?:\w+ )?be (?:an? "
    r"|the )?['\"`*]*\w+['\"`*]*\W*$))(?![^\W_])"
)
"""Tails that say something about the word: "I know the word has to do with music"."""
_MENTIONED = re.compile(
    r"\s*[\"'`*]+[^\"'`*\n]+[\"'`*]+ (?:(?:that )?(?:you|we) \w+ )?(?:has|have|had|means?|refers?|relates?|plays|isn't|doesn't"
    r"|is (?:not|related|relevant|important|connected|about|part|in|involved))(?![^\W_])"
)
"""Tails that say something about a word that they quote: 'I know the word "keys" you used has two meanings'.
"""
_TRAITS = frozenset(
    "short long secret hidden easy hard tricky difficult simple common rare noun verb adjective adverb "
    "plural "
    "singular familiar close near here there unusual abstract concrete tough obvious clear mystery "
    "anything everything important relevant".split()
)
"""Properties of a word apart from its meaning: "I know the word is short" names no word."""
_QUOTES = re.compile(r"[\"'`*]")
_COPULA = re.compile(r"[^,:;()]{0,40}(?<![^\W_])(?:is|was|be)(?![^\W_])")


_THEN = re.compile(r"(?:\s+(?:now|then))+\W*$")
_SAID = re.compile(r"[^\W_]")
_HEADINGS = ("say,", "answer:", "reply:", "state:", "response:", "speak:", "utter:")
"""Verbs of speech that a comma or a colon turns into an interjection or a label."""
_INTERJECTED = re.compile(either("oh, ah, aha, well, ok, okay, yes, so, and, then, now, hmm"))


def lead_of(text: str, at: int) -> tuple[str, str, str]:
    """(words before position `at` in its sentence, mark of the quotation that is open there or "", words
    before that quotation in its sentence)."""
    before = text[max(0, at - _WINDOW) : at]
    line = before[before.rfind("\n") + 1 :]
    opened = line.rfind('"') if line.count('"') % 2 else -1
    if opened < 0 and (quote := _OPEN_QUOTE.search(line)):
        opened = quote.start()
    if opened < 0:
        return _sentence_end(before), "", ""
    outside = before[: len(before) - len(line) + opened]
    return _sentence_end(line[opened + 1 :]), line[opened], _sentence_end(outside)


def _sentence_end(text: str) -> str:
    """The part of a text that belongs to the sentence open at its end, without asides."""
    return _BOUNDARY.split(_ASIDE.sub(_without, _ABBREVIATED.sub(r"\1\2", _KEY.split(text)[-1])))[-1]


def _without(aside: re.Match[str]) -> str:
    """Blanks in place of an aside, but an emphasised word that decides ("*if*") is kept."""
    inside = aside[0].strip("*_ ")
    decides = _CONDITION.fullmatch(inside) or (" " not in inside and _DENIAL.search(inside))
    return f" {inside} " if decides else " "


def is_cancelled_by_lead(lead: str, asks: bool, cites: bool = False) -> bool:
    """Whether the lead cancels the assertion. asks: the sentence ends with a question mark. cites: the lead
    is followed by a quotation instead of the formula itself."""
    lead = _SET_PHRASE.sub(" ", lead)
    if asks and _INTERROGATIVE.search(lead):
        return True
    lead = _BUT.split(lead)[-1].rstrip(" *_\"'`")
    if any(cancels.search(lead) for cancels in (_CONDITION, _NOT_YET, _INVERTED, _BARGAIN)):
        return True
    apart = lead.endswith((",", ":"))
    phrase = next((piece for piece in reversed(re.split("[,:]", lead)) if _SAID.search(piece)), "")
    clause = _CONJUNCTION.split(_THEN.sub("", phrase))[-1]
    if not apart and clause.strip() not in ("no", "nope") and _DENIAL.search(clause):
        return True
    if (apart or cites) and _EXAMPLE.search(clause.rstrip(":, ")) and not _OWN.search(phrase):
        return True
    if _ORDER.search(clause) and not (_OWN.search(phrase) or lead.strip(" *_") in _HEADINGS):
        return True
    if cites and not apart and clause.strip() and not _OWN.search(phrase):
        return not _INTERJECTED.fullmatch(clause.strip())
    passing = lead.endswith(",") and not cites and _IN_PASSING.search(lead)
    if _RUMOUR.search(clause) and not apart:
        return True
    return bool(_OTHERS.search(clause) and not _MY_HINT.search(clause) and not passing)


def is_weak(lead: str) -> bool:
    """Whether the lead hedges: "maybe", "it seems to me that"."""
    return _WEAK.search(lead) is not None or _MAYBE.match(_BUT.split(lead)[-1]) is not None


def is_cancelled_by_tail(tail: str, asks: bool, named: str | None) -> bool:
    """Whether the tail cancels the assertion. named: the word that the tail names, "" for several, None for
    none."""
    if _HINGE.search(_SET_PHRASE.sub(" ", tail)) or _RETRACTED.search(tail) or _ABOUT.match(tail) or _MENTIONED.match(tail):
        return True
    several = named == "" and " or " not in tail
    if _COPULA.match(tail) and (_TAKEN_BACK.search(tail) or several or (named in _TRAITS and not _QUOTES.search(tail))):
        return True
    return not named and bool(_DOUBT.search(tail) or (asks and _TAG.match(tail)))


def is_cited(behind: str) -> bool:
    """Whether the sentence goes on about the quotation that ends before `behind`."""
    return _CITED.match(behind) is not None
