"""sparring tournament: every player against every other."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import console, print_json
from .matches import MatchOptions, bar_of, make, players, require_names, secrets, shown
from .options import parse, positional

if TYPE_CHECKING:
    from sparring.agents.rollout import Episode, Match
    from sparring.envs.core import Game

    from ..evaluation.game_results import GameResult
    from ..evaluation.tournament import Plan
    from ..evaluation.tournament_folder import TournamentFolder

PLAYED = ("game", "game_options", "words", "games", "temperature", "top_p", "max_new_tokens", "seed")
"""Options that decide which games are played."""
MOST_PROBLEMS = 5
"""Lines of a file that cannot be read that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class Tournament(MatchOptions):
    """Every player against every other, in both roles, on the same words with the same seeds; strengths,
    paired tests, costs.

    With --out the games are kept: the same command goes on where it was stopped, --add brings in more
    players. docs/tournaments.md says how to read the results.

    Examples:
      sparring tournament mini@imitation scripted random
      sparring tournament runs/x@0 runs/x@4 runs/x@8 scripted --games 400 --words heldout --out ladder
      sparring tournament --out ladder --add runs/y@8
    """

    players: tuple[str, ...]
    """Agents, two or more; none where --out is a tournament that was begun."""
    games: int = 200
    """Games per ordered pair."""
    temperature: float = 0.5
    """Sampling temperature of models; 0 is greedy."""
    out: Path | None = None
    """The folder of the tournament, new or begun; None: games are not kept."""
    add: tuple[str, ...] = ()
    """Agents that join the tournament in --out; what was played is not played again."""
    models_at_once: int = 0
    """So many models are loaded at a time, 2 or more, the others in turn; 0: as many as memory has room for."""


def tournament(arguments: list[str]) -> int:
    """Every player against every other, in both roles."""
    options: Tournament = parse(positional(Tournament), "sparring tournament", arguments)
    _check(options)

    if options.out is None:
        return _show(_in_memory(options), options)
    from ..evaluation.tournament_folder import claimed

    with claimed(options.out):
        return _show(_in_folder(options, options.out), options)


def _check(options: Tournament) -> None:
    named = (*options.players, *options.add)
    if len(set(named)) < len(named):
        raise ValueError("a player is named twice; every player plays every other once in each role")
    if options.add and options.out is None:
        raise ValueError("--add brings players into a tournament that was begun: name its folder with --out")
    if options.out is None and len(options.players) < 2:
        raise ValueError(f"a tournament needs at least two players, got {len(options.players)}")
    if options.games < 1:
        raise ValueError(f"--games must be at least 1, got {options.games}")
    if options.models_at_once in (1, -1) or options.models_at_once < 0:
        raise ValueError(f"--models-at-once must be 2 or more, or 0 for as many as there is memory for, got {options.models_at_once}")
    if "human" in named:
        raise ValueError("a tournament is for players that need no keyboard; a person joins one by sparring play --tournament FOLDER")


def _in_memory(options: Tournament) -> dict[str, Any]:
    game = make(options.game, options.game_options)
    words = secrets(game, options.words, options.seed)
    require_names(product(game.roles, options.players), game, words)

    from ..evaluation.tournament import Plan

    plan = Plan(game, options.players, tuple(words), options.games, options.seed)
    results: list[GameResult] = []
    seconds: Counter[str] = Counter()
    matches = [match for pair in plan.pairs for match in plan.matches(*pair)]
    _play(plan, matches, options, lambda _, result: results.append(result), seconds.update)
    return _standings(results, plan, seconds, _played(options), len(matches))


def _in_folder(options: Tournament, out: Path) -> dict[str, Any]:
    folder = _opened(options, out)
    options = replace(options, **folder.options)
    folder.mend()
    results, problems = folder.read()
    planned = folder.planned()
    left = [match for match in planned if match.id not in results or results[match.id].void]
    needed = {player for match in left for player in match.tags.values()}
    require_names(product(folder.game.roles, sorted(needed)), folder.game, folder.words)
    folder.require_unchanged(needed)
    bar = bar_of(json=options.json)
    for text in problems[:MOST_PROBLEMS]:
        bar.say(f"{text}; it is left out")
    if len(problems) > MOST_PROBLEMS:
        bar.say(f"{len(problems):,} lines of {folder.games} are left out")
    if len(left) < len(planned):
        bar.say(f"{len(planned) - len(left)} of {len(planned)} games are in {out} already")
    with folder.writing() as write:

        def keep(episode: "Episode", result: "GameResult") -> None:
            write(episode)
            results[result.id] = result

        try:
            _play(folder.plan, left, options, keep, folder.add_seconds)
        except (Exception, KeyboardInterrupt) as error:
            error.add_note(f"{len(results)} games are in {out}; the same command goes on")
            raise
    return write_results(folder, results.values())


def write_results(folder: "TournamentFolder", results: "Iterable[GameResult]") -> dict[str, Any]:
    """Writes what a tournament came to into its folder."""
    from ..evaluation.tournament_folder import RESULTS
    from ..report.tournament import write_standings
    from ..storage.folder import to_json, write_text
    from ..storage.provenance import provenance

    found = _standings(results, folder.plan, folder.seconds(), folder.options, len(folder.planned()))
    found["tournament"]["provenance"] = provenance(folder.options["seed"])
    write_text(folder.path / RESULTS, to_json(found))
    write_standings(found, folder.path)
    return found


