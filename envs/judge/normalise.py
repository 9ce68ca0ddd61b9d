"""Removes disguises from an utterance: folded text, the words in it, and their positions in the raw text.

Folding works character by character: compatibility decomposition (fullwidth, circled, mathematical letters),
removal of invisible and combining characters, look-alike letters of other scripts read as Latin ones, case
folding. Vowel signs of scripts that write words with them are kept. `words` then reads the folded text: plain
words, clitics removed, hyphens and emphasis inside words closed up, words broken over a line end joined, leet
spelling read with two maps, numbers at the ends of words removed, and runs of three or more separated single
letters joined.

Knows no language beyond English clitics. Out of scope: acrostics, spelling hints ("starts with C"), reversal,
words run together, translations and rhymes.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from string import ascii_lowercase
from typing import NamedTuple


@dataclass(frozen=True)
class Folded:
    """Folded text; character i of `text` comes from characters [starts[i], ends[i]) of the raw text."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """The raw span of the folded span [start, end); of an empty one its start twice."""
        if start >= end:
            at = self.starts[start] if start < len(self.text) else (self.ends[-1] if self.text else 0)
            return at, at
        return self.starts[start], self.ends[end - 1]


class Word(NamedTuple):
    """One reading of the raw text: its characters [start, end) can be read as the folded word `text`."""

    text: str
    start: int
    end: int


_PAIRS = (
    # Cyrillic
    ("авекмнорстухѕіјԁԛԝӏһѵґүгпьԍғқңҳҫҡԑєԃВНУПГЯИ", "abekmhopctyxsijdqwlhvryrnbgfkhxckeedbhynrrn"),
    # Greek
    ("αβεζηικνορτυχωγσϲϳμδϐϝΑΒΕΖΗΙΚΜΝΟΡΤΥΧΓΛΣ", "abeznikvoptuxwyocjudbfabezhikmnoptyxrae"),
    # Armenian
    ("օսոհցզքՏԼՕՍ", "ounhgqpslou"),
    # Hebrew, Roman numerals
    ("ⅼסון", "loll"),
    # Cherokee
    ("ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃ", "abcdeghijklmprstvwz"),
    # Lisu
    ("ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ", "abcdefghijklmnoprstuvwxyz"),
    # Latin letters that do not decompose: strokes, hooks, phonetic, turned, small capitals
    ("øłđħŧıȷðƀƈƌƒɠƙƚƞƥƭƴƶɑɐɓɔɕɖɗǝəɘɛɡɦɥɨɪʝʞɫɭɱɯɲɳ", "oldhtijdbcdfgklnptyzaabocddeeeeghhiijkllmmnn"),
    ("ɴŋɵɹɽɾʀʂʇʈʉʊʋʌʍʎʏʐʑʙɢʜʟᴀᴄᴅᴇᴊᴋᴍᴏᴘꞯᴛᴜᴠᴡᴢꜰꜱⱥɇɉɍ", "nnorrrrsttuuvvwyyzzbghlacdejkmopqtuvwzfsaejr"),
    ("ɏꝁ", "yk"),
)  # fmt: skip
_LOOKALIKES = {odd: plain for odds, plains in _PAIRS for odd, plain in zip(odds, plains, strict=True)}
_LOOKALIKES |= {"æ": "ae", "œ": "oe", "ӕ": "ae"}
_LOOKALIKES |= dict.fromkeys("’‘‛ʼʹ′´‵‹›‚", "'") | dict.fromkeys("“”„‟″«»「」『』", '"') | dict.fromkeys("‐‑‒−⁃·‧•∙⋅", "-")
_LOOKALIKES["。"] = "."
"""By raw character: some capitals look like other letters than their small ones do."""
_ENCLOSED = (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
"""Starts of alphabets that Unicode does not decompose: squared, negative circled, negative squared and
regional-indicator letters."""
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u2065\u17b4\u17b5")
"""Letters and symbols that are invisible."""
_TAG_BASE = 0xE0000


def _reduce(char: str) -> str:
    """One step of folding of one character."""
    if char in _LOOKALIKES:
        return _LOOKALIKES[char]
    out = []
    if unicodedata.decomposition(char).startswith("<super>") and unicodedata.category(char) != "Lm":
        out.append("^")
    for piece in unicodedata.normalize("NFKD", char):
        if _is_invisible(piece):
            continue
        code = ord(piece)
        letter = next((chr(97 + code - base) for base in _ENCLOSED if base <= code < base + 26), piece)
        out.append(_LOOKALIKES.get(letter) or "".join(_LOOKALIKES.get(c, c) for c in letter.casefold()))
    return "".join(out)


_SIGNED_BLOCKS = ((0x0900, 0x1100), (0x1700, 0x1800), (0x1900, 0x1AB0), (0x1B00, 0x1D00), (0xA800, 0xAC00))
"""Blocks of the scripts of South and South-East Asia, which spell vowels with combining characters."""
_SIGNS = frozenset(
    chr(code)
    for first, end in _SIGNED_BLOCKS
    for code in range(first, end)
    if unicodedata.category(chr(code)) in ("Mn", "Mc") and chr(code) not in _BLANK
)
_SIGN = re.compile(f"[{''.join(sorted(_SIGNS))}]")
LETTER = rf"(?:[^\W_]|[{''.join(sorted(_SIGNS))}])"
"""An expression for a letter, a digit or a vowel sign."""
NO_LETTER_BEFORE = rf"(?<![^\W_])(?<![{''.join(sorted(_SIGNS))}])"


def _is_invisible(char: str) -> bool:
    """Whether a character is invisible: format and combining characters, control characters other than white
    space, blanks that Unicode counts as letters."""
    category = unicodedata.category(char)
    if char in _SIGNS:
        return False
    if category in ("Cf", "Mn", "Me") or (category == "Cc" and not char.isspace()):
        return True
    return char in _BLANK or 0xE0000 <= ord(char) <= 0xE0FFF or 0xFFF0 <= ord(char) <= 0xFFF8


def _is_odd(char: str) -> bool:
    """Whether a caseless character that does not decompose is folded all the same."""
    return char in _LOOKALIKES or _is_invisible(char)


@lru_cache(maxsize=1 << 17)
def fold_char(char: str) -> str:
    """The folding of one raw character: no character, one or several, none of which folding changes again.

    The cache holds nearly all characters that exist (some 20 MB), so that no text evicts those of the next.
    """
    if unicodedata.category(char) in ("Lo", "Cn", "Co") and unicodedata.is_normalized("NFKD", char) and not _is_odd(char):
        return char
    for _ in range(8):
        after = "".join(map(_reduce, char))
        if after == char:
            break
        char = after
    return char


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")


def fold(text: str) -> Folded:
    """Removes the disguises of `text`. Folding is idempotent."""
    if text.isascii() and (text.isprintable() or not _CONTROL.search(text)):
        return Folded(text.lower(), range(len(text)), range(1, len(text) + 1))
    return _fold_each(text, fold_char)


def _fold_each(text: str, fold_one: Callable[[str], str]) -> Folded:
    pieces: list[str] = []
    starts: list[int] = []
    signed, before = _SIGN.search(text), ""
    for at, char in enumerate(text):
        piece = fold_one(char)
        if signed and piece in _SIGNS and before.isascii() and before.isalnum():
            continue  # a sign on a letter of another script disguises it
        before = piece[-1:] or before
        pieces.append(piece)
        starts += [at] * len(piece)
    return Folded("".join(pieces), starts, [at + 1 for at in starts])


_PLAIN_MARKS = b" \t\n.,;:?!'\"()[]{}<>/&%+=#^~`"
_SHAPE = bytes(b"a"[0] if chr(code) in ascii_lowercase else b" -"[code not in _PLAIN_MARKS] for code in range(256))
"""Maps letters to a, plain punctuation to blanks, everything else to hyphens."""
_OTHER = ord("-")
_LONE = re.compile(b" a {1,4}a ")
_BANG = re.compile("![a-z]")


def undisguised(text: str) -> str | None:
    """The folded text if its words have no disguise: ASCII letters between blanks and plain punctuation, no
    two single letters side by side, no contraction of "not". A string that it does not contain is not said.
    None where `words` has to decide."""
    if not text.isascii():
        return None
    folded = text.lower()
    shape = folded.encode().translate(_SHAPE)
    if _OTHER in shape or "n't" in folded or ("!" in folded and _BANG.search(folded)):
        return None
    return None if shape.find(b" a ") >= 0 and _LONE.search(shape + b" ") else folded


def is_silent(text: str) -> bool:
    """Whether nothing visible is said: empty text, white space, or invisible characters."""
    return not (text[:1].isascii() and text[:1].isalnum()) and not fold(text).text.strip()


def unheard(text: str, truncated: bool, longest: int) -> str | None:
    """Why an utterance loses whatever it says: "overlong" (cut off, or more than `longest` characters), "silent",
    or None."""
    if truncated or len(text) > longest:
        return "overlong"
    return "silent" if is_silent(text) else None


_PLAIN = re.compile(r"[^\W_]++(?:'[^\W_]++)*+")
_SIGNED = re.compile(rf"{LETTER}++(?:'{LETTER}++)*+")
_BROKEN = re.compile(r"(?<![^\W_])([^\W_]++)-[ \t]*\r?\n[ \t]*([^\W_]++)")
"""A word broken over a line end."""
_CLOSED = re.compile(r"(?<![^\W_])[^\W_]++(?:(?:-|[_*]{1,3})[^\W_]++)++")
_LEET = re.compile(r"(?<![^\W_@$])(?:[^\W_]|[@$]|[!|](?=[^\W_]))++")
_RUN = re.compile(r"(?<![^\W_])(?<![^\W_]')[^\W_](?:(?:[\W_]{2,4}|[^\w']|_)[^\W_](?![^\W_])){2,}")
_ODD = re.compile(r"[0-9@$!|]")
_LEETISH = re.compile(r"[0-9@$!|][^\W\d_]|[^\W\d_][!|]?[0-9@$]")
_SPELLED = re.compile(r"[\W_][^\W_](?:[\W_]{1,4}[^\W_](?![^\W_])){2}")
_JOINERS = re.compile("[-_*]")
_TAGS = re.compile("[\U000e0020-\U000e007e]")

_LEET_MAPS = tuple(str.maketrans("0345789@$2" + "16!|", "oeastbgasz" + tail) for tail in ("lbll", "igii"))
_MEASURE = re.compile(
    r"[$]?[0-9]+(?:st|nd|rd|th|s|am|pm|in|ft|m|cm|mm|km|kmh|mph|kph|mi|yd|g|kg|mg|ml|cl|dl|l|cc|h|hr|hrs|min|mins|sec|secs|ms|yr|yrs|k|kb|mb|gb|tb"
    r"|d|x|bn|hz|khz|mhz|ghz|kw|mw|gw|kwh|mah|db|hp|rpm|bpm|fps|dpi|px|pt|pp|ppm|psi|pc|ct|oz|lb|lbs|usd|eur|gbp|wd)"
)
"""Numbers with an ordinal ending or a unit ("5in", "80s"), which are no leet spelling."""
_SPELLS = re.compile(r"(?:[^\W\d_]|[@$!|])(?:[0-9]+|)(?:[^\W\d_]|[@$!|])")
"""Leet spelling: letters on both sides of a digit, or two letters in a row, unlike codes and units ("F16",
"70p")."""
_NUMBERED = re.compile(r"[0-9]*([^\W\d_]{3,})[0-9]*")
"""A word of three letters or more, with the numbers at its ends."""

_NOT = {"can't": "can", "won't": "will", "shan't": "shall", "ain't": ""}
_WHOLE = frozenset({"o'clock"})
"""Words with an apostrophe that are no contraction."""
_CLITICS = frozenset({"s", "d", "m", "t", "ll", "re", "ve"})


def _is_disguised(folded: str) -> bool:
    """Whether the text may contain leet spellings or spelled words; False proves that it contains none."""
    return bool((_ODD.search(folded) and _LEETISH.search(folded)) or _SPELLED.search("\n" + folded))


def haystack(text: str) -> str | None:
    """A string that contains all readings of the words of `text`, for a quick search; None where `words` has
    to decide.

    A string that it does not contain is not said. Most texts have one.
    """
    folded = fold(text).text
    if _is_disguised(folded) or (not text.isascii() and _TAGS.search(text)):
        return None
    parts = [folded]
    if _JOINERS.search(folded):
        parts.append(_JOINERS.sub("", folded))
        if _BROKEN.search(folded):
            parts += (first + second for first, second in _BROKEN.findall(folded))
    if "n't" in folded:
        parts += _NOT.values()
    return "\n".join(parts)


def words(text: str) -> Iterator[Word]:
    """All readings of the words of `text`, with their raw spans, in no particular order.

    One position may have several readings. Tag characters are invisible copies of ASCII and are read both
    ways.
    """
    folds = [fold(text)]
    if not text.isascii() and _TAGS.search(text):
        folds.append(_fold_each(text, lambda char: fold_char(_untag(char))))
    for folded in folds:
        for reading, start, end in _readings(folded.text):
            yield Word(reading, *folded.raw_span(start, end))


def _untag(char: str) -> str:
    return chr(ord(char) - _TAG_BASE) if _TAGS.match(char) else char


def _readings(text: str) -> Iterator[Word]:
    plain = _PLAIN if text.isascii() or not _SIGN.search(text) else _SIGNED
    for match in plain.finditer(text):
        yield Word(match[0], *match.span())
        if "'" in match[0]:
            yield from _without_clitics(match[0], match.start())
    if "\n" in text:
        for match in _BROKEN.finditer(text):
            yield Word(match[1] + match[2], *match.span())
    for match in _CLOSED.finditer(text):
        yield Word(_JOINERS.sub("", match[0]), *match.span())
    if not _is_disguised(text):
        return
    for match in _LEET.finditer(text):
        yield from _unleet(match[0], *match.span())
    for match in _RUN.finditer(text):
        if not (text.isascii() or _SIGN.sub("", match[0]).isascii() or not _SIGN.search(match[0])):
            continue
        for reading in _joined(match[0], match.start()):
            yield reading
            if not _MEASURE.fullmatch(reading.text[1:]):  # "a 1 l bottle"
                yield from _unleet(*reading)


def _without_clitics(token: str, at: int) -> Iterator[Word]:
    """The words of a contraction: it's -> it, haven't -> have, won't -> will."""
    if token in _WHOLE:
        return
    if token.endswith("n't"):
        base = _NOT.get(token, token[:-3])
        if base:
            yield Word(base, at, at + len(token))
        return
    for part in re.finditer(r"[^']+", token):
        if part.start() == 0 or part[0] not in _CLITICS:
            yield Word(part[0], at + part.start(), at + part.end())


