"""Builds parts.txt.gz, the table of parts of speech that `sparring.envs.words.parts_of_speech` reads.

    python envs/data/build_parts.py --wordnet /usr/share/wordnet

Needs the WordNet 3.0 database files (Debian: wordnet-base) and, for which word is a form of which, the table that build_forms.py makes.
Equal sources give an equal table, byte for byte but for zlib's version.

One line per part of speech: its name, a tab, and the words that are mainly that, in alphabetical order. What a word mainly is, is counted:
every sense counts once, and once more for every time that WordNet's tagged texts have it. Left out altogether are

- names: words whose noun senses, so counted, are written with a capital letter at least half the time (London, Monday),
  and a few more (john);
- forms of other words (cities, taking, won), unless they are counted at least half as often as the word they are formed from (wedding);
- words of grammar, which WordNet lacks or takes for others (can, will, us).
"""

import argparse
import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from sparring.envs.judge.word_forms import forms, known_targets

PARTS = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}
"""WordNet's files, and the number that its tagged texts have for each."""

TITLES = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
"""The parts of speech as the table writes them."""

GRAMMAR = set(
    "a about above across after again against all almost along already also although always am among an and another any anybody anyone "
    "anything anyway are around as at away be because been before behind being below beneath beside between beyond both but by can could "
    "dare did do does doing done down during each either else enough even ever every everybody everyone everything everywhere except few "
    "for from had has have having he her here hers herself him himself his how however i if in inside instead into is it its itself just "
    "least less like many may maybe me might mine more most much must my myself near neither never no nobody none nor not nothing now "
    "nowhere of off often okay on once one ones only onto or other others ought our ours ourselves out outside over own per perhaps plus "
    "quite rather round same several shall she should since so some somebody someone something sometimes somewhere soon still such than "
    "that the their theirs them themselves then there these they this those though through throughout till to together too toward towards "
    "two three four five six seven eight nine ten hundred thousand million billion under underneath unless until up upon us very was we "
    "well were what whatever when whenever where wherever whether which while who whoever whole whom whose why will with within without "
    "would yea yeah yes yet you your yours yourself yourselves going gonna gotta lots bit non etc ago amid aren don".split()
)
"""Words of grammar and number, and a few that only hold a sentence together."""

NAMES = set(
    "abigail al alec barbie batman bert betty bill billy bob bobby brad charlotte cisco collins derrick dexter "
    "dolly frank fritz gary  hank harry helen henry jack jackie jacky jean jenny jerry jessie jimmy jock joe john "
    "johnny josh khan larry lewis louis mac marge matt  max molly nan nancy nelson nick pat peter ralph randy "
    "reggie rick rob roberts rod sally sandy sheila stan ted terry timothy tom tommy vic  willy winnie".split()
)
"""Names that WordNet takes for words: john is a toilet to it, and nelson a hold."""

Weights = Mapping[str, Counter[str]]
"""By word: how often it is a noun, verb, adj, adv, and how often a noun with a capital letter ("name")."""


def weights(folder: Path) -> Weights:
    """Reads WordNet's senses and how often its tagged texts have each."""
    tagged: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text(encoding="ascii").splitlines():
        key, _, count = line.split()
        word, _, sense = key.partition("%")
        # A satellite adjective (5) also names its head word; here it counts with the other adjectives.
        tagged["%".join((word, sense if sense[0] != "5" else "3"))] += int(count)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for part, number in PARTS.items():
        for fields in _synsets(folder / f"data.{part}"):
            for place in range(int(fields[3], 16)):
                spelled = re.sub(r"\(.*\)", "", fields[4 + 2 * place])
                word = spelled.lower()
                sense = f"{word}%{number}:{fields[1]}:{int(fields[5 + 2 * place], 16):02d}::"
                weight = 1 + tagged[sense]
                found[word][part] += weight
                if part == "noun" and spelled != word:
                    found[word]["name"] += weight
    for sense, times in tagged.items():
        if sense.endswith("%3"):
            found[sense.removesuffix("%3")]["adj"] += times
    return found


def _synsets(path: Path) -> Iterable[list[str]]:
    """The fields of each synset of a WordNet file, without the licence text at its head and the glosses."""
    with path.open(encoding="ascii") as file:
        yield from (line.split(" | ")[0].split() for line in file if not line.startswith("  "))


def bases(targets: Iterable[str]) -> Mapping[str, set[str]]:
    """By inflected form: the words that it is a form of. Two spellings, which are forms of each other, are none."""
    found: dict[str, set[str]] = defaultdict(set)
    for target in targets:
        for form in forms(target):
            if target not in forms(form):
                found[form].add(target)
    return found


def part_of(word: str, counted: Weights, formed_from: Mapping[str, set[str]]) -> str | None:
    """The part of speech that a word mainly is; None for a name, a form of another word, a word of grammar, a letter or two."""
    own = counted.get(word, Counter())
    part = max(PARTS, key=lambda part: own[part])
    if word in GRAMMAR or word in NAMES or len(word) < 3 or not own[part] or (part == "noun" and 2 * own["name"] >= own["noun"]):
        return None
    if any(2 * own[part] < _inflecting(base, word, counted) for base in formed_from.get(word, ())):
        return None
    return part


def _inflecting(base: str, form: str, counted: Weights) -> int:
    """How often a word is one of the parts of speech that have such a form; only adjectives and adverbs end in -er and -est."""
    own = counted.get(base, Counter())
    return own["adj"] + own["adv"] if form.endswith(("er", "est")) else own["noun"] - own["name"] + own["verb"]


def table(targets: Iterable[str], counted: Weights) -> str:
    """The whole table as text."""
    targets = sorted(targets)
    formed_from = bases(targets)
    parts = {word: part_of(word, counted, formed_from) for word in targets}
    return "".join(f"{TITLES[part]}\t{' '.join(word for word in targets if parts[word] == part)}\n" for part in PARTS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the table of parts of speech.")
    parser.add_argument(
        "--wordnet",
        type=Path,
        default=Path("/usr/share/wordnet"),
        help="folder of the WordNet 3.0 database files",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("parts.txt.gz"))
    arguments = parser.parse_args()
    text = table(known_targets(), weights(arguments.wordnet))
    arguments.out.write_bytes(gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0))
    for line in text.splitlines():
        name, _, words = line.partition("\t")
        print(f"{name}: {len(words.split())} words")


if __name__ == "__main__":
    main()
