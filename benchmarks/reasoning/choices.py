"""A task of multiple choice, asked of one model: log-likelihoods of the options, right or wrong by the
likeliest, answers of the ignorant."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from sparring.agents.models.language_model import LanguageModel

from .answers import TaskAnswers, digest
from .questions import Question, continuations
from .scorer import Progress, log_likelihoods


def ask(model: LanguageModel, questions: Sequence[Question], *, chat: bool, progress: Progress | None = None) -> TaskAnswers:
    """A model's answers to one task. chat: through its chat template. Raises ValueError where a question
    does not fit into its context."""
    asked = continuations(model, questions, chat=chat)
    scores = log_likelihoods(model, [one for options in asked for one in options], progress)
    likelihoods = np.split(scores, np.cumsum([len(options) for options in asked])[:-1])
    return TaskAnswers(
        tuple(float(int(row.argmax()) == question.right) for row, question in zip(likelihoods, questions, strict=True)),
        tuple(question.cluster for question in questions),
        {
            "questions": digest([text for q in questions for text in (q.context, *q.options, str(q.right))]),
            "prompt": questions[0].context,
            "template": str(getattr(model.tokenizer, "chat_template", None)) if chat else None,
            "shots": 0,
            "max_tokens": None,
            "metric": "the likeliest option is right",
        },
        blind_answers(questions),
        tuple(tuple(round(float(x), 5) for x in row) for row in likelihoods),
    )


def longest(model: LanguageModel, questions: Sequence[Question], *, chat: bool) -> int:
    """Tokens of the longest question with an answer, as they go through a model."""
    return max(one.length for options in continuations(model, questions, chat=chat) for one in options)


def blind_answers(questions: Sequence[Question]) -> dict[str, float]:
    """The accuracy of answers that know nothing: any option (chance), always the place or text that is
    right most often (majority), always the shortest option, always the longest (options of equal length
    share the credit)."""
    places = Counter(question.right for question in questions)
    texts = Counter(question.options[question.right] for question in questions)
    return {
        "chance": float(np.mean([1 / len(question.options) for question in questions])),
        "majority": max(*places.values(), *texts.values()) / len(questions),
        "shortest": float(np.mean([_by_length(question, min) for question in questions])),
        "longest": float(np.mean([_by_length(question, max) for question in questions])),
    }


def _by_length(question: Question, extreme: Callable[[Sequence[int]], int]) -> float:
    lengths = [len(option) for option in question.options]
    taken = [i for i, length in enumerate(lengths) if length == extreme(lengths)]
    return (question.right in taken) / len(taken)
