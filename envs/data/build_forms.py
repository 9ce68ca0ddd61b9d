"""Builds forms.txt.gz, the table of word forms that `sparring.envs.judge.word_forms` reads.

    python envs/data/build_forms.py --wordnet /usr/share/wordnet

Needs what the project itself does not depend on: the WordNet 3.0 database files (Debian: wordnet-base) and
the packages lemminflect 0.2.3, wordfreq 3.1.1 and breame 0.1.2, best in an environment of their own. Equal
sources give an equal table, byte for byte but for zlib's version.

One line per target: target, inflections, derivations with theirs, separated by tabs. A form is written as the
number of letters that are dropped from the end of the target and the letters that follow ("0s", "1ies"). Both
point downward only, from a word to what is made of it. American and British spellings are one word, so that a
form stands in both.
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
        "receive receipt, save safety, sun sunny, act active, act activity, winter wintry, fire fiery, "
        "prison prisoner, custom customer, prince princess, poet poetry, architect architecture, tour "
        "tourism, tour tourist, "
        "guard guardian, terror terrorist, self selfish, self selfless, infect infectious, brave "
        "bravery, warm warmth, god goddess, "
        "theatre theatrical, theater theatrical, drunk drunken, shake shaky, gun gunner, dad daddy, mom "
        "mommy, mum mummy, sex sexist, "
        "sex sexism, sex sexual, fur furry, mad madden, mad madness, sad sadden, red redden, red "
        "reddish, fat fatten, fat fatty, "
        "fun funny, fog foggy, mud muddy, dog doggy, dog doggie, pig piglet, pig piggy, cat catty, web "
        "webbed, oil oily, ice icy, "
        "ice icicle, bag baggage, jog jogger, hug huggable, eat eatery, eat edible, hat hatter, pot "
        "potter, pot pottery, lip lippy, "
        "leg leggings, cup cupful, man manly, man manhood, boy boyish, boy boyhood, son sonny, kid "
        "kiddo, bed bedding, "
        "air airy, art arty, war warrior, wax waxy, wax waxen, ash ashen, oak oaken, two twosome, ten "
        "tenth, six sixth, six sixty, "
        "bake bakery, bore boredom, science scientific, science scientist, chemistry chemist, "
        "east eastern, west western, north northern, south southern, anger angry, hunger hungry, horror horrible, "
        "horror horrify, terror terrify, justice justify, dignity dignify, tragedy tragic, tiger tigress, "
        "witch witchcraft, pilgrim pilgrimage, dentist dentistry, minister ministry, widow widower, "
        "error erroneous, explode explosive, imagine imaginary, imagine imagination, plumb plumber, "
        "memory memorial, poem poetic, theory theoretical, passion passionate, secret secrecy, "
        "disease diseased, vampire vampiric, anxious anxiety, know knowledge, clear clarity, grand grandeur, "
        "giant gigantic, fish fisherman, police policeman, chair chairman, sweat sweaty, diplomat diplomacy, hell "
        "hellish, sky skyward, sea seaward, mother motherhood, heal health, true truth, steal stealth, "
        "grow growth, weigh weight, long lengthy, long lengthen, strong strengthen, high heighten, emperor empress, "
        "pirate piracy, private privacy, virus viral, enter entry, vary various, vary variety, able ability, just justice, "
        "proud pride, poor poverty, serve service, tyrant tyranny, monster monstrosity, coward cowardice, "
        "edit edition, add additional, choose choosy, color coloration, colour coloration, art artistry, artist artistry, hero heroine"
    ).split(", ")
]
"""Derivations that the rules below leave out: they share fewer than three letters, are no longer
than their word, or WordNet lacks them."""

SUPPLETIVE = [
    ("person", "people"), ("brother", "brethren"), ("cow", "kine"), ("cloth", "clothes"), ("little", "less"),
    ("mp", "mps"), ("pm", "pms"), ("gp", "gps"), ("ml", "mls"),
    ("little", "least"), ("many", "more"), ("many", "most"), ("much", "more"), ("much", "most"),
]  # fmt: skip
"""Inflections that neither source lists."""

NO_FORMS = {
    ("inlay", "inlayinging"), ("sus", "si"), ("ala", "alas"), ("anu", "anus"), ("isi", "isis"),
    ("lao", "laos"), ("tao", "taos"), ("shill", "shilling"), ("fleet", "fleeting"), ("off", "offing"),
    ("corp", "corps"), ("dia", "dias"), ("duma", "dumas"), ("loo", "loos"), ("off", "offer"), ("wrong", "worse"),
    ("wrong", "worst"), ("numb", "number"), ("even", "evening"), ("fee", "feed"), ("wee", "weed"), ("diva", "dive"),
    ("crow", "crew"), ("more", "mores"), ("congratulation", "congratulations"), ("humanity", "humanities"),
}  # fmt: skip
"""What the sources list or their rules make that is another word."""

GRAMMAR = set("as has his is its us was this thus yes".split())
"""Words of grammar that a regular plural of two or three letters would make."""

MORE_SPELLINGS = [
    tuple(pair.split())
    for pair in (
        "mum mom, mummy mommy, kerb curb, gaol jail, doughnut donut, whisky whiskey, judgement judgment, "
        "cosy cozy, yoghurt yogurt, "
        "omelette omelet, artefact artifact, enquiry inquiry, enquire inquire, adviser advisor, disc "
        "disk, racoon raccoon, "
        "orangutan orangutang, barbecue barbeque, ketchup catsup, okay ok, burnt burned, learnt learned, "
        "dreamt dreamed, spelt spelled, "
        "leapt leaped, spilt spilled, kidnapped kidnaped, tsar czar, pyjama pajama, gray grey, "
        "specialty speciality, encyclopaedia encyclopedia, mediaeval medieval, connexion connection, "
        "hiccup hiccough, aluminium aluminum"
    ).split(", ")
]
"""British spellings and the American ones beside them that breame lacks."""

TWO_WORDS = ({"ton", "tonne"}, {"tons", "tonnes"})
"""Spellings of breame's that are two words."""

