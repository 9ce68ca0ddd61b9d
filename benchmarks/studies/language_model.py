"""The study on a general language model: does self-play help it, beyond more demonstrations and beyond chance?

    python -m sparring.benchmarks.studies.study --model smollm2 --data ../shared/data --commit True

Every seed trains a start on demonstrations, from which all arms go on: self-play by the group-relative objective, and two controls, the
demonstrations of as many trained tokens, and self-play with outcomes dealt out at random. Words are those of the everyday world in their
three groups, and common nouns outside it that no demonstration names, played and held out. What counts is the paired difference of an arm
from a control, seed by seed.

Each run that has ended leaves a small file of results, and is not run again where that file is; an interrupted one is resumed.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparring.agents.core import derive_seed
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_location, parameters
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.config.presets import preset
from sparring.selfplay.evaluation.gate import BROKEN, WON, share_of
from sparring.selfplay.evaluation.statistics import over_seeds
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.folder import RunFolder, read_lines, to_json, write_text
from sparring.selfplay.storage.summary import read

from ..reasoning.convert import convert
from ..reasoning.suites import Asking, suite
from .study import carry_out, measurements, provenance_of

START = "start"
ARMS: dict[str, dict[str, Any]] = {
    "group": {"method": "group"},
    "shuffled": {"method": "shuffled(group)"},
    "expert": {"method": "expert"},
}
"""In the order in which they are run: demonstrations train on as many tokens as the group arm did."""
TASKS = ("arc_easy", "piqa", "bbh_date_understanding", "bbh_disambiguation_qa", "bbh_hyperbaton", "bbh_logical_deduction_three_objects")
SCHEMA = 1


@dataclass(frozen=True)
class LanguageModelStudy:
    """What is run."""

    model: str = "smollm2"
    """The model as it comes."""
    out: Path = Path("runs/study-smollm2")
    """Folder of the runs."""
    results: Path = Path("benchmarks/results/study_smollm2")
    """Folder of the files of results, ARM-SEED.json."""
    seeds: int = 3
    """Training seeds, from 0."""
    rounds: int = 8
    """Rounds of every arm."""
    games_per_round: int = 64
    """Games of a round."""
    games: int = 48
    """Games per cell (role, group of words) against the frozen start."""
    gate: bool = True
    """Whether a start has to win some of its games against itself before self-play begins."""
    sft_steps: int | None = None
    """Steps of the supervised start; None: as the preset for the model has it."""
    words: str = "everyday+band:501-1500"
    """The everyday world's words, and those of a list outside it."""
    heldout: float = 0.3
    """Share of the words outside the world that are never played, about."""
    data: Path | None = None
    """The folder with public benchmark files for ARC-easy, PIQA and BIG-Bench Hard; None leaves reasoning out."""
    items: int = 200
    """Questions per task."""
    commit: bool = False
    """Whether a file of results is committed to git as soon as it is there."""


def run_of(config: LanguageModelStudy, arm: str, seed: int) -> Path:
    return config.out / f"{arm}-{seed}"


def result_of(config: LanguageModelStudy, arm: str, seed: int) -> Path:
    return config.results / f"{arm}-{seed}.json"


def settings_of(config: LanguageModelStudy, arm: str, seed: int) -> TrainConfig:
    """The run of an arm, or of a seed's start."""
    first = arm == START
    model = config.model if first else f"{run_of(config, START, seed)}@0"
    base = preset("full", model, everyday=False, parameters=parameters(config.model), plays=not first)
    changes = dict(ARMS.get(arm, {}))
    if arm == "expert":
        changes["method_options"] = {"like": str(run_of(config, "group", seed))}
    steps = base.sft.steps if config.sft_steps is None or not first else config.sft_steps
    return replace(
        base,
        rounds=0 if first else config.rounds,
        games_per_round=config.games_per_round,
        words=config.words,
        heldout=config.heldout,
        seed=seed,
        keep_checkpoints=1,
        out=run_of(config, arm, seed),
        sft=replace(base.sft, steps=steps),
        evaluation=replace(base.evaluation, games=config.games, control=False),
        alarms=replace(base.alarms, action="warn", limits=base.alarms.limits if config.gate and arm == "group" else {}),
        **changes,
    )


def run(config: LanguageModelStudy, arm: str, seed: int) -> dict[str, Any]:
    """Carries out one run and returns its result."""
    made = settings_of(config, arm, seed)
    before = None if arm == START else RunFolder.open(run_of(config, START, seed)).evaluation_file(0)
    carry_out(made, json.loads(before.read_text(encoding="utf-8")) if before else None)
    folder = run_of(config, arm, seed)
    summary = read(folder).data
    return {
        "schema": SCHEMA,
        "arm": arm,
        "seed": seed,
        "settings": shared_settings(config),
        "measured": measurements(folder),
        "rounds": [_of_round(record) for record in read_lines(RunFolder.open(folder).metrics)],
        "alarms": summary["alarms"],
        "reasoning": reasoning(config, arm, seed),
        "provenance": provenance_of(folder),
    }


