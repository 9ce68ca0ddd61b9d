"""sparring collect: games as data for supervised fine-tuning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .common import print_json
from .matches import MatchOptions, bar_of, listed, make, players, require_names, shown
from .options import parse, positional


@dataclass(frozen=True)
class Collect(MatchOptions):
    """Plays games and writes what a teacher said as data, for fine-tuning here (--sft.data FILE) or
    elsewhere.

    The teacher plays both roles, or one against an opponent; only its talk is kept. An agent is one of mini,
    mini@imitation, smollm2, scripted, scripted:NAME, PATH, FILE.gguf, RUN@N, RUN@latest, hf:ID,
    openai:MODEL@URL, vllm:MODEL@URL.

    Examples:
      sparring collect talk.jsonl --games 1000 --winners-only
      sparring collect games.jsonl.gz --format games --teacher openai:gpt-4.1@https://api.openai.com/v1 --words common
      sparring collect pairs.jsonl --format preference --teacher runs/x@latest --opponent scripted --group-size 8
      sparring collect spag.json --format spag-rows && sparring train --sft.data spag.json --sft.steps 100
    """

    out: Path
    """The file, new. games: .jsonl.gz; spag and spag-rows: one JSON array; else JSON lines."""
    teacher: str = "scripted"
    """Whose talk is kept."""
    opponent: str | None = None
    """Whom it plays; None: itself."""
    role: str | None = None
    """The teacher's against an opponent; None: as many games in each role."""
    format: Literal["games", "spag", "spag-rows", "messages", "prompt-completion", "preference"] = "messages"
    """games (whole, as in a run folder), spag and spag-rows (SPAG's files), messages, prompt-completion,
    preference (TRL's)."""
    winners_only: bool = False
    """Keep the talk of games that the teacher won alone."""
    games: int = 200
    """How many games (in each role)."""
    group_size: int = 1
    """Games about the same word; preference needs several, to find a game won and a game lost."""
    prompts: str = "full"
    """What the data tell of the rules: full, brief (as sparring-mini is told them), or a JSON file of
    prompts."""


def collect(arguments: list[str]) -> int:
    """Writes games of any agents as data for supervised fine-tuning."""
    options: Collect = parse(positional(Collect), "sparring collect", arguments)

    from sparring.envs.games.prompts import load_prompts

    if options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new file")
    if options.games < 1 or options.group_size < 1 or options.games % options.group_size:
        raise ValueError(f"games ({options.games}) must be a multiple of group_size ({options.group_size}), and at least 1")
    game = make(options.game, options.game_options)
    if options.role is not None and options.role not in game.roles:
        raise ValueError(f"unknown role {options.role!r}; the roles of {game.name} are {', '.join(game.roles)}")
    if options.role is not None and options.opponent is None:
        raise ValueError("--role is the teacher's against an --opponent; alone it plays both")
    if "human" in (options.teacher, options.opponent):
        raise ValueError("data are collected from players that need no keyboard; use sparring play")
    prompts = load_prompts(options.prompts, game.roles)
    words = listed(game, options.words)
    if options.opponent is None:
        tables = [(dict.fromkeys(game.roles, "teacher"), game.roles)]
    else:
        roles = game.roles if options.role is None else (options.role,)
        tables = [({r: "teacher" if r == taught else "opponent" for r in game.roles}, (taught,)) for taught in roles]
    specs = {"teacher": options.teacher, "opponent": options.opponent or options.teacher}
    require_names([(role, specs[who]) for table, _ in tables for role, who in table.items()], game, words)

    from ..data.collect import collect as play_and_write

    agents = players(specs, options)
    total = options.games * len(tables)
    with shown(bar_of(json=options.json), "collect", total, agents.values()) as progress:
        made = play_and_write(
            options.out,
            options.format,
            [({role: agents[who] for role, who in table.items()}, kept) for table, kept in tables],
            game,
            words,
            options.games,
            options.seed,
            renderer=prompts,
            group_size=options.group_size,
            winners_only=options.winners_only,
            progress=progress,
        )
    if options.json:
        print_json({"file": str(options.out), "format": options.format, **vars(made)})
    else:
        won = ", ".join(f"{role} won {n}" for role, n in made.wins.items())
        void = f", and {made.void} void" if made.void else ""
        print(f"wrote {options.out}: {made.entries} entries ({options.format}) of {made.games} games ({won}{void})")
    return 0
