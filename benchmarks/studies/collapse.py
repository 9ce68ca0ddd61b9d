"""Does self-play against the mirror collapse, and does a league prevent it? Exact exploitability, round by round.

    python -m sparring.benchmarks.studies.collapse --game KuhnPoker
    python -m sparring.benchmarks.studies.collapse --game TicTacToe --rounds 40

Each seed trains a start on random legal play, from which three arms go on by the group-relative method without a KL
to it: mirror play, and leagues that draw opponents uniformly and by prioritised fictitious self-play. What counts is
not who wins against whom but how much a best response wins against the model (selfplay/evaluation/exploitability.py),
computed from the model's probabilities in every position. A collapse is a rise of exploitability after its minimum.

Only the plain move ("5", "check") counts as the move; other texts that name it are counted as illegal, so that
exploitability is an upper bound; `illegal` says how much that can be. Every run that has ended leaves a file, and is
not run again where that file is.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sparring.agents.core import derive_seed
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import checkpoint_model
from sparring.envs.core import Observation, Task, make_game
from sparring.envs.views import Prompts, game_prompts
from sparring.selfplay.config.config import EvaluationConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.evaluation.exploitability import ILLEGAL, Graph, exploitability, game_graph, tabulated, uniform
from sparring.selfplay.evaluation.statistics import over_seeds
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.folder import to_json, write_text
from sparring.selfplay.storage.provenance import provenance

from ..command import command
from ..reasoning.scorer import Continuation, log_likelihoods
from .study import carry_out

ARMS: Mapping[str, Mapping[str, str]] = {
    "mirror": {},
    "uniform": {"draw": "uniform", "mirror": "0.5"},
    "pfsp": {"draw": "pfsp", "mirror": "0.5"},
}
"""The league of each arm."""
START = "start"
SCHEMA = 1


@dataclass(frozen=True)
class CollapseConfig:
    """What is run."""

    game: Literal["KuhnPoker", "TicTacToe"] = "KuhnPoker"
    """The game."""
    model: str = "mini"
    """The model that learns it."""
    seeds: int = 5
    """Training seeds, from 0."""
    rounds: int = 60
    """Rounds of every arm."""
    games_per_round: int = 256
    """Games of a round."""
    every: int = 4
    """Exploitability is computed every n-th round, and of the first and the last model."""
    sft_steps: int = 300
    """Optimiser steps on random legal play, after which nearly all moves are legal."""
    lr: float = 3e-4
    """Learning rate of self-play."""
    out: Path = Path("runs/collapse")
    """Folder of the runs."""
    results: Path = Path("benchmarks/results/collapse")
    """Folder of the files of results, GAME-ARM-SEED.json."""


def random_play(game_name: str, games: int, seed: int) -> str:
    """Conversations of random legal play, one JSON line each: what a role is shown, and its moves."""
    rng = random.Random(seed)
    game, prompts = make_game(game_name), _prompts(game_name)
    lines = []
    for number in range(games):
        state = game.start(Task(f"{number}", "", f"{number}", rng.randrange(2**32)))
        while state.to_act is not None:
            messages = [message._asdict() for message in prompts.render(state.observe(state.to_act))]
            move = rng.choice(state.moves())  # type: ignore[attr-defined]
            lines.append(json.dumps({"messages": [*messages, {"role": "assistant", "content": move}]}))
            state = state.apply(move)
    return "".join(f"{line}\n" for line in lines)


def _prompts(game_name: str) -> Prompts:
    prompts = game_prompts(game_name)
    assert prompts is not None, "games that are shipped have prompts"
    return prompts


def model_table(model: LanguageModel, graph: Graph, prompts: Prompts) -> dict[Any, dict[str, float]]:
    """The model's probabilities of all moves at temperature 1, by what the role to act observes."""
    asked: list[Continuation] = []
    places: dict[int, list[tuple[str, int]]] = {}
    decisions = graph.decisions()
    moves = {id(node.observation): [move for move in node.moves if move != ILLEGAL] for node in graph.nodes.values() if node.observation}
    for seen in decisions:
        context = tuple(model.format.open(prompts.render(seen)))
        for move in moves[id(seen)]:
            places.setdefault(id(seen), []).append((move, len(asked)))
            asked.append(Continuation(context, tuple(model.format.reply(move))))
    scores = log_likelihoods(model, asked)
    chances = {key: {move: math.exp(scores[place]) for move, place in entries} for key, entries in places.items()}
    by_key = {_key(seen): chances[id(seen)] for seen in decisions}
    return tabulated(graph, lambda seen: by_key[_key(seen)])


def _key(seen: Observation) -> tuple[Any, ...]:
    return (seen.role, tuple(sorted(seen.private.items())), seen.utterances)


def measured(folder: Path, graph: Graph, prompts: Prompts) -> dict[str, Any]:
    """Exploitability of a model folder, by role and as the mean, and the mean probability of an illegal move."""
    model = load_language_model(folder, device="cpu", dtype="float32")
    table = model_table(model, graph, prompts)
    illegal = sum(chances[ILLEGAL] for chances in table.values()) / len(table)
    return {"exploitability": exploitability(graph, table), "illegal": illegal}


