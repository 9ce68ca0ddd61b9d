"""What a model has answered, question by question: what the comparison of models reads, and what is kept in
files.

Scores can only be compared where models were asked alike, so everything that a score depends on is kept
beside it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sparring.agents.models.language_model import LanguageModel
from sparring.selfplay.storage.folder import to_json, write_text

from .scorer import TOKENS_PER_BATCH

SCHEMA = 1


@dataclass(frozen=True)
class TaskAnswers:
    """The answers to one task's questions.

    scores: [n], each in [0, 1]. clusters: [n], equal where questions are not independent. asked: what scores
    depend on beside the model and must be equal to compare (the digest of prompts and options, the template,
    shots, the longest answer, the metric). baselines: scores of ways to answer blindly, by name.
    log_likelihoods: per question those of its options, where options were scored.
    """

    scores: tuple[float, ...]
    clusters: tuple[str, ...]
    asked: Mapping[str, Any]
    baselines: Mapping[str, float] = field(default_factory=dict)
    log_likelihoods: tuple[tuple[float, ...], ...] = ()

    @property
    def score(self) -> float:
        return sum(self.scores) / len(self.scores)

    @property
    def right_or_wrong(self) -> bool:
        """Whether every score is 0 or 1."""
        return all(score in (0.0, 1.0) for score in self.scores)


@dataclass(frozen=True)
class ModelAnswers:
    """All answers of one model. run: the dtype, batch size, device and library versions of the pass.
    left_out: tasks that were not asked, and why."""

    model: str
    tasks: Mapping[str, TaskAnswers]
    run: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        write_text(path, to_json({"schema": SCHEMA, **asdict(self)}))

    def without(self, tasks: Iterable[str]) -> "ModelAnswers":
        """The same answers but for some tasks."""
        gone = set(tasks)
        return replace(self, tasks={task: one for task, one in self.tasks.items() if task not in gone})

    @classmethod
    def read(cls, path: Path) -> "ModelAnswers":
        """Raises ValueError where the file is missing or is none of these."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']!r}, this version reads {SCHEMA}")
            tasks = {name: _task(value) for name, value in data["tasks"].items()}
            return cls(str(data["model"]), tasks, dict(data["run"]), dict(data["left_out"]))
        except (
            OSError,
            UnicodeDecodeError,
            KeyError,
            TypeError,
            AttributeError,
            ValueError,
            RecursionError,
        ) as error:
            raise ValueError(f"{path} holds no answers of sparring bench ({type(error).__name__}: {error})") from error


def _task(value: Mapping[str, Any]) -> TaskAnswers:
    scores = tuple(float(score) for score in value["scores"])
    clusters = tuple(str(cluster) for cluster in value["clusters"])
    if not scores or len(scores) != len(clusters) or not all(0 <= score <= 1 for score in scores):
        raise ValueError(f"{len(scores)} scores and {len(clusters)} clusters; each score must be from 0 to 1")
    options = tuple(tuple(float(x) for x in row) for row in value["log_likelihoods"])
    return TaskAnswers(scores, clusters, dict(value["asked"]), {k: float(v) for k, v in value["baselines"].items()}, options)


def circumstances(model: LanguageModel) -> dict[str, Any]:
    """What the numbers of a pass depend on beside model and questions."""
    parameter = next(model.model.parameters())
    return {
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
        "tokens_per_batch": TOKENS_PER_BATCH,
        "versions": {name: version(name) for name in ("sparring", "torch", "transformers", "tokenizers")},
    }


def digest(texts: Sequence[str]) -> str:
    """SHA-256 of texts in order: tells questions from other ones."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def require_alike(answers: Sequence[ModelAnswers]) -> None:
    """Raises ValueError with the first difference where models were not asked the same questions in the
    same way."""
    first = answers[0]
    for other in answers[1:]:
        odd = set(first.tasks) ^ set(other.tasks)
        if odd:
            raise ValueError(
                f"{first.model} and {other.model} were not asked the same tasks: {', '.join(sorted(odd))} is in one of them only"
            )
        for task, one in first.tasks.items():
            _require_alike_task(task, first.model, one, other.model, other.tasks[task])
        for key in ("dtype", "versions"):
            if first.run.get(key) != other.run.get(key):
                raise ValueError(
                    f"{first.model} and {other.model} were run with another {key}: {first.run.get(key)} and {other.run.get(key)}; "
                    "scores depend on it, so measure both alike"
                )


def _require_alike_task(task: str, name: str, one: TaskAnswers, other_name: str, other: TaskAnswers) -> None:
    for key in sorted({*one.asked, *other.asked}):
        if one.asked.get(key) != other.asked.get(key):
            raise ValueError(
                f"{task}: {name} and {other_name} were not asked alike, {key} is {one.asked.get(key)!r} and {other.asked.get(key)!r}"
            )
    if one.clusters != other.clusters:
        raise ValueError(f"{task}: {name} and {other_name} were not asked the same {len(one.scores)} questions")
