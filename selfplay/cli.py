"""The command line. Each command is a thin layer over the Python API; nothing heavy is imported before it is needed.

Exit status: 0 done; 2 bad input, with one sentence on standard error; 130 interrupted by Ctrl-C, 143 by SIGTERM.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from sparring.envs.core import Game

    from .config import TrainConfig
    from .measuring import Evaluation

USAGE = """\
usage: sparring COMMAND [options]      (sparring COMMAND --help for its options)

Language models that learn by playing language games against themselves.

commands:
{commands}

examples:
  sparring train                                     # the embedded model, minutes on two CPU cores
  sparring train --model ./my-model --out runs/mine  # any causal chat model of transformers
  sparring games runs/mine                           # read what was said
  sparring play --opponent mini@imitation            # join a game
  sparring tournament runs/mine@0 runs/mine@latest scripted
"""


class _BadOptionsError(ValueError):
    """Bad options; the parser has said so already."""


@dataclass(frozen=True)
class Play:
    """A person, or an agent, plays games against an agent.

    An agent is one of mini, mini@imitation, scripted, scripted:NAME, random, silent, human, PATH, RUN@N, RUN@latest, hf:ID,
    openai:MODEL@URL, vllm:MODEL@URL.

    Examples:
      sparring play --role defender --opponent mini@imitation
      sparring play --game TwentyQuestions --role answerer
      sparring play --game textarena:TicTacToe-v0 --opponent random
      sparring play --player runs/x@latest --role attacker --opponent scripted --games 200 --show 2 --json
      sparring play --player openai:llama3.2@http://127.0.0.1:11434/v1 --opponent mini@imitation --games 20
    """

    opponent: str = "mini@imitation"
    """The other player."""
    role: str | None = None
    """The player's: attacker or defender (TwentyQuestions: asker or answerer; TextArena: player_0 or player_1); None: who must find the
    word out, or player_0."""
    player: str = "human"
    """Who plays that role."""
    games: int = 3
    """How many games."""
    show: int = 3
    """How many of them are printed."""
    game: str = "AdversarialTaboo"
    """AdversarialTaboo, AdversarialTaboo-DrawingOut, TwentyQuestions, or a game of TextArena for two, textarena:ID (extra textarena)."""
    words: str = "everyday"
    """everyday, common, band:1000-5000, a file with one word a line; @train or @heldout behind it (sparring words --help). Games of
    TextArena have no secret words."""
    max_turns: int | None = None
    """Utterances per player; None: the game's own number."""
    temperature: float = 1.0
    """Sampling temperature of models; 0 is greedy."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class Tournament:
    """Every player against every other, in both seats, on the same words.

    Examples:
      sparring tournament mini@imitation scripted random
      sparring tournament runs/x@0 runs/x@latest --games 400 --json
    """

    players: tuple[str, ...]
    """Agents, two or more."""
    games: int = 200
    """Games per ordered pair."""
    game: str = "AdversarialTaboo"
    """AdversarialTaboo, AdversarialTaboo-DrawingOut, TwentyQuestions, or a game of TextArena for two, textarena:ID (extra textarena)."""
    words: str = "everyday"
    """everyday, common, band:1000-5000, a file with one word a line; @train or @heldout behind it (sparring words --help). Games of
    TextArena have no secret words."""
    max_turns: int | None = None
    """Utterances per player; None: the game's own number."""
    temperature: float = 0.5
    """Sampling temperature of models; 0 is greedy."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class Collect:
    """Plays games and writes what a teacher said as data, for imitation here (--imitation.data FILE) or elsewhere.

    The teacher plays both seats, or one against an opponent; only its talk is kept. An agent is one of mini, mini@imitation, scripted,
    scripted:NAME, PATH, RUN@N, RUN@latest, hf:ID, openai:MODEL@URL, vllm:MODEL@URL.

    Examples:
      sparring collect talk.jsonl --games 1000 --winners-only
      sparring collect games.jsonl.gz --format games --teacher openai:gpt-4.1@https://api.openai.com/v1 --words common
      sparring collect pairs.jsonl --format preference --teacher runs/x@latest --opponent scripted --group-size 8
      sparring collect spag.json --format spag-rows && sparring train --imitation.data spag.json --imitation.steps 100
    """

    out: Path
    """The file, new. games: .jsonl.gz; spag and spag-rows: one JSON array; else JSON lines."""
    teacher: str = "scripted"
    """Whose talk is kept."""
    opponent: str | None = None
    """Whom it plays; None: itself."""
    seat: str | None = None
    """The teacher's against an opponent; None: as many games in each seat."""
    format: Literal["games", "spag", "spag-rows", "messages", "prompt-completion", "preference"] = "messages"
    """games (whole, as in a run folder), spag and spag-rows (SPAG's files), messages, prompt-completion, preference (TRL's)."""
    winners_only: bool = False
    """Keep the talk of games that the teacher won alone."""
    games: int = 200
    """How many games (in each seat)."""
    group_size: int = 1
    """Games about the same word; preference needs several, to find a game won and a game lost."""
    game: str = "AdversarialTaboo"
    """A registered game: AdversarialTaboo, AdversarialTaboo-DrawingOut, TwentyQuestions."""
    words: str = "everyday"
    """everyday, common, band:1000-5000, a file with one word a line; @train or @heldout behind it (sparring words --help)."""
    prompts: str = "full"
    """What the data tell of the rules: full, brief (as sparring-mini is told them), or a JSON file of prompts."""
    max_turns: int | None = None
    """Utterances per player; None: the game's own number."""
    temperature: float = 1.0
    """Sampling temperature of models; 0 is greedy."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class Bench:
    """The everyday reasoning test of one model, or of two with their paired difference.

    Examples:
      sparring bench mini@imitation
      sparring bench runs/x@0 runs/x@latest --json
    """

    models: tuple[str, ...]
    """One model's name, or two, the second compared with the first question by question."""
    items: int = 200
    """Questions per task."""
    seed: int = 0
    """Decides the questions."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class Games:
    """Prints games of a run, unedited.

    Examples:
      sparring games runs/x
      sparring games runs/x --round 1 --first 10 --count 5
    """

    run: Path
    """A run folder."""
    round: int | None = None
    """Which round; None: the last one."""
    first: int = 0
    """Number of the first game shown."""
    count: int = 3
    """How many."""
    word: str | None = None
    """Only games about this word."""
    json: bool = False
    """Print one JSON object a line instead."""


@dataclass(frozen=True)
class Words:
    """Prints a list of secret words, one a line.

    Lists, here and wherever words are asked for: everyday; common (band:501-5000); band:FIRST-LAST, nouns by rank in a list of English
    words by frequency, or band:FIRST-LAST:verb (adjective, adverb); a file with one word a line. LIST@train and LIST@heldout are the two
    parts of a list; LIST,LIST are several. Bands leave out names, inflected forms and profane words (band:FIRST-LAST:profane keeps these).

    Examples:
      sparring words --band 1000-5000 --split heldout
      sparring words --band 1-20000 --part verb --count
      sparring words --words everyday,band:1-2000,band:2001-8000 --json
    """

    words: str = "common"
    """A list."""
    band: str | None = None
    """FIRST-LAST: ranks, both included, instead of a list."""
    part: str = "noun"
    """Part of speech of a band: noun, verb, adjective, adverb."""
    split: str | None = None
    """train or heldout; None: all words."""
    profane: bool = False
    """Keep the profane words of a band."""
    count: bool = False
    """Print how many there are instead."""
    json: bool = False
    """Print one JSON object instead: the words of each list."""


@dataclass(frozen=True)
class Judge:
    """Judges utterances, or lists the games whose outcome is another one under a rule.

    A file of lines {"target", "role", "text"} gives a line {"reason", "winner", "span", "matched"} each. A file of games (games.jsonl.gz)
    gives a line for every game whose outcome changes.

    Examples:
      sparring judge utterances.jsonl --rule family
      sparring judge runs/x/rounds/001/games.jsonl.gz --rule spag
    """

    file: Path
    """JSON lines, of utterances or of games."""
    rule: str = "lemma"
    """lemma (inflections), family (derivations too), spag (the substring rule of the published code)."""


@dataclass(frozen=True)
class Report:
    """Writes a run's report.html anew and says where it is.

    Example:
      sparring report runs/x
    """

    run: Path
    """A run folder."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class Export:
    """Writes a model as a plain transformers folder.

    Example:
      sparring export runs/x@latest ./my-model
    """

    model: str
    """A model's name, as in RUN@latest."""
    folder: Path
    """A new or empty folder."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of the weights written; None as they are stored."""
    json: bool = False
    """Print one JSON object instead."""


