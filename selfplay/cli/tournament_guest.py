"""sparring play --tournament: a person's games in a tournament."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .common import console
from .games import show_game
from .matches import players, require_names
from .tournament import words_of, write_results

if TYPE_CHECKING:
    from .play import Play

PERSON = "human"
"""How a person is called in a tournament."""


def join(options: "Play", out: Path) -> int:
    """A person plays the next games against one of a tournament's players; its results are written anew.
    Each game is kept when it has ended, and whoever leaves can go on later."""
    from ..evaluation.tournament_folder import Entrant, claimed, open_tournament

    if options.player != PERSON or options.out is not None or options.json:
        raise ValueError(f"with --tournament a person plays and everything is kept in {out}: leave out --player, --out and --json")
    if not out.is_dir():
        raise ValueError(f"{out}: no such folder of a tournament")
    with claimed(out):
        folder = open_tournament(out, words_of)
        known = [e.agent for e in folder.entrants if not e.person]
        if options.opponent not in known:
            raise ValueError(f"{options.opponent} does not play in {out}: --opponent is one of {', '.join(known)}")
        roles = folder.game.roles
        role = options.role or next((role for role in roles if role not in folder.game.secret_roles), roles[0])
        if role not in roles:
            raise ValueError(f"unknown role {role!r}; the roles of {folder.game.name} are {', '.join(roles)}")
        folder.require_unchanged([options.opponent])
        joined = folder.joined([Entrant(PERSON, person=True)])
        if joined != folder:
            joined.save()
        folder = joined
        folder.mend()
        results, _ = folder.read()
        pair = (PERSON, options.opponent) if role == roles[0] else (options.opponent, PERSON)
        left = [match for match in folder.plan.matches(*pair) if match.id not in results or results[match.id].void]
        if not left:
            raise ValueError(f"all {folder.options['games']} games of a person as {role} against {options.opponent} are played")
        require_names(zip(roles, pair, strict=True), folder.game, folder.words)

        from sparring.agents.players.human import Left
        from sparring.agents.rollout import play

        from ..evaluation.tournament import result_of_match
        from ..storage.episodes import record

        own = {name: value for name, value in folder.options.items() if hasattr(options, name) and name != "games"}
        agents = players({player: player for player in pair}, replace(options, **own))
        terminal = console()
        if sys.stdin.isatty():
            terminal.print("/help explains the game, /quit leaves it.\n")
        ended = 0
        try:
            with folder.writing() as write:
                for episode in play(folder.plan.seated(left[: options.games], agents), concurrency=1):
                    write(episode)
                    result = result_of_match(episode)
                    results[result.id] = result
                    ended += 1
                    show_game(terminal, record(episode))
        except Left:
            pass
        write_results(folder, results.values())
        terminal.print(f"{ended} of {len(left)} games as {role} against {options.opponent} added to {out}; results in {out / 'results.md'}")
    return 0
