"""What players of runs say: how often attackers ask for a word, and how often defenders name one unasked or asked.

    python -m sparring.benchmarks.studies.talk runs/study/group-0 runs/study/group-1

Words are drawn out by requests ("Can you name a thing that ..."), and a defender who names things while it thinks can be caught. Both are
read off the games of a run's first and last round of self-play in the everyday world's English.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from sparring.envs.world.english import Answer, Ask, Guess, parse
from sparring.selfplay.cli.common import print_json
from sparring.selfplay.evaluation.statistics import over_seeds
from sparring.selfplay.storage.episodes import EpisodeRecord, read_episodes
from sparring.selfplay.storage.folder import RunFolder, read_lines

from ..command import command


@dataclass(frozen=True)
class TalkConfig:
    """Whose games are read."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, alike but for their seeds."""
    json: bool = False
    """Print one JSON object instead."""


SAID = {
    "asked": "attacker's utterances that ask for a word",
    "named_asked": "defender's answers to these that name one",
    "named_unasked": "defender's other utterances that name one",
    "uttered": "games in which it was the secret word",
    "uttered_asked": "of these, ended by an answer to a request",
}


def said(games: Iterable[EpisodeRecord]) -> dict[str, float]:
    """The shares of `SAID`. A guess that is declared names nothing here."""
    turns: list[tuple[bool, bool]] = []
    ends = []
    for game in games:
        asked = False
        for before, now in zip(game.utterances, game.utterances[1:], strict=False):
            if now.role == "defender":
                asked = any(isinstance(act, Ask) for act in parse(before.text))
                turns.append((asked, any(isinstance(act, Answer | Guess) for act in parse(now.text))))
        ends.append((game.outcome.reason == "uttered", asked))
    by_asked = {asked: [named for was, named in turns if was == asked] for asked in (True, False)}
    return {
        "asked": _share([asked for asked, _ in turns]),
        "named_asked": _share(by_asked[True]),
        "named_unasked": _share(by_asked[False]),
        "uttered": _share([uttered for uttered, _ in ends]),
        "uttered_asked": _share([asked for uttered, asked in ends if uttered]),
    }


def _share(of: Sequence[bool]) -> float:
    return sum(of) / len(of) if of else 0.0


def talk(run: Path) -> tuple[dict[str, float], dict[str, float]]:
    """What was said in a run's first round of self-play, and in its last. Raises ValueError where its games are not kept."""
    folder = RunFolder.open(run)
    kept = [record["round"] for record in read_lines(folder.metrics) if folder.games(record["round"]).is_file()]
    if not kept:
        raise ValueError(f"{run} holds no games of self-play")
    first, last = (said(read_episodes(folder.games(number))) for number in (kept[0], kept[-1]))
    return first, last


def main(config: TalkConfig) -> None:
    if not config.runs:
        raise ValueError("name at least one run folder")
    found = [talk(run) for run in config.runs]
    table = {
        name: {
            "first": over_seeds([first[name] for first, _ in found])._asdict(),
            "last": over_seeds([last[name] for _, last in found])._asdict(),
            "change": over_seeds([last[name] - first[name] for first, last in found])._asdict(),
        }
        for name in SAID
    }
    if config.json:
        print_json({"runs": len(found), "table": table})
        return
    for name, row in table.items():
        change = row["change"]
        half = "" if change["low"] is None else f" ± {(change['high'] - change['low']) / 2:.3f}"
        print(f"{SAID[name]:45} {row['first']['mean']:.3f} -> {row['last']['mean']:.3f} ({change['mean']:+.3f}{half})")


if __name__ == "__main__":
    command("studies.talk", TalkConfig, main, __doc__)