APART = {
    tuple(pair.split())
    for pair in (
        "universe universal, wit witness, busy business, hard hardly, late lately, short shortly, fore "
        "forward, secret secretary, "
        "indie indian, unit unity, slav slavery, east easter, heath heather, sign signal, attache "
        "attachment, prim primer, hind hinder, "
        "hind hinderance, regime regimen, raven ravenous, shin shiny, orang orangery, rout router, "
        "public publican, public publication, "
        "pine pineal, spin spinster, past paster, writ written, writ writer, part party, mode modern, "
        "count country, organ organize, "
        "organ organism, organ organization, plan planet, plan plane, come comet, come comedy, mean "
        "meander, fact factor, form formal, "
        "form former, mate material, bill billion, mill million, port portal, text texture, rest restive, "
        "sever several, inform informal, tail tailor, host hostage, infant infantry, exec executive, "
        "cast castle, mast master, "
        "corn corner, cart carton, hospital hospitality, ration rational, moment momentum, invent "
        "inventory, comm common, pair pairing, "
        "pole polish, mane many, tine tiny, scar scary, nast nasty, rand randy, gris grisly, ding dingy, fort forty, forte forty, "
        "hone honey, proper property, supple supply, penal penalty, spoke spoken, doze dozen, organ organise, "
        "organ organisation, organ organizer, organ organiser, prom promise, spec special, mater material, "
        "miner mineral, intern internal, cord cordial, mart martial, colon colonial, colon colonist, colon colony, "
        "colon colonize, colon colonise, colon colonization, colon colonisation, iron irony, iron ironic, "
        "iron ironical, iron ironically, author authorize, author authorise, author authority, cell cellist, "
        "author authorization, author authorisation, past pasted, tall tally, port portability, race raciness, "
        "ware wary, medic medicine, lady laden, let letter, dent dental, dent dentist, liter literal, "
        "minim minimal, read ready, heave heavy, "
        "stead steady, bull bully, sill silly, "
        "hole holy, earl early, tide tidy, race racy, like likely, fair fairy, call callous, gorge "
        "gorgeous, port portable, cape capable, "
        "rust rustic, state static, pane panic, wick wicked, party partial, corny cornish, let letterer, "
        "tow tower, fast fasten, kitty kitten, past pasty, past "
        "pastor, polite politic, polite political, very veritable, rome romany, horne hornist, "
        "cow coward, cow cowardice, cow cowardly, rape rapine, image imagine, pane paneling, pane panelling, happy happen, "
        "live liver, span spanish, tend tender, unit united, tie tier, cook cookie, growth growing, "
        "barb barber, butt butter, jell jelly, bass bassist, ting tingle, butch butcher"
    ).split(", ")
}
"""Pairs that the rules find and that speakers take for two words."""

