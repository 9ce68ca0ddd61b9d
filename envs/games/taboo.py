"""Adversarial Taboo (Cheng et al. 2024, SPAG, arXiv 2404.10642): the attacker tries to make the defender say
a secret word without noticing.

Rules only: no prompts, no models, no rewards beyond the utilities of an outcome. The defender wins by
declaring the word, and loses by a wrong declaration or by saying the word otherwise; the attacker loses by
saying it. Silence and over-long speech lose for their speaker.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

from ..core import GAMES, Evidence, GameSpec, Observation, Outcome, Task, Utterance, check_limits, heard, next_utterance, register_game
from ..judge.verdict import verdict
from ..judge.word_forms import RULES, clean_target

ATTACKER, DEFENDER = ROLES = ("attacker", "defender")
_OTHER = {ATTACKER: DEFENDER, DEFENDER: ATTACKER}


@dataclass(frozen=True)
class Payoffs:
    """Utilities of outcomes; winners are decided by the rules alone.

    guess: what a declaration, right or wrong, wins for one role and loses for the other, in (0, 1]; every
    other win counts 1. tie: the utility of both roles when the turns run out, in [-1, 0]; below 0 the game is
    not zero-sum.
    """

    guess: float = 1.0
    tie: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.guess <= 1 or not -1 <= self.tie <= 0:
            raise ValueError(f"payoffs need 0 < guess <= 1 and -1 <= tie <= 0, got {self}")


PUBLISHED = Payoffs()
ELICITATION = Payoffs(guess=0.5, tie=-0.5)
"""Payoffs that reward elicitation: eliciting the word pays twice what a declaration does, and ties cost both
roles."""


@dataclass(frozen=True)
class AdversarialTaboo:
    """The rules. max_turns: utterances per role. rule: how the judge matches words. max_characters: longer
    utterances are over-long."""

    max_turns: int = 5
    rule: str = "lemma"
    max_characters: int = 2000
    payoffs: Payoffs = PUBLISHED
    name: str = "AdversarialTaboo"

    version = 1
    roles = ROLES
    secret_roles = (ATTACKER,)
    reasons = ("declared_right", "declared_wrong", "uttered", "foul", "silent", "overlong", "turn_limit")
    clonable = True
    replayable = True

    def __post_init__(self) -> None:
        if isinstance(self.payoffs, Mapping):
            object.__setattr__(self, "payoffs", Payoffs(**self.payoffs))
        if not isinstance(self.payoffs, Payoffs):
            raise ValueError(f"payoffs are of guess and tie, got {self.payoffs!r:.60}")
        if self.rule not in RULES:
            raise ValueError(f"unknown rule {self.rule!r}; known rules: {', '.join(RULES)}")
        check_limits(max_turns=self.max_turns, max_characters=self.max_characters)

    @property
    def horizon(self) -> int:
        return 2 * self.max_turns

    @property
    def zero_sum(self) -> bool:
        return self.payoffs.tie == 0

    @property
    def utility_range(self) -> tuple[float, float]:
        return (-1.0, 1.0)

    def start(self, task: Task) -> "TabooState":
        try:
            clean_target(task.secret)
        except ValueError as error:
            raise ValueError(f"task {task.id}: Adversarial Taboo needs a secret word: {error}") from error
        return TabooState(self, task)

    def config(self) -> dict[str, Any]:
        settings = asdict(self)
        del settings["name"]
        return settings


class TabooState(NamedTuple):
    """One position: the rules, the task and the utterances so far."""

    game: AdversarialTaboo
    task: Task
    utterances: tuple[Utterance, ...] = ()
    to_act: str | None = ATTACKER
    outcome: Outcome | None = None

    def apply(self, text: str, *, truncated: bool = False) -> "TabooState":
        utterance = next_utterance(self, text, truncated)
        outcome = self._judge(utterance)
        return TabooState(self.game, self.task, (*self.utterances, utterance), None if outcome else _OTHER[utterance.role], outcome)

    def _judge(self, utterance: Utterance) -> Outcome | None:
        role, text, truncated = utterance
        turn, limit = len(self.utterances), self.game.max_characters
        ruling = verdict(text[:limit], role, self.task.secret, self.game.rule)
        if ruling and ruling.reason != "silent":
            evidence = Evidence(turn, ruling.start, ruling.end, ruling.matched)
            return self._won(ruling.winner, ruling.reason, evidence)
        if truncated or len(text) > limit:
            return self._won(_OTHER[role], "overlong", Evidence(turn, 0, len(text), ""))
        if ruling:
            return self._won(ruling.winner, ruling.reason, Evidence(turn, ruling.start, ruling.end, ""))
        if turn + 1 == self.game.horizon:
            return Outcome(dict.fromkeys(ROLES, self.game.payoffs.tie), None, "turn_limit")
        return None

    def _won(self, winner: str, reason: str, evidence: Evidence) -> Outcome:
        payoff = self.game.payoffs.guess if reason in ("declared_right", "declared_wrong") else 1.0
        return Outcome({winner: payoff, _OTHER[winner]: -payoff}, winner, reason, evidence)

    def observe(self, role: str) -> Observation:
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; the roles are {', '.join(ROLES)}")
        private = {"word": self.task.secret} if role == ATTACKER else {}
        rules = {"max_turns": self.game.max_turns}
        return Observation(self.game.name, role, rules, private, self.shown(role), self.to_act, self.outcome)

    def shown(self, role: str) -> tuple[Utterance, ...]:
        """The utterances that a role is shown."""
        return heard(self.utterances, self.outcome, role) if self.outcome else self.utterances


TASKS = tuple(Task(f"example-{word}", word, word, seed) for seed, word in enumerate(("lemon", "piano", "horse")))
TALKS = (
    ("It tastes sour.", "Is it often yellow?", "Yes.", "I know the word! It is a lemon."),
    ("What goes well with tea?", "I like a lemon in it."),
    ("It makes music.", "I know the word! It is a horse."),
    ("A horse.",),
    ("", "Well?"),
)

register_game(GameSpec("AdversarialTaboo", AdversarialTaboo, TASKS, TALKS))
register_game(
    GameSpec(
        "AdversarialTaboo-DrawingOut",
        partial(AdversarialTaboo, payoffs=ELICITATION, name="AdversarialTaboo-DrawingOut"),
        TASKS,
        TALKS,
    )
)


def make_taboo(name: str, **settings: Any) -> AdversarialTaboo:
    """A registered variant of Adversarial Taboo by its name. Raises ValueError for any other name, with the
    known ones."""
    known = [one for one, spec in GAMES.items() if isinstance(spec.make(), AdversarialTaboo)]
    game = GAMES[name].make(**settings) if name in known else None
    if not isinstance(game, AdversarialTaboo):
        raise ValueError(f"unknown game {name!r}; games of Adversarial Taboo: {', '.join(known)}")
    return game
