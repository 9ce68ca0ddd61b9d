"""Declarations: "I know the word!" and the one word that is named after it.

The formula declares when its speaker asserts it, whatever the lead ("Based on your hints, ...", "*smiles*
...", "Nice try, but ..."). It does not declare when it is asked, conditional, denied, doubted, hoped for,
said by others, or quoted as an example of the rules; `assertions` defines this grammar. Hedged ("I think",
"maybe") or in quotes it declares only together with a word. Talk about the word ("I know the word has to do
with music") is no declaration.

The guess is the quoted word of the declaring sentence or of one after it, else what follows "it is", "it must
be", "the word is", a colon and the like, else a sentence of a single word. Exactly one word must be named:
after a declaration with no word or with alternatives ("piano or organ", "piano, guitar") the guess is None.
Denied words ("piano, not organ") and small talk ("piano, good game!") are not named. The first sentence that
names a word decides, and later sentences cannot correct it; a mere remark ("That was easy!") names a word
only if no other sentence does.

Works on folded text (see `normalise`), so case, quotes of all kinds and look-alike letters are already
handled. Markup counts as emphasis: Markdown's, paired tags, LaTeX's \\boxed; a spelled word (c a t) is one
word.
"""

from dataclasses import dataclass

from .normalise import fold


@dataclass(frozen=True)
class Declaration:
    """Characters [start, end) of the raw text, from the formula to the end of the sentence that names the
    guess.

    guess: the folded word that is named; None for none, for several, and for a denied one.
    """

    start: int
    end: int
    guess: str | None


def declaration(text: str) -> Declaration | None:
    """The first declaration in `text`, or None if there is none."""
    folded = fold(text)
    if "know" not in folded.text or "word" not in folded.text:
        return None

    from .openings import first_declared  # a grammar of large expressions, which take time to compile and are seldom needed

    declared = first_declared(folded.text)
    if declared is None:
        return None
    start, end, guess = declared
    return Declaration(*folded.raw_span(start, end), guess or None)