SUFFIXES = ("ful", "less", "ness", "hood", "like", "ship")
"""A lemma of WordNet that is a target plus one of these is derived from it, whether or not WordNet points
there (beauty, beautiful)."""

PLAIN_SUFFIXES = (
    ("ish", "noun adj", "adj"), ("able", "verb noun", "adj"), ("en", "adj", "verb"), ("en", "noun", "adj"),
    ("dom", "noun adj", "noun"), ("al", "noun", "adj"), ("ly", "noun", "adj"), ("ed", "noun", "adj"), ("y", "noun", "adj"),
    ("y", "adj", "noun"), ("ty", "adj", "noun"), ("ity", "adj", "noun"), ("ist", "noun adj", "noun"), ("ous", "noun", "adj"),
    ("ize", "noun adj", "verb"), ("ise", "noun adj", "verb"), ("ial", "noun", "adj"), ("ic", "noun", "adj"),
    ("ical", "noun", "adj"), ("ess", "noun", "noun"),
)  # fmt: skip
"""Suffixes that need no proof on a target of four letters or more: the parts of speech that the target and a
lemma so made may be (childish, readable, brighten, stardom, traditional)."""

WHOLE = ("al", "ly", "ed", "ty", "ess")
"""Of these suffixes, those that are put to a whole word alone."""

WITHOUT_E = ("y", "ish", "en", "able", "ous", "ize", "ise")
"""Those before which an e at the end is dropped."""

PROVEN_SUFFIXES = (
    "en dom er or y al ial ual ic ical ous ious ish ment ation able ible ist ism ize ise ity ive ian an "
    "ary age ance ence ant ent ee eer ess "
    "ster let some ward wards wise fold th ery ly ify istic ily ine ry ette ling ure"
).split()
"""A lemma that is a target plus one of these is derived from it where WordNet shows it: its gloss has the
target in it (golden: "made from or covered with gold"), or both point to one word."""


class WordNet:
    """The WordNet 3.0 database files: lemmas by part of speech, irregular forms, and derivations by word."""

    def __init__(self, folder: Path) -> None:
        self.parts: dict[str, set[str]] = defaultdict(set)
        self.irregular: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.derived: dict[str, set[str]] = defaultdict(set)
        self.glossed: dict[str, set[str]] = defaultdict(set)
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
                head, _, gloss = line.partition(" | ")
                fields = head.split()
                n_words = int(fields[3], 16)
                lemmas = [re.sub(r"\(.*\)", "", word).lower() for word in fields[4 : 4 + 2 * n_words : 2]]
                synsets[letter, fields[0]] = lemmas
                defined = {*re.findall("[a-z]+", re.sub(r'"[^"]*"', "", gloss).lower()), *lemmas}
                for lemma in lemmas:
                    self.glossed[lemma] |= defined
                at = 5 + 2 * n_words
                for symbol, offset, other, ends in zip(*(fields[at + i : at + 4 * int(fields[at - 1]) : 4] for i in range(4)), strict=True):
                    if symbol in ("+", "\\") and ends != "0000":
                        pointers.append((lemmas[int(ends[:2], 16) - 1], (other, offset), int(ends[2:], 16) - 1, symbol))
        for word, synset, number, symbol in pointers:
            other = synsets[synset][number]
            self.derived[word].add(other) if symbol == "+" else self.derived[other].add(word)

    def shows(self, word: str, other: str) -> bool:
        """Whether WordNet ties `other` to `word`, of four letters and more: by its gloss, or by a word both point to."""
        if other not in self.parts:
            return False
        e_less = re.sub("e$", "", word)
        near = {word, word + "s", e_less + "ed", e_less + "ing", re.sub("y$", "ies", word)}
        shared = self.derived[word] & self.derived[other]
        return len(word) > 3 and bool(near & self.glossed[other] or any(len(one) > len(word) for one in shared))


