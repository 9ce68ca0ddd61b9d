"""Builds forms.txt.gz, the table of word forms that `sparring.envs.forms` reads.

    python envs/data/build_forms.py --wordnet /usr/share/wordnet

Needs what the project itself does not depend on: the WordNet 3.0 database files (Debian: wordnet-base) and
the packages lemminflect 0.2.3 and wordfreq 3.1.1, best in an environment of their own. Equal sources give
an equal table, byte for byte but for zlib's version.

One line per target: target, inflections, derivations, separated by tabs. A form is written as the number of
letters that are dropped from the end of the target and the letters that follow ("0s", "1ies"). Both point
downward only, from a word to what is made of it.
"""

import argparse
import gzip
import importlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PARTS = {"noun": "NOUN", "verb": "VERB", "adj": "ADJ", "adv": "ADV"}
"""WordNet's parts of speech, and lemminflect's names for them."""

EXCEPTIONS = [
    (pair.split()[0], pair.split()[1])
    for pair in (
        "sing song, believe belief, choose choice, advise advice, prove proof, grieve grief, relieve relief, "
        "speak speech, strong strength, long length, high height, deep depth, wide width, broad breadth, "
        "hot heat, die death, dead death, live life, lose loss, sell sale, give gift, fly flight, "
        "bleed blood, feed food, see sight, go goer, do doer, wise wisdom, young youth, think thought, "
        "marry marriage, nature natural, "
        "practise practice, license licence, descend descent, pursue pursuit, produce product, "
        "receive receipt, save safety, sun sunny, act active, act activity, winter wintry, fire fiery"
    ).split(", ")
]
"""Derivations that the rules below leave out: they share fewer than three letters, are no longer
than their word, or WordNet lacks them."""

SUPPLETIVE = [
    ("person", "people"), ("brother", "brethren"), ("cow", "kine"), ("cloth", "clothes"), ("little", "less"),
    ("little", "least"), ("many", "more"), ("many", "most"), ("much", "more"), ("much", "most"),
]  # fmt: skip
"""Inflections that neither source lists."""

NO_FORMS = {
    ("inlay", "inlayinging"), ("sus", "si"), ("ala", "alas"), ("anu", "anus"), ("isi", "isis"),
    ("lao", "laos"), ("tao", "taos"), ("shill", "shilling"), ("fleet", "fleeting"), ("off", "offing"),
    ("corp", "corps"), ("dia", "dias"), ("duma", "dumas"), ("loo", "loos"),
}  # fmt: skip
"""Guesses of lemminflect that are other words."""

APART = {
    ("universe", "universal"),
    ("wit", "witness"),
    ("busy", "business"),
    ("hard", "hardly"),
    ("late", "lately"),
    ("short", "shortly"),
}
"""Pairs that the rules find and that speakers take for two words."""

SUFFIXES = ("ful", "less", "ness", "hood", "like", "ship")
"""A lemma of WordNet that is a target plus one of these is derived from it, whether or not WordNet points
there (beauty, beautiful)."""


class WordNet:
    """The WordNet 3.0 database files: lemmas by part of speech, irregular forms, and derivations by word."""

    def __init__(self, folder: Path) -> None:
        self.parts: dict[str, set[str]] = defaultdict(set)
        self.irregular: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.derived: dict[str, set[str]] = defaultdict(set)
        synsets: dict[tuple[str, str], list[str]] = {}
        pointers: list[tuple[str, tuple[str, str], int, str]] = []
        for part in PARTS:
            for line in _lines(folder / f"index.{part}"):
                self.parts[line.split(" ", 1)[0]].add(part)
            for line in _lines(folder / f"{part}.exc"):
                form, *lemmas = line.split()
                for lemma in lemmas:
                    self.irregular[lemma, part].add(form)
            letter = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}[part]
            for line in _lines(folder / f"data.{part}"):
                fields = line.split(" | ")[0].split()
                n_words = int(fields[3], 16)
                lemmas = [re.sub(r"\(.*\)", "", word).lower() for word in fields[4 : 4 + 2 * n_words : 2]]
                synsets[letter, fields[0]] = lemmas
                at = 5 + 2 * n_words
                for symbol, offset, other, ends in zip(*(fields[at + i : at + 4 * int(fields[at - 1]) : 4] for i in range(4)), strict=True):
                    if symbol in ("+", "\\") and ends != "0000":
                        pointers.append((lemmas[int(ends[:2], 16) - 1], (other, offset), int(ends[2:], 16) - 1, symbol))
        for word, synset, number, symbol in pointers:
            other = synsets[synset][number]
            self.derived[word].add(other) if symbol == "+" else self.derived[other].add(word)


