"""Which tasks a suite's name stands for, and how they are asked of a model."""

import importlib.util
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparring.agents.models.language_model import LanguageModel

from . import everyday
from .answers import TaskAnswers, digest
from .choices import ask, longest
from .data_files import checked_file, read_manifest, read_questions
from .questions import Question
from .scorer import Progress

NAMES = ("everyday", "procedural", "spag")
EXTRAS = {
    "procedural": ("reasoning", "reasoning_gym"),
    "spag": ("harness", "lm_eval"),
    "harness": ("harness", "lm_eval"),
}
TEMPLATES = ("plain", "chat")
PER_TASK = 200

Answered = tuple[dict[str, TaskAnswers], dict[str, str]]
"""Answers by task, and the tasks that were left out with the reason."""


@dataclass(frozen=True)
class Asking:
    """How tasks are asked. data: the folder with their files. items: questions per task, drawn by the
    seed; None for 200 of a suite that makes its questions and all of a file. templates: "plain", "chat" or
    both; a model without a chat template is asked plainly only."""

    data: Path | None = None
    items: int | None = None
    seed: int = 0
    templates: Sequence[str] = TEMPLATES


class Suite(NamedTuple):
    """ask: asks a model all its tasks. answers: how many answers that takes, about."""

    ask: Callable[[LanguageModel, Progress | None], Answered]
    answers: int


def suite(spec: str, asking: Asking) -> Suite:
    """The suite of a name: everyday, procedural, spag, names of tasks in the data folder with commas between
    them, or a JSONL file.

    Raises ValueError where the name means nothing, files are missing or altered, or an extra is not
    installed.
    """
    if asking.items is not None and asking.items < 1:
        raise ValueError(f"--items must be at least 1, got {asking.items}")
    require_extra(spec)
    if spec == "everyday":
        answers = sum(len(item.prompts) for item in everyday.items(asking.items or PER_TASK, asking.seed))
        return Suite(lambda model, progress: (_everyday(model, asking, progress), {}), answers)
    if spec in EXTRAS:
        raise ValueError(f"the suite {spec} is not there yet")
    return _of_questions(questions_of(spec, asking), asking)


def require_extra(spec: str) -> None:
    """Raises ValueError with what to install where a suite's libraries are not there."""
    extra, module = EXTRAS.get(spec, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise ValueError(f"the suite {spec} needs the extra {extra}: pip install -e '.[{extra}]' in the checkout")


def questions_of(spec: str, asking: Asking) -> dict[str, list[Question]]:
    """The questions of multiple-choice tasks by task. Raises ValueError as `suite`."""
    if spec.endswith(".jsonl"):
        found = {Path(spec).stem: read_questions(Path(spec), Path(spec).stem)}
    else:
        if asking.data is None:
            raise ValueError(
                f"the suite {spec!r} is none of {', '.join(NAMES)}; tasks from files need --data DIR, which sparring data convert fills"
            )
        known = read_manifest(asking.data)
        names = [
            task for name in spec.split(",") for task in (sorted(t for t in known if t.startswith("bbh_")) if name == "bbh" else [name])
        ]
        found = {task: read_questions(checked_file(asking.data, task), task) for task in names}
    return {task: _drawn(questions, asking) for task, questions in found.items()}


def _drawn(questions: list[Question], asking: Asking) -> list[Question]:
    if asking.items is None or asking.items >= len(questions):
        return questions
    chosen = random.Random(asking.seed).sample(range(len(questions)), k=asking.items)
    return [questions[i] for i in sorted(chosen)]


def _of_questions(tasks: Mapping[str, list[Question]], asking: Asking) -> Suite:
    def asked(model: LanguageModel, progress: Progress | None) -> Answered:
        answers: dict[str, TaskAnswers] = {}
        left_out: dict[str, str] = {}
        templates = [kind for kind in asking.templates if kind == "plain" or getattr(model.tokenizer, "chat_template", None)]
        for task, questions in tasks.items():
            for kind in templates:
                name = f"{task} ({kind})" if len(asking.templates) > 1 else task
                tokens = longest(model, questions, chat=kind == "chat")
                if tokens > model.loop.max_length:
                    left_out[name] = f"its longest question has {tokens} tokens, {model.name} reads {model.loop.max_length}"
                else:
                    answers[name] = ask(model, questions, chat=kind == "chat", progress=progress)
        return answers, left_out

    answers = sum(len(question.options) for questions in tasks.values() for question in questions)
    return Suite(asked, answers * len(asking.templates))


def _everyday(model: LanguageModel, asking: Asking, progress: Progress | None) -> dict[str, TaskAnswers]:
    result = everyday.evaluate(model, asking.items or PER_TASK, asking.seed, progress)
    test = everyday.items(asking.items or PER_TASK, asking.seed)
    answers = {}
    for task, row in result["tasks"].items():
        own = [i for i, name in enumerate(result["task_of"]) if name == task]
        prompts = [message.content for i in own for prompt in test[i].prompts for message in prompt]
        answers[task] = TaskAnswers(
            tuple(result["scores"][i] for i in own),
            tuple(result["clusters"][i] for i in own),
            {
                "questions": digest(prompts),
                "prompt": " | ".join(message.content for message in test[own[0]].prompts[0]),
                "template": str(getattr(model.tokenizer, "chat_template", None)),
                "shots": 0,
                "max_tokens": None,
                "metric": "the likeliest option is right" if test[own[0]].choice else "probability of the right options",
            },
            {name: row[name] for name in ("chance", "majority", "shortest", "longest") if name in row},
        )
    return answers
