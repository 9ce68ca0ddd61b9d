"""The study of the main job: does self-play help, beyond what more SFT brings? Several seeds, controls at equal tokens.

    python -m sparring.benchmarks.studies.study --seeds 5 --jobs 2 --result benchmarks/results/study.json

Seeds vary everything after the base: SFT, words drawn, games, updates, measurement. All arms of a seed start from the same SFT
model. Arms: self-play by the group-relative objective and by SPAG, and three controls: SFT on new expert games and of the winners'
side alone, with as many trained tokens per round as the group arm of the same seed, and self-play with outcomes dealt out at random, in as
many games. What counts is the paired difference of an arm from a control, seed by seed.

What each correction of SPAG does by itself is another study: SPAG as published, and with one error mended at a time, then all. The judge is
the same in all of them. With all mended a row is a winner's side of a game instead of an utterance: losses are averaged over tokens, as a
game of n turns would count 1/n by a mean over rows, and minibatches are so much smaller that there are as many optimiser steps.

    python -m sparring.benchmarks.studies.study --arms published token-ratio sampler-reference detached-kl global-norm original-prompts \\
        capped-weights corrected --rounds 3 --seeds 3 --jobs 2 --games 200 --questions 200 --out runs/corrections \\
        --result benchmarks/results/study_corrections.json
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from sparring.agents.core import derive_seed
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_card, model_location
from sparring.selfplay.config.config import EvaluationConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.config.presets import preset
from sparring.selfplay.evaluation.statistics import over_seeds
from sparring.selfplay.objectives.spag import NAMES as CORRECTIONS
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.folder import RunFolder, to_json, write_text
from sparring.selfplay.storage.summary import read

from ..command import command
from ..reasoning import everyday
from .tables import CONTROLS, page


def _spag(*corrections: str) -> dict[str, Any]:
    """The settings of `spag-faithful` with some errors mended."""
    faithful = preset("spag-faithful")
    settings = {name: getattr(faithful, name) for name in ("method", "temperature", "group_size", "learner", "sft_mix")}
    return {**settings, "method_options": {**faithful.method_options, "corrections": ",".join(corrections)}}


SIDES = 28
"""Winners' sides of games in a minibatch, where the others have 96 utterances: both make 15 to 18 optimiser steps a round of 512 games."""
ARMS: dict[str, dict[str, Any]] = {
    "group": {"method": "group"},
    "spag": {"method": "spag-corrected"},
    "expert": {"method": "expert"},
    "winning-expert": {"method": "winning-expert"},
    "shuffled": {"method": "shuffled(group)"},
    "published": _spag(),
    **{correction: _spag(correction) for correction in CORRECTIONS},
    "corrected": {
        **_spag(*CORRECTIONS),
        "learner": replace(preset("spag-faithful").learner, aggregation="token", minibatch=SIDES),
        "sft_mix": SFTMixConfig(fraction=32 / SIDES),
    },
}
FIRST = ("group", "published")
"""Arms that may come first: those that others are compared with, or trained like."""
MATCHED = ("expert", "winning-expert")
"""Arms that train as many tokens a round as the group arm of their seed did, and so come after it."""

Task = tuple[int, str]
"""A seed and an arm, or the SFT that its arms start from."""
SFT = "sft"


@dataclass(frozen=True)
class StudyConfig:
    """What is run."""

    out: Path = Path("runs/study")
    """Folder of the runs; what has ended there is not run again, what was interrupted is resumed."""
    seeds: int = 5
    """Training seeds, from 0."""
    rounds: int = 12
    """Rounds of every run."""
    model: str = "mini"
    """The base that SFT starts from."""
    game: str = "AdversarialTaboo"
    """The game that is learnt and measured."""
    games: int = 400
    """Games per cell of the win rates."""
    questions: int = 500
    """Questions per task of everyday reasoning, other ones for each seed: what a model happens to know of the same questions in all seeds
    would look like a difference."""
    arms: tuple[str, ...] = ("group", "spag", *CONTROLS)
    """Which arms."""
    jobs: int = 1
    """Runs at a time, each in a process of its own with its share of the cores. Small models gain from it."""
    result: Path | None = None
    """Where the result goes as JSON, seed by seed; seeds that are in it are not run again, wherever they were run. None prints it only."""

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms or self.arms[0] not in FIRST:
            raise ValueError(
                f"arms must be some of {', '.join(ARMS)}; group first, as others train on as many tokens, or published; "
                f"got {' '.join(self.arms)}"
            )
        if self.arms[0] != "group" and set(self.arms) & set(MATCHED):
            raise ValueError(f"{' and '.join(MATCHED)} train on as many tokens as group, which has to be there")


def run_of(config: StudyConfig, arm: str, seed: int) -> Path:
    return config.out / f"{arm}-{seed}"


