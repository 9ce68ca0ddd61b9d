"""Settings as text: the same again after a round trip, every mistake named with what is near."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from sparring.selfplay.settings import from_yaml, load, near, to_yaml


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
    ],
)
def test_mistakes_are_named(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        from_yaml(text, Outer)


def test_load_names_the_file(tmp_path: Path):
    with pytest.raises(ValueError, match="no such configuration file"):
        load(tmp_path / "none.yaml", Outer)
    (tmp_path / "bad.yaml").write_text("stpes: 4")
    with pytest.raises(ValueError, match=r"bad\.yaml: unknown key"):
        load(tmp_path / "bad.yaml", Outer)


def test_near():
    assert near("quikc", ["quick", "full"]).startswith("did you mean 'quick'?")
    assert near("zzz", ["quick", "full"]) == "known: quick, full"
