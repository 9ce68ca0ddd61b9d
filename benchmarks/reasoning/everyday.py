"""The everyday reasoning test: exact questions about the everyday world, scored by log-probability, for any
causal chat model.

Tasks: facts (recall, yes/no), reasoning in formats that the base texts contain but on words whose reasoning
questions were never seen, reasoning in formats that no text contains, and *inference in the game's format*:
hints of a game, after which the defender declares. Every multiple-choice accuracy stands beside its
baselines: chance, the majority answer, the shortest option and the longest.

A model far below its baseline has taken an unseen format for one that it knows: sparring-mini answers "Which
is smaller" as if asked which is bigger (smaller .05, bigger .97), and asked to leave out the one that lacks a
fact it names one that has it (leave_out .04).
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparring.agents.core import derive_seed
from sparring.agents.models.fidelity import no_numbers
from sparring.agents.models.language_model import LanguageModel
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.views import Message
from sparring.envs.world.english import Declare, Deflect, Hint, phrasings
from sparring.envs.world.facts import World, everyday, word_groups
from sparring.envs.world.questions import BASE, HELDOUT, TRAINED, Question
from sparring.selfplay.evaluation.statistics import paired_difference, wilson
from sparring.selfplay.learner.batch import Sample, sft_sample
from sparring.selfplay.learner.scoring import Scorer, action_logprobs
from sparring.selfplay.storage.summary import Evaluation

from .everyday_harder import HARDER

DECLARES = "I know the word! It is"
TOKENS_PER_BATCH = 2048


class Item(NamedTuple):
    """One scored item. prompts: chats that end with an assistant message; given: how much of that message is
    given, in characters.

    right: indices of the right continuations. With `choice` the item is right (1) when the best-scored
    continuation is a right one; without it the item's score is the probability of the right continuations,
    all of which are listed. cluster: what questions share (a word).
    """

    task: str
    prompts: tuple[tuple[Message, ...], ...]
    given: int
    right: tuple[int, ...]
    choice: bool
    cluster: str


def _choice_item(question: Question, task: str, order: random.Random) -> Item:
    """order: shuffles the options, so that a model to which all are equal is right by chance."""
    options = order.sample(question.options, k=len(question.options))
    prompts = tuple((Message("user", question.text), Message("assistant", option)) for option in options)
    return Item(task, prompts, 0, (options.index(question.answer),), True, question.words[0])


def _inference(world: World, word: str, hints: int, rng: random.Random) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """A game seen by the defender after some hints about a word, and the words that fit them all."""
    facts = rng.sample(sorted(world.facts[word]), k=hints)
    chat = [Message("system", TABOO_BRIEF.system["defender"])]
    for index, fact in enumerate(facts):
        chat.append(Message("user", rng.choice(phrasings(Hint(fact)))))
        if index < hints - 1:
            chat.append(Message("assistant", rng.choice(phrasings(Deflect()))))
    return tuple(chat), world.nouns_with(*facts)


def _inference_item(world: World, word: str, hints: int, group: str, rng: random.Random) -> Item:
    chat, fitting = _inference(world, word, hints, rng)
    while len(fitting) > 6:
        chat, fitting = _inference(world, word, hints, rng)
    prompts = tuple((*chat, Message("assistant", phrasings(Declare(noun))[0])) for noun in fitting)
    return Item(f"inference-{hints}/{group}", prompts, len(DECLARES), tuple(range(len(prompts))), False, word)


def choices(per_task: int, rng: random.Random, order: random.Random) -> list[Item]:
    """The multiple choice: facts on all words, trained formats on held-out words, held-out formats on all
    words."""
    world = everyday()
    found = []
    for label, formats, words in (
        ("facts", BASE, world.nouns),
        ("heldout-words", TRAINED, word_groups().heldout),
        ("heldout-formats", HELDOUT, world.nouns),
    ):
        for make in formats:
            questions = [make(world, words, rng) for _ in range(per_task)]
            found += [_choice_item(question, f"{label}/{question.format}", order) for question in questions]
    return found


def items(per_task: int = 200, seed: int = 0) -> list[Item]:
    """The test: the choices, and inference by word group."""
    rng = random.Random(seed)
    found = choices(per_task, rng, random.Random(derive_seed(seed, "options")))
    for group, words in word_groups()._asdict().items():
        for hints in (3, 4):
            found += [_inference_item(everyday(), rng.choice(words), hints, group, rng) for _ in range(per_task)]
    return found


def _sample(model: LanguageModel, prompt: tuple[Message, ...], given: int) -> Sample:
    """A chat whose last message, beyond its given characters, is to be scored."""
    ids, loss_mask = model.format.conversation(prompt)
    last = max(i for i, act in enumerate(loss_mask) if not act) + 1
    skip = 0
    if given:
        message = Message("assistant", prompt[-1].content[:given])
        part, _ = model.format.conversation((*prompt[:-1], message))
        while last + skip < len(part) and part[last + skip] == ids[last + skip]:
            skip += 1
    return sft_sample(ids, [act and i >= last + skip for i, act in enumerate(loss_mask)])


Progress = Callable[[int], object]
"""Called with how many answers have been scored since the last call."""


def log_probabilities(
    model: LanguageModel, prompts: Sequence[tuple[tuple[Message, ...], int]], progress: Progress | None = None
) -> NDArray[np.float64]:
    """The log-probability of each chat's last message (beyond its given characters), end token included.
    Shape [len(prompts)]. Raises ValueError where they are no numbers."""
    samples = [_sample(model, prompt, given) for prompt, given in prompts]
    with model.active_adapter():
        scored = action_logprobs(Scorer(model.model), samples, TOKENS_PER_BATCH, progress=progress)
    found = np.array([values.sum(dtype=np.float64) for values in scored])
    if np.isnan(found).any():
        raise ValueError(no_numbers(model.name))
    return found


def score(model: LanguageModel, test: Sequence[Item], progress: Progress | None = None) -> NDArray[np.float64]:
    """One score per item, in [0, 1]: right or wrong for a choice, else the probability of the right
    continuations. Shape [len(test)]."""
    prompts = [(prompt, item.given) for item in test for prompt in item.prompts]
    scores = log_probabilities(model, prompts) if progress is None else log_probabilities(model, prompts, progress)
    found, at = np.zeros(len(test)), 0
    for index, item in enumerate(test):
        own = scores[at : at + len(item.prompts)]
        at += len(item.prompts)
        if item.choice:
            found[index] = float(int(own.argmax()) in item.right)
        else:
            found[index] = min(1.0, sum(math.exp(own[i]) for i in item.right))
    return found


def baselines(test: Sequence[Item]) -> dict[str, dict[str, float]]:
    """Per multiple-choice task the accuracy of answers that know nothing: any option (chance), always the
    most frequent answer (majority), always the shortest option, always the longest (options of equal
    length share the credit)."""
    found: dict[str, dict[str, float]] = {}
    for task in dict.fromkeys(item.task for item in test if item.choice):
        own = [item for item in test if item.task == task]
        answers = Counter(item.prompts[item.right[0]][-1].content for item in own)
        found[task] = {
            "chance": float(np.mean([len(item.right) / len(item.prompts) for item in own])),
            "majority": max(answers.values()) / len(own),
            "shortest": float(np.mean([_by_length(item, min) for item in own])),
            "longest": float(np.mean([_by_length(item, max) for item in own])),
        }
    return found


def _by_length(item: Item, extreme: Callable[[list[int]], int]) -> float:
    lengths = [len(prompt[-1].content) for prompt in item.prompts]
    taken = [i for i, length in enumerate(lengths) if length == extreme(lengths)]
    return sum(i in item.right for i in taken) / len(taken)


def harder(per_task: int = 200, seed: int = 0) -> list[Item]:
    """The harder half of the suite, on all words: see everyday_harder.py."""
    world, rng, order = everyday(), random.Random(derive_seed(seed, "harder")), random.Random(derive_seed(seed, "harder options"))
    questions = [(name, make(world, world.nouns, rng)) for name, make in HARDER for _ in range(per_task)]
    return [_choice_item(question, f"harder/{name}", order) for name, question in questions]


def evaluate(
    model: LanguageModel,
    per_task: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
    test: Sequence[Item] | None = None,
) -> dict[str, Any]:
    """Scores by task, with intervals, baselines and `baseline`, the best of these; `scores` holds every
    item's score, for paired comparison. test: None for the items of the seed."""
    test = items(per_task, seed) if test is None else test
    scores = score(model, test, progress)
    base = baselines(test)
    tasks = {}
    for task in dict.fromkeys(item.task for item in test):
        own = np.array([s for s, item in zip(scores, test, strict=True) if item.task == task])
        row: dict[str, Any] = {"n": len(own), "score": float(own.mean()), **base.get(task, {})}
        if task in base:
            row["baseline"] = max(base[task].values())
            row["low"], row["high"] = wilson(int(own.sum()), len(own))
        tasks[task] = row
    return {
        "tasks": tasks,
        "scores": [round(float(s), 6) for s in scores],
        "clusters": [item.cluster for item in test],
        "task_of": [item.task for item in test],
    }


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Paired differences after - before by task, clustered by word, with 95 % intervals."""
    if before["task_of"] != after["task_of"]:
        raise ValueError("the two results are of different tests; run both with the same number of items and seed")
    names = np.array(before["task_of"])
    difference = {}
    for task in dict.fromkeys(before["task_of"]):
        own = names == task
        difference[task] = paired_difference(
            np.array(before["scores"])[own],
            np.array(after["scores"])[own],
            clusters=np.array(before["clusters"])[own],
        )._asdict()
    return difference


def everyday_evaluation(per_task: int = 200, seed: int = 0) -> Evaluation:
    """The test as `train` takes it."""
    return Evaluation("everyday", lambda model: evaluate(model, per_task, seed), compare, lambda result: dict(result["tasks"]))