def sft_run(config: StudyConfig, seed: int) -> Path:
    """The run that holds a seed's SFT model."""
    return config.out / f"sft-{seed}"


def carry_out(made: TrainConfig, initial_evaluation: Mapping[str, Any] | None = None) -> None:
    """One run, unless it has ended before; an interrupted one is resumed. initial_evaluation: what is known of its first model."""
    assert made.out is not None
    progress = Shown()
    if (made.out / "summary.json").is_file():
        return
    progress.say(f"== {made.out.name}")
    if (made.out / "config.yaml").is_file():
        resume(made.out, progress=progress)
    else:
        train(made, progress=progress, initial_evaluation=initial_evaluation)


def train_sft(config: StudyConfig, seed: int) -> None:
    """Trains and evaluates a seed's SFT model."""
    base = preset("full", config.model)
    carry_out(replace(base, game=config.game, rounds=0, seed=seed, out=sft_run(config, seed), evaluation=_evaluation(config)))


def _evaluation(config: StudyConfig) -> EvaluationConfig:
    return EvaluationConfig(games=config.games, control=False)


def run_arm(config: StudyConfig, arm: str, seed: int) -> None:
    """One arm of a seed, from its SFT model."""
    full = preset("full", f"{sft_run(config, seed)}@0")
    changes = dict(ARMS[arm])
    if arm in MATCHED:
        changes["method_options"] = {"like": str(run_of(config, "group", seed))}
    first = RunFolder.open(sft_run(config, seed)).evaluation_file(0)
    carry_out(
        replace(
            full,
            game=config.game,
            rounds=config.rounds,
            sft=SFTConfig(),
            seed=seed,
            keep_checkpoints=1,
            out=run_of(config, arm, seed),
            evaluation=_evaluation(config),
            **changes,
        ),
        json.loads(first.read_text(encoding="utf-8")),
    )


def measurements(run: Path) -> dict[str, dict[str, float]]:
    """All numbers of one run: by name, before and after."""
    data = read(run).data
    found: dict[str, dict[str, float]] = {}
    for entry in data["win_rates"]:
        when = "before" if entry["round"] == 0 else "after"
        place = f"{entry['opponent']}/{entry['role']}/{entry['words']}"
        games = entry["games"]
        values = {f"win/{place}": entry["win_rate"], f"tie/{place}": entry["ties"] / games}
        values |= {f"{reason}/{place}": entry["reasons"].get(reason, 0) / games for reason in ("uttered", "foul", "silent", "overlong")}
        if entry["truth"] is not None:
            values[f"truth/{place}"] = entry["truth"]
        for name, value in values.items():
            found.setdefault(name, {})[when] = value
    return found


