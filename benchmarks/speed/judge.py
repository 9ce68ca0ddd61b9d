"""How long the judge takes: its share of playing a round, and microseconds per utterance by rule and kind of utterance.

    python -m sparring.benchmarks.speed.judge --json

A round is games of a model against itself, as self-play plays them, without learning from them; judging is a verdict on every utterance of
these games again. Both are CPU time. Everyday English is what sparring-mini says, prose what larger models say; disguised text takes the
long path.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.agents.names import resolve
from sparring.agents.rollout import play_all
from sparring.envs.core import make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.judge.verdict import RULES, matcher, verdict
from sparring.envs.words.lists import word_list
from sparring.selfplay.evaluation.win_rates import schedule
from sparring.selfplay.storage.provenance import provenance

from ..command import command

TARGETS = ("cat", "lemon", "run", "house", "decision", "blorf")
UTTERANCES = {
    "everyday": (
        "It is often yellow.", "Is it a kind of bird?", "You find it in the kitchen.", "What is its use?",
        "You would paint it green.", "Look for a thing that has wings.", "Name a thing that is soft.",
    ),
    "declaration": ("I know the word! It is a lemon.", "I know the word! It is a cat."),
    "prose": (
        "That reminds me of the time when my grandmother took us to the seaside, and we stayed until dark.",
        "Let me think\u2026 It\u2019s something you\u2019d eat for breakfast, with a well-known drink?",
        "Interesting: so it's neither alive nor made of metal, but people keep it near them all day.",
    ),
    "disguised": ("It is c a t, my friend.", "You mean c4t or \u0441\u0430t?", "Is it l-e-m-o-n, perhaps?"),
}  # fmt: skip


@dataclass(frozen=True)
class JudgeSpeedConfig:
    """What is measured."""

    model: str = "mini@imitation"
    """Who plays the round, in both roles."""
    games: int = 512
    """Games of the round."""
    repeats: int = 200
    """Passes over the utterances by kind; a figure is their median."""
    seed: int = 0
    """Decides words and what is said."""
    json: bool = False
    """Print one JSON object."""


def microseconds(utterances: Sequence[str], rule: str, repeats: int) -> float:
    """The median over `repeats` of the mean time of one judgement, as the defender's utterance."""
    cases = [(text, target) for text in utterances for target in TARGETS]
    taken = [_seconds(lambda: [verdict(text, "defender", target, rule) for text, target in cases]) for _ in range(repeats)]
    return statistics.median(taken) / len(cases) * 1e6


def share(config: JudgeSpeedConfig) -> dict[str, Any]:
    """CPU seconds of a round, of judging it, and their ratio. Raises ValueError for an unknown model, and for a number of games below 1."""
    if config.games < 1 or config.repeats < 1:
        raise ValueError(f"games and repeats must be at least 1, got {config.games} and {config.repeats}")
    game = make_game("AdversarialTaboo")
    player = resolve(config.model, device="cpu")
    matches = schedule(dict.fromkeys(game.roles, player), game, word_list("everyday"), config.games, config.seed)
    episodes = []
    playing = _seconds(lambda: episodes.extend(play_all(matches)))
    said = [(u.text, u.role, p.match.task.secret) for p in episodes for u in p.state.utterances]
    judging = statistics.median(_seconds(lambda: [verdict(*one) for one in said]) for _ in range(5))
    return {"utterances": len(said), "playing_seconds": playing, "judging_seconds": judging, "share": judging / playing}


def _seconds(what: Callable[[], object]) -> float:
    """CPU time of a call."""
    began = time.process_time()
    what()
    return time.process_time() - began


def measure(config: JudgeSpeedConfig) -> dict[str, Any]:
    """The judge's share of a round, and microseconds by rule and kind of utterance."""
    round_share = share(config)
    for rule in RULES:
        for target in TARGETS:
            matcher(target, rule)
    by_rule = {rule: {kind: microseconds(texts, rule, config.repeats) for kind, texts in UTTERANCES.items()} for rule in RULES}
    return {"model": config.model, "round": round_share, "microseconds": by_rule, "provenance": provenance(config.seed)}


def main(config: JudgeSpeedConfig) -> None:
    found = measure(config)
    if config.json:
        print(json.dumps(found, sort_keys=True))
        return
    print(f"{'':8}" + "".join(f"{kind:>14}" for kind in UTTERANCES))
    for rule, times in found["microseconds"].items():
        print(f"{rule:8}" + "".join(f"{value:11.1f} us" for value in times.values()))
    of = found["round"]
    print(f"{of['share']:.2%} of the {of['playing_seconds']:.1f} s of a round with {of['utterances']} utterances")


if __name__ == "__main__":
    command("speed.judge", JudgeSpeedConfig, main, __doc__)