def shared_settings(config: LanguageModelStudy) -> dict[str, Any]:
    """What must be equal in all results of a study."""
    names = ("model", "rounds", "games_per_round", "games", "gate", "sft_steps", "words", "heldout", "items")
    return {name: getattr(config, name) for name in names} | {"reasoning": config.data is not None}


def _of_round(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables need of a round's metrics."""
    kept = {name: value for name, value in record.items() if isinstance(value, int | float)}
    return {**kept, "decisive": share_of(record, WON), "broken": share_of(record, BROKEN), "reasons": record.get("reasons")}


def reasoning(config: LanguageModelStudy, arm: str, seed: int) -> dict[str, float]:
    """The share of right answers by task: of several options the likeliest, by its log-likelihood per character. Questions are the
    seed's own, equal for all arms."""
    if config.data is None:
        return {}
    folder = config.out / "questions"
    if not folder.is_dir():
        convert(config.data, folder)
    name = f"{run_of(config, arm, seed)}@latest"
    model = load_language_model(model_location(name), name=name)
    asking = Asking(folder, config.items, derive_seed(seed, "reasoning") % 2**32, templates=("plain",))
    answers, _ = suite(",".join(TASKS), asking).ask(model, None)
    return {task: answer.score for task, answer in answers.items()}


def known(config: LanguageModelStudy, arm: str, seed: int) -> dict[str, Any] | None:
    """The result of a run that has ended before. Raises ValueError where it was of other settings."""
    path = result_of(config, arm, seed)
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != shared_settings(config):
        raise ValueError(f"{path} is of other settings, {found['settings']}; give another --results, or the same settings")
    return found


def results(config: LanguageModelStudy) -> Iterator[dict[str, Any]]:
    """All results, seed by seed, from the files where they are there."""
    for seed in range(config.seeds):
        for arm in (START, *ARMS):
            result = known(config, arm, seed)
            if result is None:
                result = run(config, arm, seed)
                write_text(result_of(config, arm, seed), to_json(result))
                if config.commit:
                    commit(result_of(config, arm, seed), f"Study of {config.model}: {arm}, seed {seed}")
            yield result


def commit(path: Path, message: str) -> None:
    """Commits one file and nothing else. Where git refuses, that is said, and the file stays."""
    for command in (["add", "--", path.name], ["commit", "-q", "-m", message, "--", path.name]):
        done = subprocess.run(["git", *command], cwd=path.parent, capture_output=True, text=True, check=False)
        if done.returncode:
            Shown().say(f"{path} is not committed: git {command[0]}: {done.stderr.strip()}")
            return


def table(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By measurement the means over seeds: before, after each arm, and the paired difference of self-play from each control."""
    by_arm = {arm: [result for result in found if result["arm"] == arm] for arm in (START, *ARMS)}
    rows: dict[str, dict[str, Any]] = {}
    for name in _numbers(by_arm["group"][0]):
        before = [_numbers(result)[name]["before"] for result in by_arm["group"]]
        row: dict[str, Any] = {"before": over_seeds(before)._asdict()}
        after = {arm: [_numbers(result)[name]["after"] for result in by_arm[arm]] for arm in ARMS}
        for arm, values in after.items():
            row[arm] = over_seeds(values)._asdict()
        for control in ("expert", "shuffled"):
            pairs = zip(after["group"], after[control], strict=True)
            row[f"group beyond {control}"] = over_seeds([a - b for a, b in pairs])._asdict()
        rows[name] = row
    if by_arm["group"][0]["reasoning"]:
        for task in TASKS:
            scores = {arm: [result["reasoning"][task] for result in by_arm[arm]] for arm in (START, *ARMS)}
            row = {"before" if arm == START else arm: over_seeds(values)._asdict() for arm, values in scores.items()}
            for control in ("expert", "shuffled"):
                pairs = zip(scores["group"], scores[control], strict=True)
                row[f"group beyond {control}"] = over_seeds([a - b for a, b in pairs])._asdict()
            rows[f"reasoning/{task}"] = row
    return rows


def _numbers(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What was measured before and after, where both are there."""
    return {name: values for name, values in result["measured"].items() if {"before", "after"} <= set(values)}


def page(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as Markdown: means over seeds with half their 95 % intervals."""
    columns = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(_cell(row[column]) for column in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def _cell(mean: Mapping[str, Any]) -> str:
    shown = f"{mean['mean']:.3f}"
    return shown if mean["low"] is None else f"{shown} ± {(mean['high'] - mean['low']) / 2:.3f}"


def main(config: LanguageModelStudy) -> None:
    rows = table(list(results(config)))
    write_text(config.results / "table.json", to_json(rows))
    print(page(rows))