@dataclass(frozen=True)
class _Start:
    """How a run begins: everything that is no setting of the run itself."""

    preset: str | None = None
    """quick (minutes on two cores), full (the study's run, from the base model), imitation (makes the shipped imitation model), rae,
    spag-faithful, spag-corrected (docs/objectives.md)."""
    config: Path | None = None
    """A YAML file of settings, as config.yaml in a run folder; options given beside it win."""
    resume: Path | None = None
    """Continue the run in this folder after its last finished round; no other setting may be given."""
    json: bool = False
    """Print the summary as one JSON object."""
    print_config: bool = False
    """Print the resolved settings as YAML, for --config, and do nothing else."""
    dry_run: bool = False
    """Print what the run would need and write (parameters, memory, tokens, disk), and do nothing else."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<11} {run.__doc__.splitlines()[0]}" for name, run in COMMANDS.items() if run.__doc__]
        print(USAGE.format(commands="\n".join(lines)))
        return 0
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"sparring {version('sparring')}")
        return 0
    try:
        return _run(given)
    except _BadOptionsError:
        return 2
    except BrokenPipeError:
        # Who reads, such as head, has seen enough. What is still to be flushed at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"sparring: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'interrupted'}", file=sys.stderr)
        return 128 + int(getattr(stop, "signal", signal.SIGINT))


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _run(given: list[str]) -> int:
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        from .settings import near

        raise ValueError(f"unknown command {name!r}; {near(name, COMMANDS)} (sparring --help)")
    return COMMANDS[name](rest)


def _parse(kind: Any, name: str, arguments: list[str], default: Any = None) -> Any:
    """Options by tyro. Raises _BadOptionsError where they are bad (tyro has said why), SystemExit(0) after --help."""
    import tyro

    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        return tyro.cli(kind, prog=f"sparring {name}", args=arguments, description=kind.__doc__, **options)
    except SystemExit as end:
        if end.code:
            raise _BadOptionsError from end
        raise


def _positional(kind: Any) -> Any:
    """Required fields as positional arguments."""
    import tyro

    return tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(kind)


def _print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True))


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False)


def train(arguments: list[str]) -> int:
    """Self-play training: play, judge, learn, measure, report."""
    import tyro

    from .config import TrainConfig
    from .progress import Quiet, Shown
    from .run_folder import RunFolder
    from .settings import load, to_yaml
    from .train import resume
    from .train import train as start_run

    chosen, rest = _start_options(arguments)
    progress = Quiet() if chosen.json and not sys.stderr.isatty() else Shown()
    if chosen.resume is not None:
        if rest or chosen.config or chosen.preset or chosen.print_config or chosen.dry_run:
            raise ValueError("--resume continues a run as it was set; leave the other options out")
        config = load(RunFolder.open(chosen.resume).config, TrainConfig)
        summary = resume(chosen.resume, evaluations=_evaluations(config), progress=progress)
    else:
        default = _base_config(chosen, rest)
        config = _parse(tyro.conf.configure(tyro.conf.FlagConversionOff)(TrainConfig), "train", rest, default)
        if chosen.print_config:
            print(to_yaml(config), end="")
            return 0
        if chosen.dry_run:
            from .plan import plan
            from .session import prepare

            _print_plan(plan(prepare(config)), as_json=chosen.json)
            return 0
        summary = start_run(config, evaluations=_evaluations(config), progress=progress)
    if os.environ.get("RANK", "0") != "0":
        return 0
    if chosen.json:
        _print_json({"folder": str(summary.folder), **summary.data})
    else:
        from .tables import show_summary

        show_summary(summary, _console())
    return 0


def _print_plan(found: dict[str, Any], *, as_json: bool) -> None:
    """A plan, a line a topic."""
    if as_json:
        _print_json(found)
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


def _train_help() -> None:
    import tyro

    from .config import PRESETS, TrainConfig

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
        "  sparring train --resume runs/full-1\n\n"
        "settings, with the values of the preset quick:\n"
    )
    tyro.cli(TrainConfig, prog="sparring train", args=["--help"], default=PRESETS["quick"], description="")


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
    from sparring.agents.names import model_card

    from .config import TrainConfig, preset
    from .settings import load

    if chosen.config is not None:
        if chosen.preset:
            raise ValueError("--config and --preset both say where to start; give one of them")
        return replace(load(chosen.config, TrainConfig), out=None)
    model = _value_of("--model", rest)
    card = model_card(model) if model else None
    return preset(chosen.preset or "quick", model, everyday=card is None or card.everyday)


def _value_of(name: str, arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def _evaluations(config: "TrainConfig") -> tuple["Evaluation", ...]:
    """The everyday test, for models that speak the everyday world's English."""
    from sparring.agents.names import model_card

    return (everyday_evaluation(),) if model_card(config.model).everyday else ()


