"""Tasks run by lm-eval itself, around the model in memory (extra harness).

Tasks are local YAML files that read the JSONL files of --data, or a folder of lm-eval tasks that a user has.
Log-likelihoods are summed in float32 whatever the weights are: lm-eval adds up bfloat16 otherwise, whole nats
from 128 on. lm-eval's cache of answers is never used: its keys hold the question and not the model.
"""

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sparring.agents.models.language_model import LanguageModel

from .answers import TaskAnswers, digest
from .choices import blind_answers, longest
from .data_files import checked_file, read_manifest, read_questions, read_records

BATCH = 16
PAPER = ("mmlu", "bbh", "mutual", "arc_easy", "arc_challenge", "logiqa2", "winogrande", "piqa")
"""The eight tasks of SPAG's geometric mean (arXiv 2404.10642)."""
BESIDE = ("gsm8k", "openbookqa")
PUBLISHED = (
    ("LLaMA-2-7B, base (paper)", 49.17),
    ("LLaMA-2-7B, SPAG-1 (paper)", 51.69),
    ("LLaMA-2-7B, SPAG-2 (paper)", 52.19),
    ("LLaMA-2-7B, SPAG-3 (paper)", 52.58),
    ("Baichuan-2-13B, base (paper)", 54.21),
    ("Baichuan-2-13B, SPAG-1 (paper)", 56.09),
    ("Baichuan-2-13B, SPAG-2 (paper)", 56.52),
    ("Baichuan-2-13B, SPAG-3 (paper)", 56.75),
)
"""Geometric means of the eight tasks, in percent, as the paper prints them: single runs, no intervals."""
METRICS = ("acc", "exact_match", "acc_norm")
"""The score of a question is the first of these that its task has."""
LONGEST_ANSWER = 256

Config = dict[str, Any]


def data_tasks(data: Path, names: Sequence[str]) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """The files of tasks by name, `bbh` being all files of BIG-Bench-Hard, and the tasks whose files are
    not there. Raises ValueError for altered files, and where no task has any."""
    known = read_manifest(data)
    files: dict[str, list[Path]] = {}
    left_out: dict[str, str] = {}
    for name in names:
        parts = sorted(task for task in known if task.startswith("bbh_")) if name == "bbh" else [name] if name in known else []
        if parts:
            files[name] = [checked_file(data, part) for part in parts]
        else:
            left_out[name] = f"{data} has no file of it; sparring data convert writes {name}.jsonl from the public files"
    if not files:
        raise ValueError(f"{data} has none of {', '.join(names)}; sparring data convert SOURCE --data {data} fills it from public files")
    return files, left_out


def task_config(name: str, files: Sequence[Path], cache: Path) -> Config:
    """lm-eval's settings of a task that reads our files. A task whose answers are texts is generated, and
    scored as lm-eval's gsm8k."""
    config: Config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": [str(file.resolve()) for file in files]}, "cache_dir": str(cache)},
        "test_split": "test",
        "doc_to_text": "question",
        "num_fewshot": 0,
    }
    if "options" in read_records(files[0])[0]:
        metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")]
        return config | {"output_type": "multiple_choice", "doc_to_choice": "options", "doc_to_target": "answer", "metric_list": metrics}
    exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
    pick = [{"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"}, {"function": "take_first"}]
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "metric_list": [{**exact, "regexes_to_ignore": [",", "\\$", "\\.$"]}],
        "generation_kwargs": {"until": ["Question:"], "do_sample": False, "max_gen_toks": LONGEST_ANSWER},
        "filter_list": [{"name": "flexible-extract", "filter": pick}],
    }


@contextmanager
def task_folder(files: Mapping[str, Sequence[Path]]) -> Iterator[Path]:
    """A folder of YAML tasks for a while, and the cache of what lm-eval reads."""
    with tempfile.TemporaryDirectory(prefix="sparring-bench-") as place:
        for name, parts in files.items():
            text = yaml.safe_dump(task_config(name, parts, Path(place) / "cache"))
            (Path(place) / f"{name}.yaml").write_text(text, encoding="utf-8")
        yield Path(place)


