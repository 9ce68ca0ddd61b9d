"""Which tasks a suite's name stands for, and how they are asked of a model."""

import importlib.util
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.token_streams import NoRoomError
from sparring.agents.text import one_line

from . import everyday, harness, procedural
from .answers import TaskAnswers, digest
from .choices import ask, longest
from .data_files import checked_file, read_manifest, read_questions, read_records
from .questions import Question
from .scorer import Progress

NAMES = ("everyday", "procedural", "spag")
HARNESS = ("harness", "lm_eval")
EXTRAS = {"procedural": ("reasoning", "reasoning_gym"), "spag": HARNESS}
"""By suite the extra that it needs and a module of it."""
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
    them, a JSONL file, or a folder of lm-eval's tasks.

    Raises ValueError where the name means nothing, files are missing or altered, or an extra is not
    installed.
    """
    if asking.items is not None and asking.items < 1:
        raise ValueError(f"--items must be at least 1, got {asking.items}")
    require_extra(spec)
    if spec == "everyday":
        answers = sum(len(item.prompts) for item in _everyday_items(asking))
        return Suite(lambda model, progress: (_everyday(model, asking, progress), {}), answers)
    if spec == "procedural":
        items = asking.items or PER_TASK
        return Suite(lambda model, progress: _procedural(model, items, asking.seed, progress), items * len(procedural.TASKS))
    if spec == "spag":
        files, left_out = harness.data_tasks(_folder(spec, asking), (*harness.PAPER, *harness.BESIDE))
        return _by_lm_eval(files, left_out, asking)
    if Path(spec).is_dir():
        names = harness.folder_tasks(Path(spec))
        return _in_settings(lambda model, chat: harness.ask_folder(model, Path(spec), names, chat=chat, items=asking.items), asking)
    return _of_questions(questions_of(spec, asking), asking)


def require_extra(spec: str) -> None:
    """Raises ValueError with what to install where a suite's libraries are not there."""
    extra, module = EXTRAS.get(spec, HARNESS if Path(spec).is_dir() else ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise ValueError(f"the suite {spec} needs the extra {extra}: pip install -e '.[{extra}]' in the checkout")


def questions_of(spec: str, asking: Asking) -> dict[str, list[Question]]:
    """The questions of multiple-choice tasks by task. Raises ValueError as `suite`."""
    if spec.endswith(".jsonl"):
        found = {Path(spec).stem: read_questions(Path(spec), Path(spec).stem)}
    else:
        data = _folder(spec, asking)
        known = read_manifest(data)
        names = [
            task for name in spec.split(",") for task in (sorted(t for t in known if t.startswith("bbh_")) if name == "bbh" else [name])
        ]
        found = {task: read_questions(checked_file(data, task), task) for task in names}
    return {task: _drawn(questions, asking) for task, questions in found.items()}


def texts_of(spec: str, asking: Asking) -> dict[str, list[str]]:
    """The questions of a suite as texts, options and right answers included, by task. Raises ValueError as
    `suite`, and for a folder of lm-eval's tasks, whose questions lm-eval alone can read."""
    require_extra(spec)
    items = asking.items or PER_TASK
    if spec == "everyday":
        test: dict[str, list[str]] = {}
        for item in _everyday_items(asking):
            test.setdefault(item.task, []).append(" ".join(message.content for message in item.prompts[item.right[0]]))
        return test
    if spec == "procedural":
        made = {task: procedural.questions(task, items, asking.seed) for task in procedural.TASKS}
        return {task: [f"{entry['question']} {entry['answer']}" for entry in one.entries] for task, one in made.items()}
    if spec == "spag":
        files, _ = harness.data_tasks(_folder(spec, asking), (*harness.PAPER, *harness.BESIDE))
        records = {task: [record for part in parts for record in read_records(part)] for task, parts in files.items()}
        return {task: [f"{r['question']} {' '.join(r.get('options', [r['answer']]))}" for r in lines] for task, lines in records.items()}
    if Path(spec).is_dir():
        raise ValueError(f"the questions of {spec} cannot be compared with training material: only lm-eval can read them")
    found = questions_of(spec, asking)
    return {task: [f"{q.context} {' '.join(q.options)}" for q in asked] for task, asked in found.items()}


def _folder(spec: str, asking: Asking) -> Path:
    if asking.data is None:
        raise ValueError(
            f"the suite {spec!r} reads files: it needs --data DIR, which sparring data convert fills "
            f"(suites: {', '.join(NAMES)}, tasks of --data, a JSONL file, a folder of lm-eval's tasks)"
        )
    return asking.data


def _drawn(questions: list[Question], asking: Asking) -> list[Question]:
    if asking.items is None or asking.items >= len(questions):
        return questions
    chosen = random.Random(asking.seed).sample(range(len(questions)), k=asking.items)
    return [questions[i] for i in sorted(chosen)]


def _of_questions(tasks: Mapping[str, list[Question]], asking: Asking) -> Suite:
    def asked(model: LanguageModel, progress: Progress | None) -> Answered:
        answers: dict[str, TaskAnswers] = {}
        left_out: dict[str, str] = {}
        for task, questions in tasks.items():
            for kind in _settings(model, asking):
                name = _name(task, kind, asking)
                tokens = longest(model, questions, chat=kind == "chat")
                if tokens > model.loop.max_length:
                    left_out[name] = f"its longest question has {tokens} tokens, {model.name} reads {model.loop.max_length}"
                else:
                    answers[name] = ask(model, questions, chat=kind == "chat", progress=progress)
        return answers, left_out

    answers = sum(len(question.options) for questions in tasks.values() for question in questions)
    return Suite(asked, answers * len(asking.templates))


def _settings(model: LanguageModel, asking: Asking) -> list[str]:
    return [kind for kind in asking.templates if kind == "plain" or getattr(model.tokenizer, "chat_template", None)]


def _name(task: str, kind: str, asking: Asking) -> str:
    return f"{task} ({kind})" if len(asking.templates) > 1 else task


def _by_lm_eval(files: Mapping[str, Sequence[Path]], missing: Mapping[str, str], asking: Asking) -> Suite:
    def asked(model: LanguageModel, progress: Progress | None) -> Answered:
        answers: dict[str, TaskAnswers] = {}
        left_out = dict(missing)
        for kind in _settings(model, asking):
            long = {task: harness.too_long(model, parts, chat=kind == "chat") for task, parts in files.items()}
            fitting = {task: parts for task, parts in files.items() if long[task] is None}
            left_out |= {_name(task, kind, asking): why for task, why in long.items() if why is not None}
            if fitting:
                found = harness.ask_files(model, fitting, chat=kind == "chat", items=asking.items, seed=asking.seed)
                answers |= {_name(task, kind, asking): one for task, one in found.items()}
        return answers, left_out

    return Suite(asked, 0)


def _in_settings(ask_in: Callable[[LanguageModel, bool], dict[str, TaskAnswers]], asking: Asking) -> Suite:
    def asked(model: LanguageModel, progress: Progress | None) -> Answered:
        kinds = _settings(model, asking)
        return {_name(task, kind, asking): one for kind in kinds for task, one in ask_in(model, kind == "chat").items()}, {}

    return Suite(asked, 0)


def _procedural(model: LanguageModel, items: int, seed: int, progress: Progress | None) -> Answered:
    answers: dict[str, TaskAnswers] = {}
    left_out: dict[str, str] = {}
    for task in procedural.TASKS:
        try:
            answers[task] = procedural.ask(model, task, items, seed, progress)
        except NoRoomError as error:
            left_out[task] = one_line(error)
    return answers, left_out


def _everyday_items(asking: Asking) -> list[everyday.Item]:
    per_task = asking.items or PER_TASK
    return [*everyday.items(per_task, asking.seed), *everyday.harder(per_task, asking.seed)]


def _everyday(model: LanguageModel, asking: Asking, progress: Progress | None) -> dict[str, TaskAnswers]:
    test = _everyday_items(asking)
    result = everyday.evaluate(model, progress=progress, test=test)
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