def _opened(options: Tournament, out: Path) -> "TournamentFolder":
    """The tournament in a folder, new or begun, with those who join. Raises ValueError where it was played
    otherwise than is asked for."""
    from sparring.agents.names import pinned, shell_path

    from ..evaluation.tournament_folder import MANIFEST, TournamentFolder, entrant, open_tournament

    added = [pinned(spec) for spec in options.add]
    if not (out / MANIFEST).exists():
        if options.add or len(options.players) < 2:
            raise ValueError(f"{out} holds no tournament yet: name two players or more to begin one")
        game = make(options.game, options.game_options)
        words = secrets(game, options.words, options.seed)
        specs = [pinned(spec) for spec in options.players]
        require_names(product(game.roles, specs), game, words)
        folder = TournamentFolder(out, _played(options), tuple(map(entrant, specs)), game, tuple(words))
        folder.save()
        return folder
    folder = open_tournament(out, words_of)
    defaults = _played(Tournament(players=()))
    for name, value in _played(options).items():
        if value not in (defaults[name], folder.options[name]):
            switch = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{out} was begun with {switch} {folder.options[name]}, not {value}: leave it out, or choose a new folder with --out"
            )
    there = [e.agent for e in folder.entrants]
    strange = [spec for spec in options.players if pinned(spec) not in there]
    if strange:
        raise ValueError(f"{strange[0]} does not play in {out} ({', '.join(there)}): --add {shell_path(Path(strange[0]))} brings it in")
    joined = folder.joined([entrant(spec) for spec in added])
    require_names(product(folder.game.roles, added), folder.game, folder.words)
    if joined != folder:
        folder.require_unchanged(there)  # whoever joins plays them all
        joined.save()
    return joined


def words_of(game: "Game", begun: Mapping[str, Any]) -> list[str]:
    """What the games of a tournament are about, by its options."""
    return secrets(game, begun["words"], begun["seed"])


def _played(options: Tournament) -> dict[str, Any]:
    return {name: getattr(options, name) for name in PLAYED}


def _play(
    plan: "Plan",
    matches: "Sequence[Match]",
    options: Tournament,
    keep: "Callable[[Episode, GameResult], None]",
    took: Callable[[dict[str, float]], None],
) -> None:
    """Plays matches, in turns where not all models fit into memory. keep: is given each game when it has
    ended. took: seconds of computing by player, from time to time."""
    if not matches:
        return
    from sparring.agents.names import local_location
    from sparring.agents.rollout import play

    from ..data.streaming import Interrupted
    from ..evaluation.tournament import FIRST, SECOND, Meter, result_of_match, turns
    from ..evaluation.tournament_folder import CHUNK
    from ..runtime.interrupts import Interrupts

    pairs = list(dict.fromkeys((match.tags[FIRST], match.tags[SECOND]) for match in matches))
    places = {player: local_location(player) for pair in pairs for player in pair}
    rounds = turns(pairs, places, options.models_at_once or _room(set(places.values()) - {None}, options.device))
    models: dict[str, Any] = {}
    meter, interrupts, bar = Meter(), Interrupts(), bar_of(json=options.json)
    for number, turn in enumerate(rounds, 1):
        specs = {player: player for pair in turn for player in pair}
        for place in models.keys() - {places[player] for player in specs}:
            del models[place]
        agents = players(specs, options, models)
        meter.attach(agents)
        playing = [match for match in matches if (match.tags[FIRST], match.tags[SECOND]) in set(turn)]
        title = "tournament" if len(rounds) == 1 else f"tournament, turn {number} of {len(rounds)}"
        with shown(bar, title, len(playing), agents.values()) as progress:
            try:
                with interrupts.watched():
                    for ended, episode in enumerate(play(plan.seated(playing, agents), progress=progress), 1):
                        with interrupts.held():
                            result = result_of_match(episode)
                            keep(episode, result)
                            meter.add(result)
                            if ended % CHUNK == 0:
                                took(meter.take())
            except KeyboardInterrupt:
                if interrupts.received is None:
                    raise
                raise Interrupted(interrupts.received) from None
            finally:
                took(meter.take())


def _room(places: Collection[str | None], device: str) -> int:
    """How many of these models fit into half of the memory that is free, by the size of their files:
    16-bit weights are kept in 32 on a CPU, and caches take room too."""
    if len(places) <= 2:
        return len(places)
    from sparring.agents.models.devices import pick_device
    from sparring.agents.models.memory import free_bytes

    folders = [Path(str(place)) for place in places]
    sizes = [
        sum(file.stat().st_size for file in (folder.glob("*.safetensors") if folder.is_dir() else [folder]) if file.is_file())
        for folder in folders
    ]
    return int(free_bytes(pick_device(device).type) // 2 // max(3 * max(sizes), 1))


def _standings(
    results: "Iterable[GameResult]", plan: "Plan", seconds: Mapping[str, float], options: Mapping[str, Any], planned: int
) -> dict[str, Any]:
    from ..evaluation.standings import standings
    from ..evaluation.tournament_folder import rules

    what = {**rules(plan.game, plan.words), "options": dict(options), "players": list(plan.players), "planned": planned}
    return {"tournament": what, **standings(results, plan.game.roles, seconds)}


def _show(results: Mapping[str, Any], options: Tournament) -> int:
    from ..report.tables import of_gibberish
    from ..report.tournament import show_standings

    if options.json:
        print_json(results)
        return 0
    show_standings(results, console())
    if note := of_gibberish(results["players"]):
        console().print(note)
    if options.out is not None:
        print(f"Games and results: {options.out}")
    return 0