def _unleet(token: str, start: int, end: int) -> Iterator[Word]:
    """Readings of leet spellings of three letters or more: c4t, 5un, m0u$e; and of words with a number at an
    end: 3lemons. Numbers with units, and codes, are left as they are."""
    if len(token) < 3 or not _SPELLS.search(token) or _MEASURE.fullmatch(token) or not any(map(str.isalpha, token)):
        return
    if (numbered := _NUMBERED.fullmatch(token)) and numbered[1] != token:
        yield Word(numbered[1], start, end)
    for leet_map in _LEET_MAPS:
        reading = token.translate(leet_map)
        if reading != token:
            yield Word(reading, start, end)


def _joined(run: str, at: int) -> Iterator[Word]:
    """The words of a run of letters: the whole run, the run without "a" or "I" at its start, equally spaced
    parts."""
    letters = [(match[0], match.start()) for match in re.finditer(r"[^\W_]", run)]
    groups = [letters]
    if letters[0][0] in "ai" and len(letters) > 3:
        groups.append(letters[1:])
    gaps = [run[a + 1 : b] for (_, a), (_, b) in pairwise(letters)]
    if len(set(gaps)) > 1:
        first = 0
        for i in range(1, len(gaps) + 1):
            if i == len(gaps) or gaps[i] != gaps[first]:
                groups.append(letters[first : i + 1])
                first = i
    for group in groups:
        if len(group) > 2:
            yield Word("".join(letter for letter, _ in group), at + group[0][1], at + group[-1][1] + 1)
