"""The speed of self-play: the same games through our generation loop and through those that people otherwise use.

    python -m sparring.benchmarks.speed.generation
    python -m sparring.benchmarks.speed.generation --games 256 --batches 32 256 --result benchmarks/results/speed.json
    python -m sparring.benchmarks.speed.generation --model smollm2 --games 64 --runs 1 --temperature 0.5 --loops ours spag_loop llama_best
    python -m sparring.benchmarks.speed.generation --model random:100M --games 32 --batches 32 --runs 1 --loops ours spag_loop --json

What is compared: benchmarks/speed/loops.py. Same words, model, prompts, limits, sampling settings, stops, precision and threads. Every loop
is run as it is fastest: with which batch size, and in one process with all threads or in several that share them out; runs are interleaved,
and what counts is the ratio of medians. The machine's own limit is measured in the same run (benchmarks/speed/roofline.py).
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import numpy as np

from sparring.agents.core import Sampling, derive_seed
from sparring.agents.models.devices import pick_device
from sparring.agents.models.gguf_file import is_gguf
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_card, model_location, unless_auto
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import play_all
from sparring.envs.core import make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.words.lists import word_list
from sparring.selfplay.evaluation.win_rates import schedule
from sparring.selfplay.learner.batch import sample_from_segment
from sparring.selfplay.learner.scoring import Scorer, action_logprobs
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.provenance import provenance

from ..command import command, say
from . import roofline
from .common import Run, Setting, Work
from .loops import LOOPS, USUAL
from .processes import Team, highest_memory, phases, together
from .profile import spent
from .random_models import SHAPES, random_model

RANDOM = "random:"
LARGE = 50_000_000
"""Parameters from which on a run takes so long that less is tried, and phases are not measured apart."""


@dataclass(frozen=True)
class SpeedConfig:
    """What is measured."""

    model: str = "mini@imitation"
    """Who plays both roles: a model's name, or random:15M, random:100M, random:0.5B, random:1.5B, random:7B for random weights."""
    games: int = 128
    """Games of one run. The figures of the documentation are of 256, which take five minutes on two cores."""
    runs: int = 5
    """Interleaved runs of each loop."""
    loops: tuple[str, ...] = USUAL
    """Which loops, ours among them."""
    batches: tuple[int, ...] = ()
    """Games in play at once that every loop is tried with; its best counts. None: 32 and 128, and all games where the model has more than
    50 million parameters, with which loops are not tried at length."""
    processes: tuple[int, ...] = (1,)
    """Numbers of processes that every loop is tried with on a CPU, the threads shared out among them; its best counts. With "1 2" the loops
    that leave most cores idle gain most."""
    many: int = 0
    """Also plays so many games with our loop, to see whether a game costs more than one of 500; 0 leaves it out."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_new_tokens: int = 0
    """Most tokens of an utterance; 0: what the model's card says."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What ours computes in, see `sparring train`."""
    seed: int = 0
    """Decides words and what is said."""
    compile: bool = False
    """Our loop compiles the model, see agents/engine/attention.py."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, ..."""
    json: bool = False
    """Print one JSON object."""
    result: Path | None = None
    """Also write the JSON here."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.loops if name not in LOOPS]
        served = [name for name in self.loops if name in LOOPS and name not in USUAL]
        if served and not is_gguf(str(model_location(self.model))):
            raise ValueError(f"{', '.join(served)} plays a GGUF file or smollm2; {self.model} is neither")
        if unknown or "ours" not in self.loops:
            raise ValueError(f"loops must be ours and others of {', '.join(LOOPS)}; got {' '.join(self.loops)}")
        if min(self.games, self.runs, *(self.batches or (1,)), *self.processes) < 1:
            raise ValueError("games, runs, batches and processes must be at least 1")
        if self.model.startswith(RANDOM) and self.model.removeprefix(RANDOM) not in SHAPES:
            raise ValueError(f"the size of a random model must be one of {', '.join(SHAPES)}; got {self.model}")


def prepare(config: SpeedConfig) -> Setting:
    """Loads the model. Raises ValueError for an unknown one."""
    device, compiler, file = pick_device(config.device), "inductor" if config.compile else None, None
    if config.model.startswith(RANDOM):
        model, card = random_model(config.model.removeprefix(RANDOM), device, compiler)
    else:
        card, location = model_card(config.model), model_location(config.model)
        file = Path(location) if is_gguf(str(location)) else None
        model = load_language_model(location, name=config.model, device=device, dtype=unless_auto(config.dtype), compiler=compiler)
    sampling = Sampling(config.temperature, max_new_tokens=config.max_new_tokens or card.max_new_tokens)
    return Setting(model, card.prompts, sampling, make_game("AdversarialTaboo"), word_list("everyday"), config.seed, file=file)


def measure(config: SpeedConfig) -> dict[str, Any]:
    """All figures: per loop every run, medians, and ratios of useful tokens per second."""
    setting = prepare(config)
    large = setting.model.model.num_parameters() > LARGE
    config = replace(config, batches=config.batches or ((config.games,) if large else (32, 128)))
    with ExitStack() as stack:
        tried: dict[str, dict[int, Team]] = {name: {} for name in config.loops}
        for name, processes in product(config.loops, _processes(config)):
            tried[name][processes] = Team(processes, partial(prepare, config))
            stack.callback(tried[name][processes].close)
        best = {name: _best_way(ways, config, name) for name, ways in tried.items()}
        teams = {name: tried[name][way.processes] for name, way in best.items()}
        found: dict[str, list[list[Run]]] = {name: [] for name in config.loops}
        with Shown().phase("runs of all loops", config.runs * len(found), "runs") as advance:
            for number in range(config.runs):
                for name, runs in found.items():
                    way = best[name]
                    runs.append(teams[name].play(name, config.games, way.batch, derive_seed(config.seed, number)))
                    advance(1, together(runs[-1]).tokens)
        apart = {} if large else {name: teams[name].ask(phases, name, -(-way.batch // way.processes)) for name, way in best.items()}
        least = limit(teams["ours"], found["ours"])
        some = min(config.games, 8) if large else config.games
        profile = [] if _on_gpu(config) else teams["ours"].ask(spent, "ours", some, best["ours"].batch)
        per_game = {
            str(games): teams["ours"].play("ours", games, best["ours"].batch, config.seed)[0].seconds / games
            for games in ((500, config.many) if config.many else ())
        }
    whole = {name: [together(run) for run in runs] for name, runs in found.items()}
    rates = {name: median(run.tokens / run.seconds for run in runs) for name, runs in whole.items()}
    return {
        "schema": 5,
        "settings": {**vars(config), "result": None},
        "parameters": sum(p.numel() for p in setting.model.model.parameters()),
        "ratios": {name: rates["ours"] / rate for name, rate in rates.items() if name != "ours"},
        "tokens_per_second": rates,
        "games_per_second": {name: median(run.games / run.seconds for run in runs) for name, runs in whole.items()},
        "ways": {name: vars(way) for name, way in best.items()},
        "phases": {name: {key: sum(part[key] for part in parts) for key in parts[0]} for name, parts in apart.items()},
        "limit": least,
        "profile": {kind: mean(part[kind] for part in profile) for kind in (profile[0] if profile else ())},
        "products": str(setting.model.products).removeprefix("torch."),
        "mismatch_kl": mismatch(setting, 4 if large else 32),
        "runs": {name: [_record(run) for run in runs] for name, runs in whole.items()},
        "provenance": provenance(config.seed),
        **({"seconds_per_game": per_game} if per_game else {}),
    }


@dataclass(frozen=True)
class Way:
    """How a loop is run; the useful tokens a second that it made so on a quarter of the games, or as many as are in play at once; and the
    memory of its processes in MiB, with the model loaded and at its highest.
    """

    processes: int
    batch: int
    tokens_per_second: float
    loaded_mib: float
    peak_mib: float


def _processes(config: SpeedConfig) -> tuple[int, ...]:
    """On a GPU one process plays."""
    return (1,) if _on_gpu(config) else config.processes


def _on_gpu(config: SpeedConfig) -> bool:
    return pick_device(config.device).type != "cpu"


def _best_way(teams: Mapping[int, Team], config: SpeedConfig, name: str) -> Way:
    """How a loop is fastest, of teams that play nothing else. Warms it up too. Where there is one way, it is not tried."""
    ways = []
    batches = sorted({min(batch, config.games) for batch in config.batches})
    only = len(teams) == len(batches) == 1
    for processes, team in teams.items():
        loaded = sum(team.ask(highest_memory))
        warm = together(team.play(name, min(config.games, 8 * processes), batches[0] if only else 8 * processes, config.seed))
        for batch in batches:
            run = warm if only else together(team.play(name, max(batch, config.games // 4), batch, config.seed))
            # Batches are tried from the smallest on, so the highest so far is this one's.
            ways.append(Way(processes, batch, run.tokens / run.seconds, loaded, sum(team.ask(highest_memory))))
    return max(ways, key=lambda way: way.tokens_per_second)


def _record(run: Run) -> dict[str, Any]:
    return {**vars(run), "work": vars(run.work) if run.work else None}


def limit(team: Team, runs: Sequence[Sequence[Run]]) -> dict[str, float]:
    """Our runs beside the machine's own limit, which each process measures while the others do. share: of the limit that the median run
    reached, by its time.
    """
    layout_bytes, works = team.ask(_bytes_per_token)[0], [run.work for shares in runs for run in shares if run.work]
    mean_work = Work(*(round(mean(getattr(work, name) for work in works)) for name in Work.__dataclass_fields__))
    parts = team.ask(_least, mean_work, layout_bytes)
    least = {name: mean(part[name] for part in parts) for name in parts[0]}
    seconds = median(shares[0].seconds for shares in runs)
    return {**{f"{name}_seconds": value for name, value in least.items()}, "seconds": seconds, "share": least["total"] / seconds}


def _bytes_per_token(setting: Setting) -> int:
    return setting.model.loop.packed.layout.bytes_per_token


def _least(setting: Setting, work: Work, bytes_per_token: int) -> dict[str, float]:
    return roofline.seconds(setting.model.model, work, bytes_per_token, setting.model.products)


def mismatch(setting: Setting, games: int = 32) -> float:
    """Mean k3 estimate of KL(sampler || learner) over the tokens of some games: how far the learner's pass is from the sampler's."""
    player = ModelAgent(setting.model, setting.prompts, setting.sampling)
    episodes = play_all(schedule(dict.fromkeys(setting.game.roles, player), setting.game, setting.words, games, setting.seed))
    segments = [s for p in episodes for role in setting.game.roles for s in p.segments[role] if s.loss_mask.any()]
    scored = action_logprobs(Scorer(setting.model.model), [sample_from_segment(s, 0.0) for s in segments], 4096)
    change = np.concatenate(
        [(after - s.logprobs[: len(after)])[s.loss_mask[: len(after)]] for s, after in zip(segments, scored, strict=True)]
    )
    return float((np.exp(change) - 1 - change).mean(dtype=np.float64))


def show(result: Mapping[str, Any]) -> None:
    print(
        f"{'':<20} {'useful tokens/s':>15} {'games/s':>8} {'prefill/s':>10} {'decode/s':>10} {'peak MiB':>9} {'batch':>6} {'processes':>9}"
    )
    for name, rate in result["tokens_per_second"].items():
        apart, way = result["phases"].get(name), result["ways"][name]
        prefill, decode = (f"{apart[part]:,.0f}" if apart else "-" for part in ("prefill", "decode"))
        print(
            f"{name:<20} {rate:15,.0f} {result['games_per_second'][name]:8,.1f} {prefill:>10} {decode:>10} "
            f"{way['peak_mib']:9,.0f} {way['batch']:6} {way['processes']:9}"
        )
    for name, ratio in result["ratios"].items():
        print(f"ours / {name}: {ratio:.2f}")
    least = result["limit"]
    print(
        f"limit of this machine: {least['total_seconds']:.2f} s (matrix products {least['products_seconds']:.2f}, keys and values "
        f"{least['keys_values_seconds']:.2f}); ours took {least['seconds']:.2f} s, {least['share']:.0%} of the limit"
    )
    if result["profile"]:
        print("a profiled run of ours: " + ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in result["profile"].items()))
    print(f"products of ours in {result['products']}")
    print(f"mismatch KL between sampler and learner: {result['mismatch_kl']:.1e}")
    for games, seconds in result.get("seconds_per_game", {}).items():
        print(f"{games} games: {1000 * seconds:.2f} ms each")


def main(config: SpeedConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.result)


if __name__ == "__main__":
    command("speed.generation", SpeedConfig, main, __doc__)
