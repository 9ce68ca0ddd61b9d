"""sparring train: self-play training."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import console, parse, print_json
from .matches import bar_of, make, refuse_words

if TYPE_CHECKING:
    from sparring.agents.players.player_card import PlayerCard

    from ..config.config import TrainConfig
    from ..runtime.progress import Progress
    from ..storage.summary import Evaluation


@dataclass(frozen=True)
class _Start:
    """How a run begins: everything that is no setting of the run itself."""

    preset: str | None = None
    """quick (minutes on two cores), full (the study's run, from the base model), sft (makes the shipped model mini@imitation), rae,
    spag-faithful, spag-corrected (docs/objectives.md)."""
    config: Path | None = None
    """A YAML file of settings, as config.yaml in a run folder; options given beside it win."""
    resume: Path | None = None
    """Continue the run in this folder after its last finished round. No setting may be given but --rounds: how many it is to have from now
    on, also where it had ended."""
    json: bool = False
    """Print the summary as one JSON object."""
    print_config: bool = False
    """Print the resolved settings as YAML, for --config, and do nothing else."""
    dry_run: bool = False
    """Print what the run would need and write (parameters, memory, tokens, disk), and what becomes of 16 first games where these take
    less than a minute; do nothing else."""


def train(arguments: list[str]) -> int:
    """Self-play training: play, judge, learn, measure, report."""
    from ..storage.folder import RunFolder

    chosen, rest = _start_options(arguments)
    progress = bar_of(json=chosen.json)
    if chosen.resume is not None:
        rounds = _rounds(rest)
        if (rest and rounds is None) or chosen.config or chosen.preset or chosen.print_config or chosen.dry_run:
            raise ValueError("--resume continues a run as it was set, with another number of --rounds at most; leave the other options out")
        folder = RunFolder.open(chosen.resume)

        from ..config.config import TrainConfig
        from ..config.yaml_io import load
        from ..run.train import first_card, resume

        config = load(folder.config, TrainConfig)
        evaluations = _evaluations(first_card(chosen.resume, config), progress)
        summary = resume(chosen.resume, rounds=rounds, evaluations=evaluations, progress=progress)
    else:
        default = _base_config(chosen, rest)
        config = parse(_settings(), "sparring train", rest, default)
        game = make(config.game)
        if not game.secret_roles:
            refuse_words(game, _value_of("--words", rest))

        from sparring.agents.names import model_card

        from ..config.yaml_io import to_yaml

        if chosen.print_config:
            print(to_yaml(config), end="")
            return 0
        if chosen.dry_run:
            from ..run.dry_run import plan, tried
            from ..run.method import method_of
            from ..run.session import prepare

            method = method_of(config)
            session = prepare(config)
            _print_plan(plan(session, method) | tried(session, method, progress), as_json=chosen.json)
            return 0

        from ..run.train import train as start_run

        summary = start_run(config, evaluations=_evaluations(model_card(config.model), progress), progress=progress)
    if os.environ.get("RANK", "0") != "0":
        return 0
    if chosen.json:
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


def _start_options(arguments: list[str]) -> tuple[_Start, list[str]]:
    """Takes the options of `_Start` out of the arguments; --help shows both kinds."""
    names = {f"--{field.name.replace('_', '-')}": field.name for field in fields(_Start)}
    found: dict[str, Any] = {}
    rest: list[str] = []
    place = 0
    while place < len(arguments):
        name, equals, value = arguments[place].partition("=")
        if name in ("-h", "--help"):
            _train_help()
        if name not in names:
            rest.append(arguments[place])
        elif name in ("--json", "--print-config", "--dry-run"):
            found[names[name]] = True
        else:
            if not equals:
                place += 1
                if place >= len(arguments):
                    raise ValueError(f"{name} needs a value")
                value = arguments[place]
            found[names[name]] = value if name == "--preset" else Path(value)
        place += 1
    return _Start(**found), rest


def _settings() -> Any:
    """The settings of a run, each as an option with a value (--learner.shuffle-rewards True), as in a file of settings."""
    import tyro

    from ..config.config import TrainConfig

    return tyro.conf.configure(tyro.conf.FlagConversionOff)(TrainConfig)


def _train_help() -> None:
    import tyro

    from ..config.presets import PRESETS

    print("usage: sparring train [--preset NAME | --config FILE | --resume DIR] [--json | --print-config | --dry-run] [settings]\n")
    for field, text in zip(fields(_Start), _docs(_Start), strict=True):
        print(f"  --{field.name.replace('_', '-'):<13} {text}")
    print(
        "\nexamples:\n"
        "  sparring train\n"
        "  sparring train --preset full --seed 1 --out runs/full-1\n"
        "  sparring train --model ./my-model --words words.txt --rounds 3 --learner.lr 1e-6\n"
        "  sparring train --model ./my-model --dry-run\n"
        "  sparring train --print-config > mine.yaml; sparring train --config mine.yaml --learner.lr 1e-4\n"
        "  sparring train --resume runs/full-1\n"
        "  sparring train --resume runs/full-1 --rounds 20\n\n"
        "settings, with the values of the preset quick:\n"
    )
    tyro.cli(_settings(), prog="sparring train", args=["--help"], default=PRESETS["quick"], description="")


def _docs(kind: Any) -> list[str]:
    """The docstrings under a dataclass's fields."""
    import ast
    import inspect

    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = [node.value.value for node in body.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return [str(text) for text in texts[1:]]


def _base_config(chosen: _Start, rest: list[str]) -> "TrainConfig":
    """What options start from: the file, or the preset fitted to the model."""
    from sparring.agents.names import model_card, parameters

    if chosen.config is not None and chosen.preset:
        raise ValueError("--config and --preset both say where to start; give one of them")
    model = _value_of("--model", rest)
    card = model_card(model) if model and chosen.config is None else None

    from ..config.config import TrainConfig
    from ..config.presets import preset
    from ..config.yaml_io import load

    if chosen.config is not None:
        return replace(load(chosen.config, TrainConfig), out=None)
    if model is None or card is None:
        return preset(chosen.preset or "quick")

    from sparring.agents.players.player_card import PlayerCard

    return preset(chosen.preset or "quick", model, everyday=card.everyday, parameters=parameters(model), plays=card != PlayerCard())


def _rounds(rest: list[str]) -> int | None:
    """The number in --rounds N, where nothing else is given; None otherwise. Raises ValueError where it is no whole number."""
    given = rest[0].split("=", 1) if len(rest) == 1 else rest
    if len(given) != 2 or given[0] != "--rounds":
        return None
    if not (given[1].isascii() and given[1].isdecimal()):
        raise ValueError(f"--rounds must be a whole number of at least 0, got {given[1]!r}")
    return int(given[1])


def _value_of(name: str, arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def _evaluations(card: "PlayerCard", progress: "Progress") -> tuple["Evaluation", ...]:
    """The everyday test, for models that speak the everyday world's English; for others it is said that there is none."""
    if not card.everyday:
        progress.say(
            "no reasoning is measured: the everyday test is part of runs of models that speak its small English; "
            "sparring bench compares any two models"
        )
        return ()

    from sparring.benchmarks.reasoning.everyday import everyday_evaluation

    return (everyday_evaluation(),)