def answer(config: StudyConfig, arm: str, seed: int) -> dict[str, float]:
    """The everyday scores of an arm's last model (or of the SFT model) on the seed's own questions, by task; kept beside its run."""
    run = sft_run(config, seed) if arm == SFT else run_of(config, arm, seed)
    kept = run / f"everyday-{config.questions}.json"
    if not kept.is_file():
        name = f"{run}@latest"
        model = load_language_model(model_location(name), name=name)
        tasks = everyday.evaluate(model, config.questions, derive_seed(seed, "everyday"))["tasks"]
        write_text(kept, to_json({task: row["score"] for task, row in tasks.items()}))
    found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def summarise(seeds: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds with intervals: before, after by arm, and each arm's paired difference from every control.

    seeds: what `of_seed` found, by seed.
    """
    table: dict[str, Any] = {}
    arms = [arm for arm in ARMS if all(arm in found["arms"] for found in seeds.values())]
    runs_by_arm = {arm: [seeds[seed]["arms"][arm] for seed in sorted(seeds)] for arm in arms}
    for name in runs_by_arm[arms[0]][0]:
        after = {arm: [run[name]["after"] for run in runs] for arm, runs in runs_by_arm.items()}
        before = [run[name]["before"] for run in runs_by_arm[arms[0]]]
        row: dict[str, Any] = {"before": over_seeds(before)._asdict()}
        for arm, values in after.items():
            row[arm] = {"after": over_seeds(values)._asdict(), "gain": _paired(values, before)}
            row[arm] |= {
                f"beyond {control}": _paired(values, after[control])
                for control in (*CONTROLS, "published")
                if control in after and control != arm
            }
        table[name] = row
    return table


def _paired(values: list[float], others: list[float]) -> dict[str, Any]:
    return over_seeds([a - b for a, b in zip(values, others, strict=True)])._asdict()


def of_seed(config: StudyConfig, seed: int) -> dict[str, Any]:
    """What a seed's runs measured, by arm and name, and where that was."""
    before = answer(config, SFT, seed)
    arms = {}
    for arm in config.arms:
        after = answer(config, arm, seed)
        skills = {f"everyday/{task}": {"before": before[task], "after": after[task]} for task in before}
        arms[arm] = {**measurements(run_of(config, arm, seed)), **skills}
    runs = {SFT: sft_run(config, seed), **{arm: run_of(config, arm, seed) for arm in config.arms}}
    return {"arms": arms, "provenance": {name: provenance_of(run) for name, run in runs.items()}}


def provenance_of(run: Path) -> dict[str, Any]:
    """With what code, on what machine a run was made; no path of that machine."""
    found = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    return {name: found.get(name) for name in ("commit", "hardware", "python", "versions", "kernels")}


def known_seeds(config: StudyConfig) -> dict[int, dict[str, Any]]:
    """The seeds in the result file. Raises ValueError if they were run with other settings."""
    if config.result is None or not config.result.is_file():
        return {}
    found = json.loads(config.result.read_text(encoding="utf-8"))
    if found["settings"] != _settings(config):
        raise ValueError(f"{config.result} holds seeds of other settings, {found['settings']}; give another --result, or the same settings")
    return {int(seed): result for seed, result in found["seeds"].items()}


def _settings(config: StudyConfig) -> dict[str, Any]:
    shared = {name: getattr(config, name) for name in ("rounds", "model", "game", "games", "questions")} | {"arms": list(config.arms)}
    mix = ARMS[config.arms[0]].get("sft_mix") or preset("full", config.model).sft_mix
    return {**shared, "sft_mix_weight": mix.weight}


def write_result(config: StudyConfig, seeds: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The result of all seeds so far, written to the result file if one is asked for."""
    by_number = {str(seed): dict(seeds[seed]) for seed in sorted(seeds)}
    result = {"schema": 4, "settings": _settings(config), "seeds": by_number, "table": summarise(seeds)}
    if config.result is not None:
        write_text(config.result, to_json(result))
    return result


def run_task(config: StudyConfig, seed: int, arm: str) -> None:
    """One run of the study: an arm of a seed, or the SFT that its arms start from. What it learnt is questioned at its end."""
    if arm == SFT:
        train_sft(config, seed)
    else:
        run_arm(config, arm, seed)
    answer(config, arm, seed)


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def tasks(config: StudyConfig, seeds: Iterable[int]) -> dict[Task, set[Task]]:
    """All runs of some seeds, each with those that must have ended before it begins."""
    found: dict[Task, set[Task]] = {}
    for seed in seeds:
        found[seed, SFT] = set()
        for arm in config.arms:
            found[seed, arm] = {(seed, "group" if arm in MATCHED else SFT)}
    return found


def run_all(config: StudyConfig, seeds: Collection[int]) -> Iterator[int]:
    """All runs of some seeds, `jobs` at a time, those of early seeds first; each seed as its last run ends."""
    places = {name: i for i, name in enumerate((SFT, *config.arms))}
    left = dict.fromkeys(seeds, len(places))
    order = TopologicalSorter(tasks(config, seeds))
    order.prepare()
    waiting: list[Task] = []
    running: dict[Future[None], Task] = {}
    threads = max(1, torch.get_num_threads() // config.jobs)
    apart = config.jobs > 1
    with ProcessPoolExecutor(config.jobs, get_context("spawn"), torch.set_num_threads, (threads,)) if apart else Here() as pool:
        while order.is_active():
            waiting = sorted([*waiting, *order.get_ready()], key=lambda task: (task[0], places[task[1]]))
            while waiting and len(running) < config.jobs:
                task = waiting.pop(0)
                running[pool.submit(run_task, config, *task)] = task
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                done.result()
                task = running.pop(done)
                order.done(task)
                left[task[0]] -= 1
                if not left[task[0]]:
                    yield task[0]


def main(config: StudyConfig) -> None:
    seeds = known_seeds(config)
    for seed in run_all(config, [seed for seed in range(config.seeds) if seed not in seeds]):
        seeds[seed] = of_seed(config, seed)
        write_result(config, seeds)
    print(page(write_result(config, seeds)))


def _of_language_model(arguments: Sequence[str]) -> bool:
    """Whether the arguments name a model that does not speak the everyday world's English: its study is another one."""
    named = [value for name, value in pairwise(arguments) if name == "--model"]
    return bool(named) and not model_card(named[-1]).everyday


def command_line() -> None:
    """The study of sparring-mini, or that of a general language model."""
    if _of_language_model([part for argument in sys.argv[1:] for part in argument.split("=", 1)]):
        from . import language_model

        command("studies.study", language_model.LanguageModelStudy, language_model.main, language_model.__doc__)
    command("studies.study", StudyConfig, main, __doc__)


if __name__ == "__main__":
    command_line()