def everyday_evaluation(per_task: int = 200) -> "Evaluation":
    """The everyday reasoning test, as `train` takes it."""
    from sparring.benchmarks import everyday

    from .measuring import Evaluation

    return Evaluation("everyday", lambda model: everyday.evaluate(model, per_task), everyday.compare, lambda result: dict(result["tasks"]))


def play(arguments: list[str]) -> int:
    """Plays games of two agents and shows them."""
    options: Play = _parse(Play, "play", arguments)

    from sparring.agents.rollout import Played, play_all

    from .episodes import record
    from .evaluate import cell, schedule

    if options.games < 1:
        raise ValueError(f"--games must be at least 1, got {options.games}")
    game = _game(options.game, options.max_turns)
    role = options.role or next(role for role in game.roles if role not in game.informed)
    if role not in game.roles:
        raise ValueError(f"unknown role {role!r}; the roles of {game.name} are {', '.join(game.roles)}")
    specs = {seat: options.player if seat == role else options.opponent for seat in game.roles}
    agents = _agents(specs, options.temperature, options.device)
    words = _secrets(game, options.words, options.seed)
    together = 1 if "human" in specs.values() else 256
    console = _console()

    def ended(p: Played) -> None:
        if together == 1:
            _show_game(console, record(p))

    played = play_all(schedule(agents, game, words, options.games, options.seed), concurrency=together, progress=ended)
    cells = [cell(played, agents[other].name, seat, "all") for seat, other in zip(game.roles, reversed(game.roles), strict=True)]
    if options.json:
        _print_json({"games": [record(p) for p in played[: options.show]], "cells": [dict(vars(c)) for c in cells]})
        return 0
    for p in played[: options.show] if together > 1 else ():
        _show_game(console, record(p))
    void = f", and {cells[0].void} void" if cells[0].void else ""
    console.print(f"{cells[0].games} games: " + ", ".join(f"{c.seat} won {c.wins}" for c in cells) + f", ties {cells[0].ties}{void}")
    return 0