def _lines(path: Path) -> Iterable[str]:
    """The lines of a WordNet file, without the licence text at its head."""
    with path.open(encoding="ascii") as file:
        yield from (line for line in file if not line.startswith("  "))


def derivations(word: str, net: WordNet) -> set[str]:
    """The lemmas made of `word`, and, one step further, those made of them."""
    found = _made_of(word, net)
    further = {other for one in found for other in (*_made_of(one, net), *_made_regularly(one, net))}
    kept = {other for other in further if other.endswith(("ly", "ness")) or other.startswith(word[:-1])}
    return found | {other for other in kept if (word, other) not in APART}


def _made_of(word: str, net: WordNet) -> set[str]:
    """Longer lemmas that share three letters with `word`, which WordNet derives from it or a suffix makes of it."""
    found = {other for other in net.derived[word] if _is_below(word, other)}
    suffixed = {stem + suffix for stem in (word, re.sub("y$", "i", word)) for suffix in SUFFIXES}
    suffixed |= {other for stem in _stems(word) for suffix in PROVEN_SUFFIXES if net.shows(word, other := stem + suffix)}
    suffixed |= {other} if net.shows(word, other := re.sub("[eo]r$", "ress", word)) else set()  # actress
    for suffix, of, to in PLAIN_SUFFIXES if len(word) > 3 else ():
        if net.parts[word] & set(of.split()):
            keeps_e = word[-1] == "e" and suffix not in WITHOUT_E
            stems = {word} if keeps_e or suffix in WHOLE else _stems(word)
            suffixed |= {stem + suffix for stem in stems if to in net.parts.get(stem + suffix, ())}
    found |= {other for other in suffixed if other in net.parts and _is_below(word, other)}
    found |= {other for base, other in EXCEPTIONS if base == word}
    return {other for other in found if (word, other) not in APART and (other, word) not in EXCEPTIONS}


def _made_regularly(word: str, net: WordNet) -> set[str]:
    """The -ly and -ness of `word`."""
    made = (word + "ly", word + "ness", re.sub("y$", "ily", word), re.sub("y$", "iness", word))
    return {other for other in made if other in net.parts}


def _stems(word: str) -> set[str]:
    """What suffixes are put to: the word, also without its e or y, with its last consonant doubled."""
    stems = {word, re.sub("[ey]$", "", word), re.sub("y$", "i", word)}
    return stems | ({word + word[-1]} if re.search("[^aeiou][aeiou][bdgklmnprt]$", word) else set())


def _is_below(word: str, other: str) -> bool:
    longer = len(other) > len(word) or other == re.sub("e$", "y", word) != word  # noisy
    return longer and other[:3] == word[:3] and len(word) > 2 and re.fullmatch("[a-z]+", other) is not None


def inflections(word: str, net: WordNet) -> set[str]:
    """The inflected forms of `word`: those that LemmInflect and WordNet list, and regular ones where they give none."""
    lemminflect: Any = importlib.import_module("lemminflect")
    found: set[str] = set()
    for part in sorted(net.parts[word]):
        listed = lemminflect.getAllInflections(word, PARTS[part])
        if part == "verb":
            listed = {**lemminflect.getAllInflections(word, "AUX"), **listed}
        if part == "adj":  # as a noun: visuals
            listed = {**{tag: forms for tag, forms in lemminflect.getAllInflections(word, "NOUN").items() if tag == "NNS"}, **listed}
        found.update(form.lower() for forms in listed.values() for form in forms)
        if part in ("noun", "verb") and len(word) > 1:
            for tag, forms in lemminflect.getAllInflectionsOOV(word, PARTS[part]).items():
                if len(word) > 2 and not _has(listed, tag):
                    found.update(forms)
                elif len(word) == 2 or listed.get(tag) == (word,):  # tv, casino, sting
                    found.update(_regular(word, tag, forms, net))
    for part in PARTS:  # also those that the list of lemmas lacks: "medalled"
        found |= net.irregular[word, part]
    found |= {form for base, form in SUPPLETIVE if base == word}
    found -= {form for base, form in NO_FORMS if base == word}
    return {form for form in found if re.fullmatch("[a-z]+", form) and not form.endswith(("eeer", "eeest"))} - {word}


