"""Questions that are made on the spot, with exact answers, from reasoning-gym (extra reasoning).

An answer counts where reasoning-gym gives it the full score: what it gives for a wrong answer (0.01 and more,
by task) counts nothing. The tasks were vetted with `python -m sparring.benchmarks.reasoning.vet`: questions
do not depend on the process, junk scores nothing, the right answer scores 1. Question i of a seed is made
from seed + i, so neighbouring seeds share nearly all questions; test seeds begin at 10^9, and whoever trains
on such tasks stays below (`train_seed`).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sparring.agents.core import Reply, Request, Sampling, derive_seed
from sparring.agents.models.language_model import LanguageModel
from sparring.envs.views import Message

from .answers import TaskAnswers, digest
from .scorer import Progress

TEST_SEEDS = 10**9
SPAN = 10**6
"""Seeds of two tests are so far apart; no task has more questions."""
MAX_TOKENS = 96
BRIEF = "\nGive only the answer, nothing else."
TASKS = (
    "basic_arithmetic", "chain_sum", "decimal_chain_sum", "products", "gcd", "lcm", "base_conversion", "bitwise_arithmetic",
    "count_bits", "simple_equations", "simple_geometry", "leg_counting", "letter_counting", "spell_backward",
    "word_sequence_reversal", "caesar_cipher", "family_relationships", "syllogism", "aiw", "knights_knaves",
    "calendar_arithmetic", "time_intervals",
)  # fmt: skip
JUNK = ("", "0", "1", "-1", "42", "yes", "no", "True", "False", "A", "the answer", "xyzzy", "[]", "{}")
"""Answers to no question: the best of them is the floor of a task."""


class Made(NamedTuple):
    """The questions of a task. entries: as reasoning-gym has them; dataset: what scores answers to them."""

    entries: tuple[dict[str, Any], ...]
    dataset: Any

    def right(self, index: int, answer: str | None) -> bool:
        """Whether an answer has the full score. An answer that the scorer cannot read is wrong."""
        try:
            return float(self.dataset.score_answer(answer, self.entries[index])) >= 1.0
        except Exception:  # what a task's own parser raises at what a model has said
            return False


def questions(task: str, items: int, seed: int = 0) -> Made:
    """The test questions of a task. Raises ValueError for more than SPAN."""
    if not 0 < items <= SPAN:
        raise ValueError(f"a procedural task has from 1 to {SPAN} questions, got {items}")
    return made(task, TEST_SEEDS + SPAN * (seed % 1000), items)


def train_seed(seed: int, items: int) -> int:
    """A seed of reasoning-gym for training, whose questions are in no test. Raises ValueError where they
    would reach the tests' seeds."""
    if not 0 <= seed <= TEST_SEEDS - items:
        raise ValueError(f"seeds for training lie from 0 to {TEST_SEEDS} less the number of questions, got {seed} with {items}")
    return seed


def made(task: str, seed: int, items: int) -> Made:
    """Questions of a task as reasoning-gym makes them with its own settings."""
    from reasoning_gym import create_dataset

    dataset = create_dataset(task, seed=seed, size=items)
    return Made(tuple(dataset[i] for i in range(items)), dataset)


def hashes(one: Made) -> list[str]:
    """By question, a digest of it and its answer: which questions two sets share."""
    return [digest([str(entry["question"]), str(entry["answer"])]) for entry in one.entries]


def blind_answers(one: Made) -> dict[str, float]:
    """The strict score of always the most frequent right answer (majority), and of the best junk answer
    (junk)."""
    usual = Counter(str(entry["answer"]) for entry in one.entries).most_common(1)[0][0]
    scores = {answer: sum(one.right(i, answer) for i in range(len(one.entries))) / len(one.entries) for answer in (*JUNK, usual)}
    return {"majority": scores[usual], "junk": max(scores[answer] for answer in JUNK)}


def ask(model: LanguageModel, task: str, items: int, seed: int = 0, progress: Progress | None = None) -> TaskAnswers:
    """A model's answers to a task, said greedily in its chat format. Raises NoRoomError where a question
    does not fit."""
    asked = questions(task, items, seed)
    prompts = [f"{entry['question']}{BRIEF}" for entry in asked.entries]
    replies = say(model, prompts, seed, progress)
    return TaskAnswers(
        tuple(float(asked.right(i, reply.text)) for i, reply in enumerate(replies)),
        tuple(f"question {i}" for i in range(items)),
        {
            "questions": digest(hashes(asked)),
            "prompt": prompts[0],
            "template": str(getattr(model.tokenizer, "chat_template", None)),
            "shots": 0,
            "max_tokens": MAX_TOKENS,
            "metric": "full score of reasoning-gym",
        },
        blind_answers(asked),
    )


def say(model: LanguageModel, prompts: Sequence[str], seed: int, progress: Progress | None = None) -> list[Reply]:
    """A model's greedy reply to each prompt."""
    sampling = Sampling(temperature=0.0, max_new_tokens=MAX_TOKENS)
    for i, prompt in enumerate(prompts):
        model.submit(Request(model, f"bench:{i}", (Message("user", prompt),), sampling, derive_seed(seed, i)))
    replies: dict[str, Reply] = {}
    while len(replies) < len(prompts):
        done = model.poll()
        replies |= {request.stream: reply for request, reply in done}
        if progress is not None and done:
            progress(len(done))
    for stream in replies:
        model.close(stream)
    return [replies[f"bench:{i}"] for i in range(len(prompts))]
