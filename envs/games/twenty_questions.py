"""Twenty Questions as a duel: the asker has to name a noun of the everyday world by questions that the
answerer answers with yes or no.

Rules only. The asker speaks first, and wins by declaring the word; a wrong declaration loses. The answerer
wins when the questions run out, and may not lie: where a question belongs to the world's small English its
answer is known, and a false answer loses. Other questions may be answered either way. Silence and over-long
speech lose for their speaker.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core import Evidence, GameSpec, Observation, Outcome, Task, Utterance, check_limits, heard, next_utterance, register_game
from ..judge.declarations import declaration
from ..judge.normalise import unheard
from ..judge.verdict import is_right
from ..judge.word_forms import clean_target
from ..world.english import Guess, Probe, parse_sentences
from ..world.facts import everyday

ASKER, ANSWERER = ROLES = ("asker", "answerer")
_OTHER = {ASKER: ANSWERER, ANSWERER: ASKER}


@dataclass(frozen=True)
class TwentyQuestions:
    """The rules. max_turns: utterances per role; a declaration takes the place of a question. max_characters:
    longer utterances are over-long."""

    max_turns: int = 20
    max_characters: int = 2000

    name = "TwentyQuestions"
    version = 1
    roles = ROLES
    secret_roles = (ANSWERER,)
    reasons = ("declared_right", "declared_wrong", "lied", "foul", "silent", "overlong", "turn_limit")
    zero_sum = True
    utility_range = (-1.0, 1.0)
    clonable = True
    replayable = True

    def __post_init__(self) -> None:
        check_limits(max_turns=self.max_turns, max_characters=self.max_characters)

    @property
    def horizon(self) -> int:
        return 2 * self.max_turns

    def start(self, task: Task) -> "QuestionsState":
        if task.secret not in everyday().nouns:
            raise ValueError(
                f"task {task.id}: Twenty Questions knows the right answers for nouns of the everyday world alone, and {task.secret!r} "
                "is none; take words from the list everyday"
            )
        return QuestionsState(self, task)

    def config(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class QuestionsState:
    """One position: the rules, the task and the utterances so far."""

    game: TwentyQuestions
    task: Task
    utterances: tuple[Utterance, ...] = ()
    outcome: Outcome | None = None

    @property
    def to_act(self) -> str | None:
        return None if self.outcome else ROLES[len(self.utterances) % 2]

    def apply(self, text: str, *, truncated: bool = False) -> "QuestionsState":
        utterances = (*self.utterances, next_utterance(self, text, truncated))
        return replace(self, utterances=utterances, outcome=self._judge(utterances))

    def _judge(self, utterances: tuple[Utterance, ...]) -> Outcome | None:
        last = utterances[-1]
        whole = Evidence(len(utterances) - 1, 0, len(last.text), "")
        if lost := unheard(last.text, last.truncated, self.game.max_characters):
            return _won(_OTHER[last.role], lost, whole)
        if last.role == ASKER:
            declared = declaration(last.text)
            if declared is None:
                return None
            right = declared.guess is not None and is_right(declared.guess, self.task.secret)
            evidence = Evidence(whole.turn, declared.start, declared.end, declared.guess or "")
            return _won(ASKER if right else ANSWERER, "declared_right" if right else "declared_wrong", evidence)
        answer = yes_or_no(last.text)
        if answer is None:
            return _won(ASKER, "foul", whole)
        if truth(utterances[-2].text, self.task.secret) not in (answer, None):
            return _won(ASKER, "lied", whole)
        return _won(ANSWERER, "turn_limit", None) if len(utterances) == self.game.horizon else None

    def observe(self, role: str) -> Observation:
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; the roles are {', '.join(ROLES)}")
        private = {"word": self.task.secret} if role == ANSWERER else {}
        utterances = heard(self.utterances, self.outcome, role)
        return Observation(self.game.name, role, {"max_turns": self.game.max_turns}, private, utterances, self.to_act, self.outcome)


def _won(winner: str, reason: str, evidence: Evidence | None) -> Outcome:
    return Outcome({winner: 1.0, _OTHER[winner]: -1.0}, winner, reason, evidence)


def yes_or_no(text: str) -> bool | None:
    """What an answer means; None unless it is exactly yes or no, in any case and punctuation. The text is not
    silent."""
    try:
        return {"yes": True, "no": False}.get(clean_target(text))
    except ValueError:
        return None


def truth(question: str, secret: str) -> bool | None:
    """The right answer; None where the text is not exactly one yes/no question of the world's small
    English."""
    acts = [act for _, act in parse_sentences(question)]
    match acts:
        case [Probe(fact)]:
            return everyday().has(secret, fact)
        case [Guess(noun)]:
            return noun == secret
    return None


TASKS = tuple(Task(f"example-{word}", word, word, seed) for seed, word in enumerate(("lemon", "piano", "horse")))
TALKS = (
    ("Is it often yellow?", "Yes.", "Does it taste sour?", "Yes.", "I know the word! It is a lemon."),
    ("Would you give it to a friend?", "no", "I know the word! It is a horse."),
    ("Is it often yellow?", "No."),
    ("What is it?", "It is a secret."),
    ("Well?", ""),
)

register_game(GameSpec("TwentyQuestions", TwentyQuestions, TASKS, TALKS))
