"""Golden playthroughs: whole games as text that a person can read, one at least for every way that a game can end.

tests/golden/GAME.txt holds the games of one registered game. To add one, write its title, secret word and talk, and run
`python tests/envs/test_golden.py`, which plays the talks and writes how they end; then read it. Characters that do not show are escaped.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sparring.envs.core import GAMES, State, Task, Utterance, make_game, replay
from sparring.envs.games import registered as games  # noqa: F401  registers the games

FOLDER = Path(__file__).parents[1] / "golden"


class Playthrough(NamedTuple):
    title: str
    config: str
    secret: str
    utterances: tuple[Utterance, ...]
    text: str


def read(name: str) -> Iterator[Playthrough]:
    path = FOLDER / f"{name}.txt"
    for block in path.read_text(encoding="utf-8").split("\n# ")[1:] if path.is_file() else ():
        title, config, secret, *talk = block.rstrip("\n").split("\n")
        assert config.startswith("settings: ") and secret.startswith("secret: "), block
        utterances = []
        for line in talk:
            if line.startswith("-- "):
                break
            role, text = re.fullmatch(r"(\w+(?: \(cut off\))?): ?(.*)", line).groups()
            utterances.append(Utterance(role.removesuffix(" (cut off)"), unescaped(text), role.endswith("(cut off)")))
        yield Playthrough(title, config.removeprefix("settings: "), secret.removeprefix("secret: "), tuple(utterances), block.rstrip("\n"))


def played(name: str, one: Playthrough) -> State:
    return replay(make_game(name, **json.loads(one.config)), Task("golden", one.secret, one.secret, 0), one.utterances)


def rendered(one: Playthrough, state: State) -> str:
    """A game as its file has it: how it ended, and what decided it."""
    lines = [one.title, f"settings: {one.config}", f"secret: {one.secret}"]
    lines += [f"{u.role}{' (cut off)' * u.truncated}:" + f" {escaped(u.text)}" * bool(u.text) for u in state.utterances]
    outcome = state.outcome
    if outcome is None:
        return "\n".join([*lines, f"-- the game goes on, {state.to_act} to speak"])
    worth = ", ".join(f"{role} {value:+g}" for role, value in outcome.utilities.items())
    lines.append(f"-- {outcome.reason}: {outcome.winner or 'nobody'} wins ({worth})")
    if outcome.evidence:
        text = state.utterances[outcome.evidence.turn].text[outcome.evidence.start : outcome.evidence.end]
        lines.append(f"-- by [{escaped(text)}]" + (f", read as {outcome.evidence.matched}" if outcome.evidence.matched else ""))
    return "\n".join(lines)


def escaped(text: str) -> str:
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def unescaped(text: str) -> str:
    return re.sub(r"\\(?:\\|n|t|x..|u....|U.{8})", lambda m: m[0].encode().decode("unicode_escape"), text)


ALL = [(name, one) for name in sorted(GAMES) for one in read(name)]


@pytest.mark.parametrize(("name", "one"), ALL, ids=[f"{name}: {one.title}" for name, one in ALL])
def test_games_end_as_their_files_tell(name: str, one: Playthrough):
    assert rendered(one, played(name, one)) == one.text


@pytest.mark.parametrize("name", sorted(GAMES))
def test_every_game_has_a_playthrough_for_every_reason(name: str):
    ends = {state.outcome.reason for one in read(name) if (state := played(name, one)).outcome}
    assert ends == set(make_game(name).reasons), f"tests/golden/{name}.txt"


def test_every_file_is_of_a_registered_game_and_titles_differ():
    assert ALL
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.txt" for name in GAMES}
    assert len({(name, one.title) for name, one in ALL}) == len(ALL)


def test_a_reason_without_a_playthrough_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    whole = (FOLDER / "TwentyQuestions.txt").read_text(encoding="utf-8")
    blocks = whole.split("\n# ")
    (tmp_path / "TwentyQuestions.txt").write_text("\n# ".join(block for block in blocks if "-- lied" not in block), encoding="utf-8")
    monkeypatch.setattr(f"{__name__}.FOLDER", tmp_path)
    for name in ("TwentyQuestions", "AdversarialTaboo"):
        with pytest.raises(AssertionError, match=f"golden/{name}.txt"):
            test_every_game_has_a_playthrough_for_every_reason(name)


def write() -> None:
    """Plays the talks of every file again, and writes how they end."""
    for name in GAMES:
        blocks = [rendered(one, played(name, one)) for one in read(name)]
        head = f"Games of {name}, played by tests/envs/test_golden.py, which says how to add one.\n"
        (FOLDER / f"{name}.txt").write_text(head + "".join(f"\n# {block}\n" for block in blocks), encoding="utf-8")


if __name__ == "__main__":
    write()