def _has(listed: dict[str, tuple[str, ...]], tag: str) -> bool:
    """Whether a tag is listed; a participle is, where the past tense alone is given."""
    return tag in listed or (tag == "VBN" and "VBD" in listed)


def _regular(word: str, tag: str, forms: Iterable[str], net: WordNet) -> set[str]:
    """Regular forms of a word that is listed without endings, and those of a word of two letters that are no other
    words: casinos, stinging, tvs."""
    if tag == "VBG":
        return set(forms) if len(word) > 2 else set()
    if tag not in ("NNS", "VBZ") or word in INVARIANT or (len(word) == 2 and tag == "VBZ"):
        return set()
    if len(word) > 2:
        return set(forms)
    return {form for form in forms if form == word + "s" and form not in net.parts and form not in GRAMMAR}


INVARIANT = set(
    "sheep deer fish moose swine salmon trout series species aircraft offspring bison shrimp squid cod tuna spacecraft hovercraft".split()
)
"""Nouns that are their own plural."""


def spellings() -> dict[str, set[str]]:
    """By word: how the other side of the Atlantic spells it."""
    breame: Any = importlib.import_module("breame.data.spelling_constants")
    pairs = [*breame.BRITISH_ENGLISH_SPELLINGS.items(), *((us, uk) for us, uk in breame.AMERICAN_ENGLISH_SPELLINGS.items())]
    found: dict[str, set[str]] = defaultdict(set)
    for one, other in (*pairs, *MORE_SPELLINGS):
        if re.fullmatch("[a-z]+", one) and re.fullmatch("[a-z]+", other) and {one, other} not in TWO_WORDS:
            for ending in ("", "s"):
                found[one + ending].add(other + ending)
                found[other + ending].add(one + ending)
    return found


def spelled(words: set[str], other_side: dict[str, set[str]]) -> set[str]:
    """Words with the other spelling of each."""
    return words.union(*(other_side.get(word, ()) for word in words)) if words else set()


def encode(word: str, form: str) -> str:
    """A form as the table writes it: letters dropped from the end of the word, letters appended."""
    same = 0
    while same < min(len(word), len(form)) and word[same] == form[same]:
        same += 1
    return f"{len(word) - same}{form[same:]}"


def table_line(word: str, net: WordNet, other_side: dict[str, set[str]]) -> str:
    """The line of one target."""
    inflected = spelled({word, *inflections(word, net)}, other_side)
    derived = derivations(word, net)
    family = spelled({form for one in derived for form in (one, *inflections(one, net))}, other_side)
    columns = (inflected - {word}, family - inflected)
    return "\t".join((word, *(" ".join(encode(word, form) for form in sorted(forms)) for forms in columns)))


def targets(net: WordNet) -> list[str]:
    """The single words of letters among wordfreq's 50,000 most frequent that are lemmas of WordNet, and both sides
    of MORE_SPELLINGS, in alphabetical order."""
    from wordfreq import top_n_list

    words = {*top_n_list("en", 50_000), *(word for pair in MORE_SPELLINGS for word in pair)}
    return sorted(word for word in words if re.fullmatch("[a-z]+", word) and word in net.parts)


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
    other_side = spellings()
    lines = [table_line(word, net, other_side) for word in targets(net)]
    arguments.out.write_bytes(gzip.compress("".join(text + "\n" for text in lines).encode("ascii"), compresslevel=9, mtime=0))
    print(f"{len(lines)} targets, {arguments.out.stat().st_size} bytes: {arguments.out}")


if __name__ == "__main__":
    main()
