import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs.judge import word_forms as forms_module
from sparring.envs.judge.word_forms import RULES, forms, is_known, regular_inflections, table_hash

DATA = Path(forms_module.__file__).parents[1] / "data"

IRREGULAR = """
be am are is was were been being; begin began begun; bite bit bitten; blow blew blown; break broke broken;
bring brought; build built; buy bought; catch caught; choose chose chosen; come came; cut cutting; deal
dealt; dig dug; do did done does; draw drew drawn; drink drank drunk; drive drove driven; eat ate eaten;
fall fell fallen; feed fed; feel felt; fight fought; find found; flee fled; fly flew flown flies; forget
forgot forgotten; freeze froze frozen; get got gotten getting; give gave given; go went gone goes; grow grew
grown; hang hung hanged; have had has having; hear heard; hide hid hidden; hold held; keep kept; know knew
known; lay laid; lead led; leave left; lend lent; lie lay lain lying; light lit; lose lost; make made
making; mean meant; meet met; pay paid; ride rode ridden; ring rang rung; rise rose risen; run ran running;
say said; see saw seen; seek sought; sell sold; send sent; shake shook shaken; shine shone; shoot shot; sing
sang sung; sink sank sunk; sit sat; sleep slept; speak spoke spoken; spend spent; spin spun; stand stood;
steal stole stolen; stick stuck; sting stung; strike struck stricken; swear swore sworn; sweep swept; swim
swam swum swimming; swing swung; take took taken; teach taught; tear tore torn; tell told; think thought;
throw threw thrown; understand understood; wake woke woken; wear wore worn; weave wove woven; weep wept; win
won winning; wind wound; write wrote written; panic panicked panicking; travel travelled traveled; refer
referred; occur occurred; admit admitting; die dying; tie tying; child children; foot feet; goose geese;
louse lice; man men; mouse mice; ox oxen; person people; tooth teeth; woman women; calf calves; half halves;
knife knives; leaf leaves; life lives; loaf loaves; shelf shelves; thief thieves; wife wives; wolf wolves;
analysis analyses; axis axes; basis bases; cactus cacti; crisis crises; criterion criteria; fungus fungi;
hypothesis hypotheses; index indices indexes; larva larvae; nucleus nuclei; phenomenon phenomena; radius
radii; stimulus stimuli; vertex vertices; baby babies; box boxes; bus buses; church churches; city cities;
echo echoes; hero heroes; potato potatoes; quiz quizzes; tomato tomatoes; bad worse worst; big bigger
biggest; far farther further furthest; good better best; happy happier happiest; little less least; hot
hotter hottest; many more most; well better best
"""

DERIVED = """
decide decision; run runner; teach teacher teachers; sing singer song; happy happiness; beauty beautiful
beautifully; art artist; music musician; strong strength; high height; believe belief; die death; friend
friendship; build builder buildings; bake baker
"""


def rows(text):
    return [line.split() for line in text.replace("\n", " ").split(";")]


def test_irregular_inflections_are_known():
    missed = [(word, form) for word, *others in rows(IRREGULAR) for form in others if form not in forms(word, "lemma")]
    n_forms = sum(len(row) - 1 for row in rows(IRREGULAR))
    assert n_forms > 200
    assert not missed


def test_derivations_belong_to_the_family_only():
    for word, *others in rows(DERIVED):
        assert set(others) <= forms(word, "family"), word
        assert not set(others) & forms(word, "lemma"), word


@pytest.mark.parametrize(
    ("target", "other"),
    [
        ("marketing", "market"), ("teacher", "teach"), ("decision", "decide"), ("song", "sing"),
        ("belief", "believe"), ("death", "die"), ("universe", "universal"),
        ("universal", "universe"), ("party", "part"), ("part", "party"), ("art", "party"),
        ("cat", "feline"), ("sun", "solar"), ("water", "aquatic"), ("wit", "witness"),
        ("runner", "run"), ("building", "build"), ("news", "new"),
    ],
)  # fmt: skip
def test_only_downward_and_only_what_looks_alike(target, other):
    assert other not in forms(target, "family")


def test_the_table_is_large_and_its_forms_are_words():
    targets = forms_module._table()
    assert len(targets) >= 25_000
    for target in targets:
        inflected, family = forms(target, "lemma"), forms(target, "family")
        assert target in inflected <= family
        assert all(re.fullmatch("[a-z]+", form) for form in family)
    assert re.fullmatch("[0-9a-f]{12}", table_hash())


