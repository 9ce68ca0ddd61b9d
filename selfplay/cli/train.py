"""sparring train: self-play training."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.checks import at_least
from ..config.config import TrainConfig
from .common import console, print_json
from .matches import bar_of, make, refuse_words
from .options import parse, switches, with_values
from .train_help import show_help

if TYPE_CHECKING:
    from sparring.agents.players.player_card import PlayerCard

    from ..runtime.progress import Progress
    from ..storage.summary import Evaluation, Summary

PROGRAM = "sparring train"


@dataclass(frozen=True)
class Start:
    """How a run begins: everything that is no setting of the run itself."""

    preset: str | None = None
    """Where settings start from: quick, full, sft, rae, spag-faithful, spag-corrected
    (docs/objectives.md); quick if not given."""
    config: Path | None = None
    """A YAML file of settings to start from, as a run's config.yaml."""
    resume: Path | None = None
    """Continue the run in this folder. Only --rounds may be given beside it: how many it is to have from
    now on."""
    json: bool = False
    """Print the summary as one JSON object."""
    print_config: bool = False
    """Print the resolved settings as YAML, for --config, and stop."""
    dry_run: bool = False
    """Print what the run would need and write, and how 16 first games end where these take less than a
    minute, and stop."""
    help_all: bool = False
    """Show every setting."""


@dataclass(frozen=True)
class Known:
    """Settings that decide what the others start from."""

    model: str | None = None
    words: str | None = None
    rounds: int | None = field(default=None, metadata=at_least(0))


def train(arguments: list[str]) -> int:
    """Self-play training: play, judge, learn, measure, report."""
    start, rest = parse(switches(Start), PROGRAM, arguments, rest=True)
    if start.help_all or {"-h", "--help"} & set(rest):
        show_help(PROGRAM, Start, every=start.help_all)
    known, others = parse(Known, PROGRAM, rest, rest=True)
    progress = bar_of(json=start.json)
    if start.resume is not None:
        if others or known != Known(rounds=known.rounds) or start != Start(resume=start.resume, json=start.json):
            raise ValueError("--resume continues a run as it was set, with another number of --rounds at most; leave the other options out")
        return _report(_resume(start.resume, known.rounds, progress), as_json=start.json)
    config = _config(start, known, rest)
    if not (game := make(config.game, config.game_options)).secret_roles:
        refuse_words(game, known.words)
    if start.print_config:
        from ..config.yaml_io import to_yaml

        print(to_yaml(config), end="")
        return 0
    if start.dry_run:
        from ..run.dry_run import plan, tried
        from ..run.method import method_of
        from ..run.session import prepare

        method = method_of(config)
        session = prepare(config)
        _print_plan(plan(session, method) | tried(session, method, progress), as_json=start.json)
        return 0

    from sparring.agents.names import model_card

    from ..run.train import train as start_run

    preset = None if start.config else start.preset or "quick"
    evaluations = _evaluations(model_card(config.model), progress)
    return _report(start_run(config, evaluations=evaluations, progress=progress, preset=preset), as_json=start.json)


def _resume(folder: Path, rounds: int | None, progress: "Progress") -> "Summary":
    from ..storage.folder import RunFolder

    settings = RunFolder.open(folder).config

    from ..config.yaml_io import load
    from ..run.train import first_card, resume

    config = load(settings, TrainConfig)
    return resume(folder, rounds=rounds, evaluations=_evaluations(first_card(folder, config), progress), progress=progress)


def _config(start: Start, known: Known, arguments: list[str]) -> TrainConfig:
    """The settings: those of the file, or of the preset fitted to the model, changed by the arguments."""
    from ..config.presets import preset
    from ..config.yaml_io import load

    if start.config is not None:
        if start.preset:
            raise ValueError("--config and --preset both say where to start; give one of them")
        base = replace(load(start.config, TrainConfig), out=None)
    else:
        base = preset(start.preset or "quick", known.model, **_about(known.model))
    config: TrainConfig = parse(with_values(TrainConfig), PROGRAM, arguments, base)
    return replace(
        config,
        game_options={**base.game_options, **config.game_options},
        method_options={**base.method_options, **config.method_options},
        alarms=replace(config.alarms, limits={**base.alarms.limits, **config.alarms.limits}),
    )


def _about(model: str | None) -> dict[str, Any]:
    """What presets are fitted by."""
    if model is None:
        return {}

    from sparring.agents.names import model_card, parameters
    from sparring.agents.players.player_card import PlayerCard

    card = model_card(model)
    return {"everyday": card.everyday, "parameters": parameters(model), "plays": card != PlayerCard()}


def _report(summary: "Summary", *, as_json: bool) -> int:
    if os.environ.get("RANK", "0") != "0":
        return 0
    if as_json:
        print_json({"folder": str(summary.folder), **summary.data})
    else:
        from ..report.tables import show_summary

        show_summary(summary, console())
    return 0


def _print_plan(found: dict[str, Any], *, as_json: bool) -> None:
    """A plan, a line a topic."""
    if as_json:
        print_json(found)
        return

    def said(name: str, value: Any, in_bytes: bool) -> str:
        shown = f"{value / 2**20:,.0f} MiB" if in_bytes else f"{value:,}" if isinstance(value, int) else value
        return f"{name.removesuffix('bytes')} {shown}".replace("_", " ").strip()

    for topic, values in found.items():
        if isinstance(values, dict):
            parts = [said(k, v, "bytes" in (topic[-5:], k)) for k, v in values.items() if v is not None]
            print(f"{topic.removesuffix('_bytes')}: {', '.join(parts)}")
        else:
            print(f"{topic.replace('_', ' ')}: {values}")


def _evaluations(card: "PlayerCard", progress: "Progress") -> tuple["Evaluation", ...]:
    """The everyday test, for models that speak the everyday world's English; for others it is said that
    there is none."""
    if not card.everyday:
        progress.say(
            "no reasoning is measured: the everyday test is part of runs of models that speak its small English; "
            "sparring bench compares any two models"
        )
        return ()

    from sparring.benchmarks.reasoning.everyday import everyday_evaluation

    return (everyday_evaluation(),)