def _game(name: str, max_turns: int | None) -> "Game":
    from sparring.envs import games as _games  # noqa: F401  registers the games
    from sparring.envs.core import make_game

    return make_game(name) if max_turns is None else make_game(name, max_turns=max_turns)


def _agents(specs: dict[str, str], temperature: float, device: str) -> dict[str, Any]:
    """Agents by role (or by name); names of one model share it."""
    from sparring.agents.core import Sampling
    from sparring.agents.names import is_model, model_card, resolve

    loaded: dict[str, Any] = {}
    agents = {}
    for key, spec in specs.items():
        sampling = Sampling(temperature, max_new_tokens=model_card(spec).max_new_tokens) if is_model(spec) else None
        role = key if key in ("attacker", "defender") else None
        agents[key] = resolve(spec, role=role, sampling=sampling, device=device, models=loaded)
    return agents


def _secrets(game: "Game", words: str, seed: int) -> list[str]:
    """What games are about: the words of a list in an order that the seed draws; nothing in a game without a secret."""
    import random

    from sparring.envs.words import word_list

    listed = word_list(words) if game.informed else ("",)
    return random.Random(seed).sample(listed, k=len(listed))


def _show_game(console: "Console", game: dict[str, Any]) -> None:
    """One game, with what decided it highlighted and named in the verdict. What models said is printed as it is, never as markup."""
    from rich.text import Text

    from sparring.agents.human import printable

    outcome, evidence = game["outcome"], game["outcome"]["evidence"]
    if game["task"]["secret"]:
        console.print(Text(f"secret word: {game['task']['secret']}", style="bold"))
    for turn, utterance in enumerate(game["utterances"]):
        text = Text(printable(utterance["text"]))
        if evidence and evidence["turn"] == turn:
            text.stylize("bold reverse", evidence["start"], evidence["end"])
        console.print(Text(f"  {utterance['role']}: ").append_text(text))
    winner = f"the {outcome['winner']} wins" if outcome["winner"] else "nobody wins"
    verdict = Text(f"  -- {outcome['reason']}, {winner}", style="bold")
    if evidence and outcome["reason"] not in ("silent", "overlong"):
        said = printable(game["utterances"][evidence["turn"]]["text"][evidence["start"] : evidence["end"]])
        verdict.append(f": [{said}]" if said else "")
    console.print(verdict.append("\n"))