def ask_files(
    model: LanguageModel, files: Mapping[str, Sequence[Path]], *, chat: bool, items: int | None = None, seed: int = 0
) -> dict[str, TaskAnswers]:
    """A model's answers to tasks of our files. items: so many questions, drawn by the seed, None for all."""
    records = {name: [record for file in parts for record in read_records(file)] for name, parts in files.items()}
    drawn = {
        name: sorted(random.Random(seed).sample(range(len(lines)), k=min(items or len(lines), len(lines))))
        for name, lines in records.items()
    }
    with task_folder(files) as folder:
        answers = ask_folder(model, folder, list(files), chat=chat, samples=drawn)
    for name, one in answers.items():
        clusters, blind = one.clusters, {}
        if "options" in records[name][0]:
            every = [question for file in files[name] for question in read_questions(file, name)]
            chosen = [every[i] for i in drawn[name]]
            clusters, blind = tuple(question.cluster for question in chosen), blind_answers(chosen)
        answers[name] = replace(one, clusters=clusters, baselines=blind, asked={**one.asked, "in_mean": name not in BESIDE})
    return answers


def too_long(model: LanguageModel, files: Sequence[Path], *, chat: bool) -> str | None:
    """Why a model cannot read the questions of files, which lm-eval would cut off without a word; None
    where it can."""
    records = read_records(files[0])
    if "options" in records[0]:
        tokens = max(longest(model, read_questions(file, file.stem), chat=chat) for file in files)
    else:
        tokens = max(len(model.tokenizer.encode(str(r["question"]))) for file in files for r in read_records(file)) + LONGEST_ANSWER
    known = model.loop.max_length
    return f"its longest question has {tokens} tokens, {model.name} reads {known}" if tokens > known else None


def ask_folder(
    model: LanguageModel,
    folder: Path,
    names: Sequence[str],
    *,
    chat: bool,
    items: int | None = None,
    samples: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, TaskAnswers]:
    """A model's answers to tasks of a folder of lm-eval's YAML files, whose Python functions, if any, are
    run. items: the first so many questions; samples: the questions' numbers by task. Raises ValueError for
    tasks without one of METRICS."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(
        pretrained=model.model,
        tokenizer=model.tokenizer,
        batch_size=BATCH,
        max_length=model.loop.max_length,
        softmax_dtype="float32",
    )
    with model.active_adapter():
        results = simple_evaluate(
            model=lm,
            tasks=list(names),
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            apply_chat_template=chat,
            limit=items,
            samples=samples and {name: list(numbers) for name, numbers in samples.items()},
            log_samples=True,
            bootstrap_iters=0,
            use_cache=None,
        )
    return {name: _answers(name, results["samples"][name], results["configs"][name], model, chat=chat) for name in results["samples"]}


def _answers(name: str, samples: Sequence[Config], config: Config, model: LanguageModel, *, chat: bool) -> TaskAnswers:
    first = min(str(sample.get("filter")) for sample in samples)
    asked = sorted((sample for sample in samples if str(sample.get("filter")) == first), key=lambda sample: sample["doc_id"])
    metric = next((metric for metric in METRICS if metric in asked[0]), None)
    if metric is None:
        raise ValueError(f"{name} has none of the scores that can be compared by question: {', '.join(METRICS)}")
    prompts = [str(sample["arguments"]) + str(sample["target"]) for sample in asked]
    chosen = asked if config["output_type"] == "multiple_choice" else []
    likelihoods = tuple(tuple(float(reply[0]) for reply in sample["filtered_resps"]) for sample in chosen)
    generated = config.get("generation_kwargs") or {}
    return TaskAnswers(
        tuple(float(sample[metric]) for sample in asked),
        tuple(f"line {sample['doc_id']}" for sample in asked),
        {
            "questions": digest(prompts),
            "prompt": prompts[0],
            "template": str(model.tokenizer.chat_template) if chat else None,
            "shots": config.get("num_fewshot") or 0,
            "max_tokens": generated.get("max_gen_toks"),
            "metric": f"{metric} of lm-eval",
            "filter": first,
        },
        {},
        likelihoods,
    )


def folder_tasks(folder: Path) -> list[str]:
    """The tasks of a folder of lm-eval's YAML files. Raises ValueError where there are none."""
    from lm_eval.tasks import TaskManager

    names = list(TaskManager(include_path=str(folder), include_defaults=False).all_subtasks)
    if not names:
        raise ValueError(f"{folder} holds no tasks of lm-eval (YAML files with a key `task`)")
    return sorted(names)
