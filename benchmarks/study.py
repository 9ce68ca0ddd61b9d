"""The study of the main job: does self-play help, beyond what more imitation brings? Several seeds, controls at equal tokens.

    python -m sparring.benchmarks.study --out runs/study --seeds 5

Seeds vary everything after the base: imitation, words drawn, games, updates, measurement. All arms of a seed start from the same imitation
model. Arms: self-play by the group-relative objective and by SPAG, and three controls with as many trained tokens per round as the group
arm of the same seed: imitation of new expert games, of the winners' side alone, and self-play with outcomes dealt out at random. What
counts is the paired difference of an arm from a control, seed by seed.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import tyro

from sparring.selfplay.cli import everyday_evaluation
from sparring.selfplay.config import EvaluationConfig, ImitationConfig, TrainConfig, preset
from sparring.selfplay.progress import Shown
from sparring.selfplay.run_folder import RunFolder, provenance, to_json, write_text
from sparring.selfplay.statistics import over_seeds
from sparring.selfplay.summary import read
from sparring.selfplay.train import resume, train

ARMS: dict[str, dict[str, Any]] = {
    "group": {"objective": "group"},
    "spag": {"objective": "spag"},
    "expert": {"arm": "expert"},
    "winning-expert": {"arm": "winning-expert"},
    "shuffled": {"objective": "group", "shuffle_rewards": True},
}
CONTROLS = ("expert", "winning-expert", "shuffled")


@dataclass(frozen=True)
class StudyConfig:
    """What is run."""

    out: Path = Path("runs/study")
    """Folder of the runs; what is there already is not run again."""
    seeds: int = 5
    """Training seeds, from 0."""
    rounds: int = 12
    """Rounds of every run."""
    model: str = "mini"
    """The base that imitation starts from."""
    game: str = "AdversarialTaboo"
    """The game that is learnt and measured."""
    games: int = 400
    """Games per cell of strength."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms."""
    jobs: int = 1
    """Seeds at a time, each in a process of its own with its share of the cores. Small models gain from it."""
    result: Path | None = None
    """Where the result goes as JSON; None prints it only."""


def run_of(config: StudyConfig, arm: str, seed: int) -> Path:
    return config.out / f"{arm}-{seed}"


def imitated(config: StudyConfig, seed: int) -> Path:
    """The run that holds a seed's imitation model."""
    return config.out / f"imitation-{seed}"


def carry_out(made: TrainConfig, measured: Mapping[str, Any] | None = None) -> None:
    """One run, unless it has ended before; an interrupted one is resumed. measured: what is known of its first model."""
    assert made.out is not None
    evaluations, progress = (everyday_evaluation(),), Shown()
    if (made.out / "summary.json").is_file():
        return
    progress.say(f"== {made.out.name}")
    if (made.out / "config.yaml").is_file():
        resume(made.out, evaluations=evaluations, progress=progress)
    else:
        train(made, evaluations=evaluations, progress=progress, measured=measured)


def imitate(config: StudyConfig, seed: int) -> None:
    """Trains and measures a seed's imitation model."""
    base = preset("full", config.model)
    carry_out(replace(base, game=config.game, rounds=0, seed=seed, out=imitated(config, seed), evaluation=_evaluation(config)))


def _evaluation(config: StudyConfig) -> EvaluationConfig:
    return EvaluationConfig(games=config.games, control=False)