def tournament(arguments: list[str]) -> int:
    """Every player against every other, in both seats."""
    options: Tournament = _parse(_positional(Tournament), "tournament", arguments)

    from .measuring import counted
    from .progress import Quiet, Shown
    from .tables import tournament_table
    from .tournament import tournament as hold

    if len(set(options.players)) < len(options.players):
        raise ValueError("a player is named twice; every player plays every other once in each seat")
    if options.games < 1:
        raise ValueError(f"--games must be at least 1, got {options.games}")
    if "human" in options.players:
        raise ValueError("a tournament is for players that need no keyboard; use sparring play")
    game = _game(options.game, options.max_turns)
    agents = _agents({spec: spec for spec in options.players}, options.temperature, options.device)
    words = _secrets(game, options.words, options.seed)
    total = len(agents) * (len(agents) - 1) * options.games
    with (Quiet() if options.json else Shown()).phase("tournament", total) as advance:
        result = hold(agents, game, words, options.games, options.seed, progress=counted(advance))
    if options.json:
        _print_json(result)
        return 0
    for title in ("players", "pairs"):
        _console().print(tournament_table(title, result[title]))
    return 0


def collect(arguments: list[str]) -> int:
    """Writes games of any agents as data for imitation."""
    options: Collect = _parse(_positional(Collect), "collect", arguments)

    from sparring.envs.views import load_prompts
    from sparring.envs.words import word_list

    from .collect import collect as play_and_write
    from .measuring import counted
    from .progress import Quiet, Shown

    game = _game(options.game, options.max_turns)
    if options.seat is not None and options.seat not in game.roles:
        raise ValueError(f"unknown seat {options.seat!r}; the roles of {game.name} are {', '.join(game.roles)}")
    if options.seat is not None and options.opponent is None:
        raise ValueError("--seat is the teacher's against an --opponent; alone it plays both")
    if "human" in (options.teacher, options.opponent):
        raise ValueError("data are collected from players that need no keyboard; use sparring play")
    specs = {"teacher": options.teacher, "opponent": options.opponent or options.teacher}
    players = _agents(specs, options.temperature, options.device)
    if options.opponent is None:
        tables = [(dict.fromkeys(game.roles, players["teacher"]), game.roles)]
    else:
        seats = game.roles if options.seat is None else (options.seat,)
        tables = [({r: players["teacher" if r == seat else "opponent"] for r in game.roles}, (seat,)) for seat in seats]
    with (Quiet() if options.json else Shown()).phase("collect", options.games * len(tables)) as advance:
        made = play_and_write(
            options.out,
            options.format,
            tables,
            game,
            word_list(options.words),
            options.games,
            options.seed,
            renderer=load_prompts(options.prompts),
            group_size=options.group_size,
            winners_only=options.winners_only,
            progress=counted(advance),
        )
    if options.json:
        _print_json({"file": str(options.out), "format": options.format, **vars(made)})
    else:
        won = ", ".join(f"{role} won {n}" for role, n in made.wins.items())
        void = f", and {made.void} void" if made.void else ""
        print(f"wrote {options.out}: {made.entries} entries ({options.format}) of {made.games} games ({won}{void})")
    return 0


