"""Settings as text: the same again after a round trip, every mistake named with what is near."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from sparring.selfplay.config.checks import near
from sparring.selfplay.config.config import AlarmsConfig, TrainConfig
from sparring.selfplay.config.yaml_io import flat, from_yaml, load, to_yaml


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    steps: int = 3
    flag: bool = False
    out: Path | None = None
    kind: Literal["a", "b"] = "a"
    words: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)


def test_round_trip():
    settings = Outer("ünï", 7, True, Path("runs/x"), "b", ("lemon", "no", "1"), Inner(3e-4, (0.8, 0.9)))
    assert from_yaml(to_yaml(settings), Outer) == settings
    assert from_yaml(to_yaml(Outer()), Outer) == Outer()


def test_empty_text_gives_the_defaults():
    assert from_yaml("", Outer) == Outer()


def test_numbers_as_people_write_them():
    assert from_yaml("inner: {lr: 1e-6}", Outer).inner.lr == 1e-6
    assert from_yaml("inner: {lr: 1}", Outer).inner.lr == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes: 4", "unknown key 'stpes'; did you mean 'steps'"),
        ("inner: {learning_rate: 1}", "unknown key 'learning_rate' in inner"),
        ("steps: many", "steps must be int, got 'many'"),
        ("steps: true", "steps must be int, got True"),
        ("inner: {lr: fast}", "inner.lr must be float"),
        ("flag: 1", "flag must be bool"),
        ("kind: c", "kind must be one of a, b, got 'c'"),
        ("inner: 3", "inner must be a mapping"),
        ("inner: {betas: [0.9]}", "inner.betas must have 2 entries"),
        ("words: lemon", "words must be a list"),
        ("- 1", "must be a mapping"),
        ("{", "not YAML"),
        ("out: 5", "out must be a path, got 5"),
        ("inner: {lr: 1" + "0" * 400 + "}", "inner.lr must be a number that fits"),
        ('name: "a\\x1b[2J"', r"name holds U\+001B"),
        ('name: "\\ud800"', r"name holds U\+D800"),
        ("name: a\0", "not YAML"),
        ("name: *b", "not YAML: line 1: found undefined alias 'b'"),
        ("a: b: c", "not YAML: line 1"),
        ("[" * 2000, "nested too deeply"),
        ("&a [*a]", "more than 10000 values"),
        ("words: [" + "x, " * 10_000 + "]", "more than 10000 values"),
        ("steps: 1" + "0" * 5000, "not YAML"),
        ("steps: !!int ''", "not YAML"),
        ("steps: !!timestamp x", "not YAML"),
        ("flag: !!bool x", "not YAML"),
        ("name: !!python/object:os.system {}", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable key"),
    ],
)
def test_mistakes_are_named(text: str, message: str):
    with pytest.raises(ValueError, match=message) as error:
        from_yaml(text, Outer)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value), "a sentence"


@pytest.mark.parametrize("inner", ["[{0}, {0}]", "{{'<<': [{0}, {0}]}}", "{{x: {0}, y: {0}}}"])
def test_aliases_may_repeat_a_value_but_not_without_end(inner: str):
    """Fifteen levels of two are 32,768 values of a text of 400 characters."""
    assert from_yaml("steps: &s 7\nwords: [&w lemon, *w]", Outer) == Outer(steps=7, words=("lemon", "lemon"))
    levels = ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {inner.format(f'*a{i - 1}')}" for i in range(1, 16))]
    with pytest.raises(ValueError, match="more than 10000 values, those that aliases repeat among them"):
        from_yaml("\n".join(levels), Outer)


def test_what_was_given_is_quoted_in_short():
    for text in ("steps: &a " + "x" * 50_000, "words: [[" + "x, " * 5000 + "]]", "kind: " + "[" * 50 + "]" * 50, "x" * 900 + ": 1"):
        with pytest.raises(ValueError, match=r"got|unknown key") as error:
            from_yaml(text, Outer)
        assert len(str(error.value)) < 300


def test_load_names_the_file(tmp_path: Path):
    with pytest.raises(ValueError, match="no such configuration file"):
        load(tmp_path / "none.yaml", Outer)
    (tmp_path / "bad.yaml").write_text("stpes: 4")
    with pytest.raises(ValueError, match=r"bad\.yaml: unknown key"):
        load(tmp_path / "bad.yaml", Outer)
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ValueError, match=r"bad\.yaml: .*no UTF-8"):
        load(tmp_path / "bad.yaml", Outer)
    (tmp_path / "bad.yaml").write_text("# a comment\n" * 9999)
    with pytest.raises(ValueError, match=r"bad\.yaml: the file holds more than 65,536 bytes"):
        load(tmp_path / "bad.yaml", Outer)
    (tmp_path / "good.yaml").write_bytes(b"\xef\xbb\xbfsteps: 4\r\n")
    assert load(tmp_path / "good.yaml", Outer).steps == 4


def test_mappings_hold_texts_or_numbers():
    text = "game_options: {max_turns: 3, rule: family}\nalarms: {limits: {ties: null, entropy: 0.4}}"
    settings = from_yaml(text, TrainConfig)
    assert settings.game_options == {"max_turns": "3", "rule": "family"}
    assert settings.alarms == AlarmsConfig(limits={"ties": None, "entropy": 0.4})
    assert from_yaml(to_yaml(settings), TrainConfig) == settings
    assert flat(settings)["alarms.limits.entropy"] == 0.4 and flat(settings)["game_options.max_turns"] == "3"
    with pytest.raises(ValueError, match=r"alarms\.limits\.ties must be float, got 'many'"):
        from_yaml("alarms: {limits: {ties: many}}", TrainConfig)
    with pytest.raises(ValueError, match="game_options must be a mapping of names to values"):
        from_yaml("game_options: spag", TrainConfig)


def test_near():
    assert near("quikc", ["quick", "full"]).startswith("did you mean 'quick'?")
    assert near("zzz", ["quick", "full"]) == "known: quick, full"
