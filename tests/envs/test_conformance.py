"""The conformance check, on games that are broken on purpose: each check must be seen to fail."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest

from sparring.envs.conformance import check_game
from sparring.envs.core import Evidence, GameSpec, Observation, Outcome, Task, Utterance, next_utterance

TASKS = (Task("one", "lemon", "lemon", 0), Task("two", "pear", "pear", 1))
TALKS = (("Hm.", "Hm."), ("lemon",))


@dataclass(frozen=True)
class Echo:
    """A sound little game: who says the secret wins, and nobody does after four utterances."""

    length: int = 4
    name: str = "Echo"
    version = 1
    roles = ("a", "b")
    secret_roles = ("a",)
    reasons = ("said", "foul", "turn_limit")
    zero_sum = True
    utility_range = (-1.0, 1.0)
    clonable = True
    replayable = True

    @property
    def horizon(self) -> int:
        return self.length

    def start(self, task: Task) -> "EchoState":
        return EchoState(self, task)

    def config(self) -> dict[str, Any]:
        return {"length": self.length}


@dataclass(frozen=True)
class EchoState:
    game: Echo
    task: Task
    utterances: tuple[Utterance, ...] = ()
    outcome: Outcome | None = None

    @property
    def to_act(self) -> str | None:
        return None if self.outcome else "ab"[len(self.utterances) % 2]

    def apply(self, text: str, *, truncated: bool = False) -> "EchoState":
        utterances = (*self.utterances, next_utterance(self, text, truncated))
        return replace(self, utterances=utterances, outcome=self.judge(utterances))

    def judge(self, utterances: tuple[Utterance, ...]) -> Outcome | None:
        role, text = utterances[-1].role, utterances[-1].text
        if text == self.task.secret:
            return Outcome(
                {"a": 1.0, "b": -1.0} if role == "a" else {"a": -1.0, "b": 1.0},
                role,
                "said",
                Evidence(len(utterances) - 1, 0, len(text), text),
            )
        return Outcome({"a": 0.0, "b": 0.0}, None, "turn_limit") if len(utterances) == self.game.length else None

    def observe(self, role: str) -> Observation:
        if role not in self.game.roles:
            raise ValueError(f"unknown role {role!r}")
        private = {"word": self.task.secret} if role == "a" else {}
        return Observation("Echo", role, {}, private, self.utterances, self.to_act, self.outcome)


def test_a_sound_game_passes():
    check_game(GameSpec("Echo", Echo, TASKS, TALKS))


def ends(**changes: Any) -> dict[str, Any]:
    """A judge whose outcomes are changed."""
    judge = EchoState.judge
    return {"judge": lambda self, utterances: (outcome := judge(self, utterances)) and replace(outcome, **changes)}


def observing(**changes: Callable[[EchoState, str], Any]) -> dict[str, Any]:
    """Observations that are changed."""
    observe = EchoState.observe

    def broken(self: EchoState, role: str) -> Observation:
        return observe(self, role)._replace(**{name: change(self, role) for name, change in changes.items()})

    return {"observe": broken}


def speaking(before: Callable[[EchoState, str], str | None]) -> dict[str, Any]:
    """An `apply` before which something is done; what that returns is said instead."""
    apply = EchoState.apply
    return {"apply": lambda self, text, *, truncated=False: apply(self, before(self, text) or text, truncated=truncated)}


def refusing_with_the_secret(state: EchoState, text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"say {state.task.secret}, not {text}")


COUNT = count()


def moody(self: EchoState, utterances: tuple[Utterance, ...]) -> Outcome | None:
    return Outcome({"a": 0.0, "b": 0.0}, None, "turn_limit") if len(utterances) == 4 or next(COUNT) % 2 else None


def forgetful(state: EchoState) -> tuple[Any, ...]:
    return EchoState, (state.game, state.task)


BROKEN: dict[str, tuple[type, dict[str, Any], str]] = {
    "roles": (Echo, {"roles": ("a", "a")}, "different names"),
    "secret_roles": (Echo, {"secret_roles": ("c",)}, "secret_roles names"),
    "no horizon": (Echo, {"horizon": property(lambda self: 0)}, "at least 1"),
    "config": (Echo, {"config": lambda self: {"length": {4}}}, "no JSON"),
    "other config": (Echo, {"config": lambda self: {"length": 5}}, "another game, after a way through JSON"),
    "game unpickled": (Echo, {"__reduce__": lambda self: (Echo, (7,))}, "pickled game comes back"),
    "impure": (EchoState, {"judge": moody}, "two states"),
    "changing": (EchoState, speaking(lambda state, text: object.__setattr__(state, "task", TASKS[0])), "changed the state before it"),
    "other text": (EchoState, speaking(lambda state, text: str(text).upper()), "grow by what is said"),
    "text lost": (
        EchoState,
        {"apply": lambda self, text, *, truncated=False: replace(self, utterances=())},
        "grow by what is said",
    ),
    "going on": (EchoState, {"to_act": property(lambda self: "ab"[len(self.utterances) % 2])}, "after its outcome"),
    "state unpickled": (EchoState, {"__reduce__": forgetful}, "pickled state"),
    "short horizon": (Echo, {"horizon": property(lambda self: 2)}, "went on after 2 utterances"),
    "endless": (EchoState, {"judge": lambda self, utterances: None}, "went on after 4 utterances"),
    "reason": (EchoState, ends(reason="bored"), "'bored' is none of said, foul, turn_limit"),
    "foul shown on": (EchoState, ends(reason="foul"), "a foul is shown to the other role"),
    "winner": (EchoState, ends(winner="c"), "'c' is no role"),
    "utilities": (EchoState, ends(utilities={"a": 0.0}, winner=None), "must name the roles"),
    "range": (EchoState, ends(utilities={"a": 2.0, "b": -2.0}, winner="a"), "leave the range -1.0 to 1.0"),
    "sum": (EchoState, ends(utilities={"a": 1.0, "b": 0.0}, winner="a"), "do not sum to 0"),
    "sore winner": (EchoState, ends(utilities={"a": 1.0, "b": -1.0}, winner="b"), "has not the highest"),
    "evidence": (EchoState, ends(evidence=Evidence(0, 0, 10**6, "")), "lies outside the text"),
    "evidence of nothing": (EchoState, ends(evidence=Evidence(9, 0, 0, "")), "lies outside the text"),
    "replay": (Echo, {"start": lambda self, task: EchoState(self, replace(task, seed=next(COUNT)))}, "replaying"),
    "any text": (EchoState, speaking(lambda state, text: str(text)), "must raise TypeError"),
    "speaking on": (EchoState, {}, "ended game must raise ValueError"),
    "any role": (EchoState, {}, "unknown role must raise ValueError"),
    "outcome unseen": (EchoState, observing(outcome=lambda state, role: None), "does not observe the outcome"),
    "private": (EchoState, observing(private=lambda state, role: {"word": state.task.secret}), "what b observes depends on the secret"),
    "rules": (EchoState, observing(rules=lambda state, role: {"letters": len(state.task.secret)}), "what b observes depends on the secret"),
    "error": (EchoState, speaking(refusing_with_the_secret), "error message depends on the secret"),
}


def any_role(self: EchoState, role: str) -> Observation:
    private = {"word": self.task.secret} if role == "a" else {}
    return Observation("Echo", role, {}, private, self.utterances, self.to_act, self.outcome)


sound_apply = EchoState.apply
BROKEN["any role"][1]["observe"] = any_role
BROKEN["speaking on"][1]["apply"] = lambda self, text, *, truncated=False: (
    self if self.outcome else sound_apply(self, text, truncated=truncated)
)


@pytest.mark.parametrize("fault", BROKEN)
def test_every_fault_is_found_and_named(fault: str, monkeypatch: pytest.MonkeyPatch):
    kind, faults, message = BROKEN[fault]
    for name, value in faults.items():
        monkeypatch.setattr(kind, name, value)
    with pytest.raises(AssertionError, match=f"^Echo: .*({message})"):
        check_game(GameSpec("Echo", Echo, TASKS, TALKS))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (GameSpec("Other", Echo, TASKS, TALKS), "Other: the game is named 'Echo', but registered as 'Other'"),
        (GameSpec("Echo", Echo, TASKS[:1], TALKS), "two tasks or more"),
        (GameSpec("Echo", Echo, (TASKS[0], replace(TASKS[0], id="x")), TALKS), "different secrets"),
    ],
)
def test_a_bad_registration_is_named(spec: GameSpec, message: str):
    with pytest.raises(AssertionError, match=message):
        check_game(spec)


@pytest.mark.parametrize(("fault", "promise"), [("impure", "clonable"), ("replay", "replayable")])
def test_what_a_game_does_not_promise_is_not_asked_of_it(fault: str, promise: str, monkeypatch: pytest.MonkeyPatch):
    kind, faults, _ = BROKEN[fault]
    for name, value in faults.items():
        monkeypatch.setattr(kind, name, value)
    for name in ("clonable", "replayable"):
        monkeypatch.setattr(Echo, name, False)
    check_game(GameSpec("Echo", Echo, TASKS, TALKS))
    monkeypatch.setattr(Echo, promise, True)
    with pytest.raises(AssertionError):
        check_game(GameSpec("Echo", Echo, TASKS, TALKS))