def run_arm(config: StudyConfig, arm: str, seed: int) -> None:
    """One arm of a seed, from its imitation model."""
    changes = dict(ARMS[arm])
    if arm in ("expert", "winning-expert"):
        changes["arm_like"] = run_of(config, "group", seed)
    first = RunFolder.open(imitated(config, seed)).measurement(0)
    carry_out(
        replace(
            preset("full", f"{imitated(config, seed)}@0"),
            game=config.game,
            rounds=config.rounds,
            imitation=ImitationConfig(),
            seed=seed,
            keep=1,
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
    for entry in data["strength"]:
        when = "before" if entry["round"] == 0 else "after"
        place = f"{entry['opponent']}/{entry['seat']}/{entry['words']}"
        games = entry["games"]
        values = {f"win/{place}": entry["win_rate"], f"tie/{place}": entry["ties"] / games}
        values |= {f"{reason}/{place}": entry["reasons"].get(reason, 0) / games for reason in ("uttered", "foul", "silent", "overlong")}
        if entry["truth"] is not None:
            values[f"truth/{place}"] = entry["truth"]
        for name, value in values.items():
            found.setdefault(name, {})[when] = value
    for name, result in data["evaluations"].items():
        for task, before in result["before"].items():
            found[f"{name}/{task}"] = {"before": before["score"], "after": result["after"][task]["score"]}
    return found


def summarise(config: StudyConfig) -> dict[str, Any]:
    """Means over seeds with intervals: before, after by arm, and each arm's paired difference from every control."""
    by_arm = {arm: [measurements(run_of(config, arm, seed)) for seed in range(config.seeds)] for arm in config.arms}
    table: dict[str, Any] = {}
    for name in by_arm[config.arms[0]][0]:
        row: dict[str, Any] = {}
        for arm, runs in by_arm.items():
            after = [run[name]["after"] for run in runs]
            row[arm] = {"after": over_seeds(after)._asdict(), "by_seed": after}
            gained = [run[name]["after"] - run[name]["before"] for run in runs]
            row[arm]["gain"] = over_seeds(gained)._asdict()
            for control in CONTROLS:
                if control in by_arm and control != arm:
                    beside = [run[name]["after"] for run in by_arm[control]]
                    row[arm][f"beyond {control}"] = over_seeds([a - b for a, b in zip(after, beside, strict=True)])._asdict()
        row["before"] = over_seeds([run[name]["before"] for run in by_arm[config.arms[0]]])._asdict()
        table[name] = row
    settings = {
        "seeds": config.seeds,
        "rounds": config.rounds,
        "model": config.model,
        "game": config.game,
        "games": config.games,
        "jobs": config.jobs,
    }
    return {"schema": 1, "settings": settings, "table": table, "provenance": provenance(0)}


def markdown(result: dict[str, Any], names: list[str]) -> str:
    """A table of some measurements: a row each, a column per arm, means over seeds with 95 % intervals."""
    arms = [arm for arm in next(iter(result["table"].values())) if arm != "before"]
    lines = ["| | before | " + " | ".join(arms) + " |", "|---|---|" + "---|" * len(arms)]
    for name in names:
        row = result["table"][name]
        cells = [_interval(row[arm]["after"]) for arm in arms]
        lines.append(f"| {name} | {row['before']['mean']:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(mean: dict[str, Any]) -> str:
    if mean["low"] is None:
        return f"{mean['mean']:.3f}"
    return f"{mean['mean']:.3f} ± {(mean['high'] - mean['low']) / 2:.3f}"


def run_seed(config: StudyConfig, seed: int) -> None:
    """Everything of one seed."""
    imitate(config, seed)
    for arm in config.arms:
        run_arm(config, arm, seed)


def run_seeds(config: StudyConfig) -> None:
    """Everything of all seeds, `jobs` at a time."""
    if config.jobs == 1:
        for seed in range(config.seeds):
            run_seed(config, seed)
        return
    threads = max(1, torch.get_num_threads() // config.jobs)
    with ProcessPoolExecutor(config.jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        for done in as_completed([pool.submit(run_seed, config, seed) for seed in range(config.seeds)]):
            done.result()


def main(config: StudyConfig) -> None:
    run_seeds(config)
    result = summarise(config)
    if config.result is not None:
        write_text(config.result, to_json(result))
    names = [n for n in result["table"] if n.startswith(("win/imitation", "uttered/imitation", "truth/imitation", "everyday"))]
    print(markdown(result, names))
    print(json.dumps({"result": str(config.result)}))


if __name__ == "__main__":
    main(tyro.cli(StudyConfig, description=__doc__))