def _lines(path: Path) -> Iterable[str]:
    """The lines of a WordNet file, without the licence text at its head."""
    with path.open(encoding="ascii") as file:
        yield from (line for line in file if not line.startswith("  "))


def derivations(word: str, net: WordNet) -> set[str]:
    """The lemmas made of `word`: longer ones that share three letters with it and that WordNet derives from
    it, and their -ly and -ness."""
    found = {other for other in net.derived[word] if _is_below(word, other)}
    stems = (word, re.sub("y$", "i", word))
    suffixed = {stem + suffix for stem in stems for suffix in SUFFIXES if stem + suffix in net.parts}
    found |= {other for other in suffixed if _is_below(word, other)}
    found |= {other for one in found for other in net.derived[one] if other.endswith(("ly", "ness")) and _is_below(one, other)}
    found -= {other for base, other in APART if base == word}
    found -= {base for base, other in EXCEPTIONS if other == word}
    return found | {other for base, other in EXCEPTIONS if base == word}


def _is_below(word: str, other: str) -> bool:
    return len(other) > len(word) and other[:3] == word[:3] and len(word) > 2 and re.fullmatch("[a-z]+", other) is not None


def inflections(word: str, net: WordNet) -> set[str]:
    """The inflected forms of `word`: LemmInflect's by WordNet's parts of speech, and WordNet's own."""
    lemminflect: Any = importlib.import_module("lemminflect")
    found: set[str] = set()
    for part in net.parts[word]:
        listed = lemminflect.getAllInflections(word, PARTS[part])
        if part == "verb":
            listed = {**lemminflect.getAllInflections(word, "AUX"), **listed}
        if part in ("noun", "verb") and len(word) > 2:
            guessed = lemminflect.getAllInflectionsOOV(word, PARTS[part])
            listed = {**{tag: forms for tag, forms in guessed.items() if not _has(listed, tag)}, **listed}
        found.update(form.lower() for forms in listed.values() for form in forms)
    for part in PARTS:  # also those that the list of lemmas lacks: "medalled"
        found |= net.irregular[word, part]
    found |= {form for base, form in SUPPLETIVE if base == word}
    found -= {form for base, form in NO_FORMS if base == word}
    return {form for form in found if re.fullmatch("[a-z]+", form)} - {word}


def _has(listed: dict[str, tuple[str, ...]], tag: str) -> bool:
    """Whether a tag is listed; a participle is, where the past tense alone is given."""
    return tag in listed or (tag == "VBN" and "VBD" in listed)


def encode(word: str, form: str) -> str:
    """A form as the table writes it: letters dropped from the end of the word, letters appended."""
    same = 0
    while same < min(len(word), len(form)) and word[same] == form[same]:
        same += 1
    return f"{len(word) - same}{form[same:]}"


def table_line(word: str, net: WordNet) -> str:
    """The line of one target."""
    inflected = inflections(word, net)
    derived = derivations(word, net)
    return "\t".join((word, *(" ".join(encode(word, form) for form in sorted(forms)) for forms in (inflected, derived))))


def targets(net: WordNet) -> list[str]:
    """The single words of letters among wordfreq's 50,000 most frequent that are lemmas of WordNet, in
    alphabetical order."""
    from wordfreq import top_n_list

    return sorted(word for word in set(top_n_list("en", 50_000)) if re.fullmatch("[a-z]+", word) and word in net.parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the table of word forms.")
    parser.add_argument(
        "--wordnet",
        type=Path,
        default=Path("/usr/share/wordnet"),
        help="folder of the WordNet 3.0 database files",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("forms.txt.gz"))
    arguments = parser.parse_args()
    net = WordNet(arguments.wordnet)
    lines = [table_line(word, net) for word in targets(net)]
    arguments.out.write_bytes(gzip.compress("".join(text + "\n" for text in lines).encode("ascii"), compresslevel=9, mtime=0))
    print(f"{len(lines)} targets, {arguments.out.stat().st_size} bytes: {arguments.out}")


if __name__ == "__main__":
    main()