def bench(arguments: list[str]) -> int:
    """The everyday reasoning test of a model, or of two with their paired difference."""
    options: Bench = _parse(_positional(Bench), "bench", arguments)

    from sparring.agents.language_model import load_language_model
    from sparring.agents.names import given, is_model, model_place

    evaluation = everyday_evaluation(options.items)
    results = []
    if not 1 <= len(options.models) <= 2:
        raise ValueError(f"give one model, or two to compare; got {len(options.models)}")
    for spec in options.models:
        if not is_model(spec):
            raise ValueError(f"{spec} is no model; the test scores answers by a model's probabilities")
        model = load_language_model(model_place(spec), name=spec, device=given(options.device))
        results.append(evaluation.measure(model))
    found: dict[str, Any] = {"models": options.models, "before": evaluation.brief(results[0])}
    if len(results) > 1:
        found |= {"after": evaluation.brief(results[1]), "difference": evaluation.compare(results[0], results[1])}
    if options.json:
        _print_json(found)
    else:
        from .tables import evaluation_table

        _console().print(evaluation_table("everyday", found))
    return 0


def games(arguments: list[str]) -> int:
    """Prints games of a run, unedited."""
    options: Games = _parse(_positional(Games), "games", arguments)

    from .episodes import read_episodes
    from .run_folder import RunFolder

    folder = RunFolder.open(options.run)
    there = sorted(int(path.parent.name) for path in (options.run / "rounds").glob("*/games.jsonl.gz"))
    if not there:
        raise ValueError(f"{options.run} has no games yet")
    number = there[-1] if options.round is None else options.round
    if number not in there:
        raise ValueError(f"{options.run} has no games of round {number}; it has rounds {there[0]} to {there[-1]}")
    console = _console()
    shown = 0
    for place, episode in enumerate(read_episodes(folder.games(number))):
        if place < options.first or (options.word is not None and episode.task.secret != options.word):
            continue
        if shown == options.count:
            break
        shown += 1
        if options.json:
            _print_json(episode.record)
        else:
            console.print(f"game {place} of round {number}")
            _show_game(console, episode.record)
    if not shown:
        raise ValueError("no game fits these options")
    return 0


def words(arguments: list[str]) -> int:
    """Prints a list of secret words."""
    options: Words = _parse(Words, "words", arguments)

    from sparring.envs.words import curriculum, list_names

    if options.band is not None and options.words != "common":
        raise ValueError("--words and --band both name a list; give one of them")
    if options.band is None and (options.part != "noun" or options.profane):
        raise ValueError("--part and --profane are for a --band")
    lists = list_names(options.words)
    if options.band is not None:
        lists = [f"band:{options.band}:{options.part}" + ":profane" * options.profane]
    if options.split is not None:
        lists = [f"{name}@{options.split}" for name in lists]
    stages = curriculum(",".join(lists))
    if options.json:
        _print_json({"lists": [{"list": name, "words": stage} for name, stage in zip(lists, stages, strict=True)]})
    elif options.count:
        print(sum(map(len, stages)))
    else:
        print("\n".join(word for stage in stages for word in stage))
    return 0


def judge(arguments: list[str]) -> int:
    """Judges utterances, or lists the games whose outcome is another one under a rule."""
    options: Judge = _parse(_positional(Judge), "judge", arguments)

    from sparring.envs import games as _games  # noqa: F401  registers the games

    from .rejudge import holds_games, judge_lines, rejudge

    again = rejudge if holds_games(options.file) else judge_lines
    for found in list(again(options.file, options.rule)):
        _print_json(found)
    return 0


def report(arguments: list[str]) -> int:
    """Writes a run's report.html anew."""
    options: Report = _parse(_positional(Report), "report", arguments)

    from .report import write_report

    path = write_report(options.run)
    if options.json:
        _print_json({"report": str(path)})
    else:
        print(path)
    return 0


def export(arguments: list[str]) -> int:
    """Writes a model as a plain transformers folder."""
    options: Export = _parse(_positional(Export), "export", arguments)

    from .export import export as write

    folder = write(options.model, options.folder, dtype=options.dtype)
    if options.json:
        _print_json({"folder": str(folder)})
    else:
        print(f"wrote {folder}; load it with transformers, or: sparring play --opponent {folder}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "play": play,
    "tournament": tournament,
    "bench": bench,
    "collect": collect,
    "games": games,
    "words": words,
    "judge": judge,
    "report": report,
    "export": export,
}


if __name__ == "__main__":
    entry()
