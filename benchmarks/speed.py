"""The speed of self-play: the same games through our generation loop and through those that people otherwise use.

    python -m sparring.benchmarks.speed
    python -m sparring.benchmarks.speed --model random:100M --games 64 --batches 64 --json

What is compared: benchmarks/speed_loops.py. Same words, model, prompts, limits, sampling settings, stops, precision and threads. Every loop
is run at the batch size that suits it best; runs are interleaved, and what counts is the ratio of medians. The machine's own limit is
measured in the same run (benchmarks/roofline.py).
"""

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
import tyro

from sparring.agents.core import Sampling, derive_seed
from sparring.agents.language_model import ModelAgent, load_language_model
from sparring.agents.names import given, model_card, model_place
from sparring.agents.rollout import play_all
from sparring.envs import games as _games  # noqa: F401  registers the games
from sparring.envs.core import make_game
from sparring.envs.words import word_list
from sparring.selfplay.batch import row_from_segment, rows_of
from sparring.selfplay.evaluate import schedule
from sparring.selfplay.progress import Shown
from sparring.selfplay.run_folder import provenance, to_json, write_text
from sparring.selfplay.scoring import Scorer, with_reference

from . import roofline
from .sizes import SHAPES, random_model
from .speed_loops import ENGINES, LOOPS, Run, Setting, Work

RANDOM = "random:"


@dataclass(frozen=True)
class SpeedConfig:
    """What is measured."""

    model: str = "mini@imitation"
    """Who plays both seats: a model's name, or random:15M, random:100M, random:0.5B, random:1.5B, random:7B for random weights."""
    games: int = 256
    """Games of one run."""
    runs: int = 5
    """Interleaved runs of each loop."""
    loops: tuple[str, ...] = tuple(LOOPS)
    """Which loops, ours among them."""
    batches: tuple[int, ...] = (32, 256)
    """Games in play at once that every loop is tried with; its best counts."""
    many: int = 0
    """Also plays so many games with our loop, to see whether a game costs more than one of 500; 0 leaves it out."""
    temperature: float = 1.0
    """Sampling temperature."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, ..."""
    json: bool = False
    """Print one JSON object."""
    result: Path | None = None
    """Also write the JSON here."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.loops if name not in LOOPS]
        if unknown or "ours" not in self.loops:
            raise ValueError(f"loops must be ours and others of {', '.join(LOOPS)}; got {' '.join(self.loops)}")
        if min(self.games, self.runs, *self.batches) < 1:
            raise ValueError("games, runs and batches must be at least 1")
        if self.model.startswith(RANDOM) and self.model.removeprefix(RANDOM) not in SHAPES:
            raise ValueError(f"the size of a random model must be one of {', '.join(SHAPES)}; got {self.model}")


def prepare(config: SpeedConfig) -> Setting:
    """Loads the model. Raises ValueError for an unknown one."""
    device = given(config.device) or ("cuda" if torch.cuda.is_available() else "cpu")
    if config.model.startswith(RANDOM):
        model, card = random_model(config.model.removeprefix(RANDOM), torch.device(device))
    else:
        card = model_card(config.model)
        model = load_language_model(model_place(config.model), name=config.model, device=device)
    sampling = Sampling(config.temperature, max_new_tokens=card.max_new_tokens)
    return Setting(model, card.prompts, sampling, make_game("AdversarialTaboo"), word_list("everyday"), config.seed)


def measure(config: SpeedConfig) -> dict[str, Any]:
    """All figures: per loop every run, medians, and ratios of useful tokens per second."""
    setting = prepare(config)
    best = {name: _best_batch(setting, config, name) for name in config.loops}
    found: dict[str, list[Run]] = {name: [] for name in config.loops}
    with Shown().phase("runs of all loops", config.runs * len(found), "runs") as advance:
        for number in range(config.runs):
            for name, runs in found.items():
                runs.append(LOOPS[name](replace(setting, seed=derive_seed(config.seed, number)), config.games, best[name]))
                advance(1, runs[-1].tokens)
    rates = {name: median(run.tokens / run.seconds for run in runs) for name, runs in found.items()}
    result = {
        "schema": 1,
        "settings": {**vars(config), "result": None},
        "parameters": sum(p.numel() for p in setting.model.model.parameters()),
        "ratios": {name: rates["ours"] / rate for name, rate in rates.items() if name != "ours"},
        "tokens_per_second": rates,
        "games_per_second": {name: median(run.games / run.seconds for run in runs) for name, runs in found.items()},
        "batch": best,
        "phases": {name: phases(setting, name, best[name]) for name in config.loops},
        "limit": limit(setting, found["ours"]),
        "mismatch_kl": mismatch(setting),
        "peak_memory_mib": {name: _peak(config, name, best[name]) for name in config.loops},
        "runs": {name: [_record(run) for run in runs] for name, runs in found.items()},
        "provenance": provenance(config.seed),
    }
    if config.many:
        result["seconds_per_game"] = {str(games): _per_game(setting, games, best["ours"]) for games in (500, config.many)}
    return result


def _best_batch(setting: Setting, config: SpeedConfig, name: str) -> int:
    """The number of games at once with which a loop plays a quarter of the games fastest. Warms it up too."""
    batches = sorted({min(batch, config.games) for batch in config.batches})
    LOOPS[name](setting, min(config.games, 8), 8)
    if len(batches) == 1:
        return batches[0]
    trials = {batch: LOOPS[name](setting, max(batch, config.games // 4), batch) for batch in batches}
    return max(trials, key=lambda batch: trials[batch].tokens / trials[batch].seconds)


def _record(run: Run) -> dict[str, Any]:
    return {**vars(run), "work": vars(run.work) if run.work else None}


def _per_game(setting: Setting, games: int, batch: int) -> float:
    return LOOPS["ours"](setting, games, batch).seconds / games


def phases(setting: Setting, name: str, batch: int, prompt: int = 64, reply: int = 32) -> dict[str, float]:
    """Tokens per second of prefill and of decoding apart: `batch` prompts of `prompt` tokens, answered with 1 token, and `reply` more."""
    prompts = [[(7 * i + 3 * j) % 100 + 10 for j in range(prompt)] for i in range(batch)]
    engine = ENGINES[name]
    engine(setting, prompts, 2)
    short = engine(setting, prompts, 1)
    long = engine(setting, prompts, 1 + reply)
    return {"prefill": batch * prompt / short, "decode": batch * reply / max(long - short, 1e-9)}


def limit(setting: Setting, runs: list[Run]) -> dict[str, float]:
    """Our runs beside the machine's own limit. share: of the limit that the median run reached, by its time."""
    layout = setting.model.loop.packed.layout
    works = [run.work for run in runs if run.work]
    work = Work(*(round(mean(getattr(work, name) for work in works)) for name in Work.__dataclass_fields__))
    least = roofline.seconds(setting.model.model, work, layout.bytes_per_token)
    seconds = median(run.seconds for run in runs)
    return {**{f"{name}_seconds": value for name, value in least.items()}, "seconds": seconds, "share": least["total"] / seconds}