def test_a_derivation_shares_three_letters_or_is_an_exception():
    """Of an other spelling, which may begin otherwise (cesarean for caesar), there are few."""
    exceptions = {(base, other[:3]) for base, other in build_script().EXCEPTIONS}
    pairs = {(target, form[:3]) for target in forms_module._table() for form in forms(target, "family") - forms(target)}
    apart = {(target, start) for target, start in pairs - exceptions if start not in {form[:3] for form in forms(target)}}
    assert len(pairs) > 8_000
    assert len(apart) < 60


def test_both_spellings_are_one_word():
    for pair in ("colour color", "grey gray", "centre center", "organise organize", "pyjamas pajamas", "colours colors"):
        british, american = pair.split()
        assert american in forms(british)
        assert british in forms(american)
    assert "colorless" in forms("colour", "family")
    assert "colours" in forms("colors")
    assert "tired" not in forms("tyre")


@pytest.mark.parametrize(
    ("target", "expressions"),
    [
        ("sunlight", ["sun light", "sun\nlight"]), ("St. Louis", ["st. louis", "st louis", "st-louis", "stlouis"]),
        ("R&B", ["r&b", "r & b", "r and b", "r b"]), ("node.js", ["node.js", "nodejs"]), ("C++", ["c++"]), ("cat", []),
        ("carpet", ["car pet"]), ("belong", []), ("overtime", []),
    ],
)  # fmt: skip
def test_how_a_target_is_written(target, expressions):
    ways = [way for way, form in forms_module.written_forms(target).items() if form in forms(target)]
    assert bool(ways) == bool(expressions)
    for expression in expressions:
        assert any(re.fullmatch(way, expression) for way in ways), expression


def test_words_outside_the_table_follow_the_rules_and_say_so():
    assert is_known("cat") and is_known("Cat ") and not is_known("blorf")
    assert forms("blorf", "lemma") == {"blorf", "blorfs", "blorfed", "blorfing"} == forms("blorf", "family")
    assert regular_inflections("zib") == {"zib", "zibs", "zibbed", "zibbing"}
    assert regular_inflections("glake") == {"glake", "glakes", "glaked", "glaking"}
    assert regular_inflections("nurby") == {"nurby", "nurbies", "nurbied", "nurbying"}
    assert regular_inflections("gruy") == {"gruy", "gruys", "gruyed", "gruying"}
    assert regular_inflections("blie") == {"blie", "blies", "blied", "blying"}
    assert {"vixes", "flishes"} <= regular_inflections("vix") | regular_inflections("flish")


def test_the_rules_agree_with_the_table_on_regular_words():
    regular_words = "cat dog carry stop plan bake love watch box boil play tie agree dye open visit rain fix"
    for word in regular_words.split():
        assert regular_inflections(word) <= forms(word, "lemma"), word


def test_spag_knows_four_forms():
    assert forms("cat", "spag") == {"cat", "cating", "cated", "cats"}
    assert {"mice", "cities"} <= forms("mouse", "spag") | forms("city", "spag")


def test_a_target_of_several_words_inflects_the_last():
    assert "ice creams" in forms("ice-cream", "lemma")


@pytest.mark.parametrize("rule", RULES)
def test_a_target_needs_something_to_say(rule):
    for target in ("", " ", "!?", "\u200b"):
        with pytest.raises(ValueError, match="no letter or digit"):
            forms(target, rule)


def test_unknown_rule():
    with pytest.raises(ValueError, match="unknown rule 'stem'; known rules: lemma, family, spag"):
        forms("cat", "stem")


@given(st.text(), st.sampled_from(RULES))
def test_every_target_has_forms_or_is_refused(target, rule):
    try:
        known_forms = forms(target, rule)
    except ValueError as error:
        assert "no letter or digit" in str(error)  # noqa: PT017
    else:
        assert known_forms


@cache
def build_script():
    spec = importlib.util.spec_from_file_location("build_forms", DATA / "build_forms.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
def test_the_table_is_what_its_script_builds():
    wordnet = Path("/usr/share/wordnet")
    if not wordnet.is_dir() or not all(map(importlib.util.find_spec, ("lemminflect", "breame"))):
        pytest.skip("needs the sources of the word forms (wordnet-base, lemminflect, breame)")
    build = build_script()
    net, other_side = build.WordNet(wordnet), build.spellings()
    targets = build.targets(net)
    assert targets == sorted(forms_module._table())
    for target in targets[::25]:
        assert build.table_line(target, net, other_side) == f"{target}\t{forms_module._table()[target]}"


def test_the_sources_are_named():
    notice = (DATA / "NOTICE.md").read_text(encoding="utf-8")
    for name in (
        "WordNet 3.0 Copyright 2006 by Princeton University",
        "Brad Jascob",
        "CC BY-SA 4.0",
        "SPECIALIST",
        "breame",
    ):
        assert name in notice