def run_of(config: CollapseConfig, arm: str, seed: int) -> Path:
    return config.out / f"{config.game}-{arm}-{seed}"


def settings_of(config: CollapseConfig, arm: str, seed: int) -> TrainConfig:
    """The run of an arm, or of a seed's start."""
    first = arm == START
    demonstrations = config.out / f"{config.game}-random-play-{seed}.jsonl"
    if first and not demonstrations.is_file():
        write_text(demonstrations, random_play(config.game, 2000, derive_seed(seed, "random play")))
    return TrainConfig(
        model=config.model if first else f"{run_of(config, START, seed)}@0",
        game=config.game,
        prompts="full",
        rounds=0 if first else config.rounds,
        games_per_round=config.games_per_round,
        max_new_tokens=8,
        league={} if first else dict(ARMS[arm]),
        sft=SFTConfig(steps=config.sft_steps, data=demonstrations) if first else SFTConfig(),
        sft_mix=SFTMixConfig(source="none"),
        learner=LearnerConfig(lr=config.lr, kl=0.0),
        evaluation=EvaluationConfig(games=0, control=False, scripted=False),
        seed=seed,
        out=run_of(config, arm, seed),
    )


def result(config: CollapseConfig, arm: str, seed: int, graph: Graph) -> dict[str, Any]:
    """Carries out a run, unless its file of results is there, and returns that."""
    path = config.results / f"{config.game}-{arm}-{seed}.json"
    settings = {name: value for name, value in asdict(config).items() if name not in ("seeds", "out", "results")}
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if known["settings"] != settings:
            raise ValueError(f"{path} is of other settings, {known['settings']}; give another --results, or the same settings")
        return known
    carry_out(settings_of(config, START, seed))
    carry_out(settings_of(config, arm, seed))
    run = run_of(config, arm, seed)
    rounds = sorted({*range(0, config.rounds, config.every), config.rounds})
    with Shown().phase(f"exploitability of {run.name}", len(rounds), "models") as advance:
        curve = []
        for number in rounds:
            curve.append({"round": number, **measured(checkpoint_model(run, number), graph, _prompts(config.game))})
            advance(1)
    new = {"schema": SCHEMA, "arm": arm, "seed": seed, "settings": settings, "curve": curve, "provenance": provenance(seed)}
    write_text(path, to_json(new))
    return new


def curve_over_seeds(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By round the mean exploitability over seeds, with a 95 % interval."""
    rounds = [point["round"] for point in found[0]["curve"]]
    return [
        {"round": number, **over_seeds([one["curve"][i]["exploitability"]["mean"] for one in found])._asdict()}
        for i, number in enumerate(rounds)
    ]


def rise(found: Sequence[Mapping[str, Any]]) -> list[float]:
    """Per seed how far the last model's exploitability is above the least of its run: 0 where nothing was lost."""
    curves = [[point["exploitability"]["mean"] for point in one["curve"]] for one in found]
    return [curve[-1] - min(curve) for curve in curves]


def page(by_arm: Mapping[str, Sequence[Mapping[str, Any]]], uniform_play: float) -> str:
    """A Markdown table: exploitability of the first model, least, last, and the rise, means over seeds."""
    lines = ["| arm | first | least | last | last above least |", "|---|---|---|---|---|"]
    for arm, found in by_arm.items():
        curves = [[point["exploitability"]["mean"] for point in one["curve"]] for one in found]
        columns = [[curve[0] for curve in curves], [min(curve) for curve in curves], [curve[-1] for curve in curves], rise(found)]
        lines.append(f"| {arm} | " + " | ".join(_cell(values) for values in columns) + " |")
    return "\n".join([*lines, "", f"Uniform play: {uniform_play:.3f}."])


def _cell(values: Sequence[float]) -> str:
    mean = over_seeds(values)
    return f"{mean.mean:.3f}" if mean.low is None or mean.high is None else f"{mean.mean:.3f} ± {(mean.high - mean.low) / 2:.3f}"


def draw(by_arm: Mapping[str, Sequence[Mapping[str, Any]]], uniform_play: float, path: Path) -> None:
    """The curves over the rounds, with intervals, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for arm, found in by_arm.items():
        curve = curve_over_seeds(found)
        rounds = [point["round"] for point in curve]
        axes.plot(rounds, [point["mean"] for point in curve], label=arm)
        if curve[0]["low"] is not None:
            axes.fill_between(rounds, [point["low"] for point in curve], [point["high"] for point in curve], alpha=0.2)
    axes.axhline(uniform_play, color="grey", linestyle=":", label="uniform play")
    axes.set(xlabel="round", ylabel="exploitability", ylim=(0, None))
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(config: CollapseConfig) -> None:
    graph = game_graph(make_game(config.game))  # type: ignore[arg-type]
    by_arm: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(config.seeds):
        for arm in ARMS:
            by_arm[arm].append(result(config, arm, seed, graph))
    uniform_play = exploitability(graph, uniform(graph))["mean"]
    draw(by_arm, uniform_play, config.results / f"{config.game}.png")
    print(page(by_arm, uniform_play))


if __name__ == "__main__":
    command("studies.collapse", CollapseConfig, main, __doc__)