def mismatch(setting: Setting, games: int = 32) -> float:
    """Mean k3 estimate of KL(sampler || learner) over the tokens of some games: how far the learner's pass is from the sampler's."""
    player = ModelAgent(setting.model, setting.prompts, setting.sampling)
    played = play_all(schedule(dict.fromkeys(setting.game.roles, player), setting.game, setting.words, games, setting.seed))
    rows = [row_from_segment(s, 0.0) for p in played for role in setting.game.roles for s in p.segments[role] if s.action.any()]
    scored = rows_of(with_reference(Scorer(setting.model.model), rows, 4096))
    change = np.concatenate([(after.logprobs - row.logprobs)[row.action] for row, after in zip(rows, scored, strict=True)])
    return float((np.exp(change) - 1 - change).mean(dtype=np.float64))


def _peak(config: SpeedConfig, name: str, batch: int) -> dict[str, float]:
    """Memory of a loop in MiB, in a process of its own: with the model loaded, and at its highest in one run."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(peak_memory, replace(config, json=False), name, batch).result()


def peak_memory(config: SpeedConfig, name: str, batch: int) -> dict[str, float]:
    setting = prepare(config)
    loaded = _highest(setting)
    LOOPS[name](setting, config.games, batch)
    return {"loaded": loaded, "peak": _highest(setting)}


def _highest(setting: Setting) -> float:
    """Most memory so far, in MiB: the GPU's where the model is there, else that of the process."""
    if setting.model.model.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # NOTE: getrusage's maximum begins with that of the process that this one was started from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def show(result: Mapping[str, Any]) -> None:
    print(f"{'':<20} {'useful tokens/s':>15} {'games/s':>8} {'prefill/s':>10} {'decode/s':>10} {'peak MiB':>9} {'batch':>6}")
    for name, rate in result["tokens_per_second"].items():
        apart, memory = result["phases"][name], result["peak_memory_mib"][name]["peak"]
        print(
            f"{name:<20} {rate:15,.0f} {result['games_per_second'][name]:8,.1f} {apart['prefill']:10,.0f} {apart['decode']:10,.0f} "
            f"{memory:9,.0f} {result['batch'][name]:6}"
        )
    for name, ratio in result["ratios"].items():
        print(f"ours / {name}: {ratio:.2f}")
    least = result["limit"]
    print(
        f"limit of this machine: {least['total_seconds']:.2f} s (matrix products {least['products_seconds']:.2f}, keys and values "
        f"{least['keys_values_seconds']:.2f}); ours took {least['seconds']:.2f} s, {least['share']:.0%} of the limit"
    )
    print(f"mismatch KL between sampler and learner: {result['mismatch_kl']:.1e}")
    for games, seconds in result.get("seconds_per_game", {}).items():
        print(f"{games} games: {1000 * seconds:.2f} ms each")


def main(config: SpeedConfig) -> None:
    result = measure(config)
    if config.result is not None:
        write_text(config.result, to_json(result))
    if config.json:
        print(json.dumps(result, sort_keys=True))
    else:
        show(result)


if __name__ == "__main__":
    main(tyro.cli(SpeedConfig, description=__doc__))
