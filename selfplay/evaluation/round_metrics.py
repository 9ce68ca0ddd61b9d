"""What one round of games looked like, in numbers: who won and how, how they talked. Pure functions of finished games."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparring.agents.rollout import Episode
from sparring.envs.core import VOID
from sparring.envs.world.english import TruthOf

from ..objectives.returns import Returns
from .gate import BROKEN, WON, share_of
from .win_rates import truthfulness

RARE = 0.01
"""The share of games that were not played by the rules that a round's line does not mention."""


def describe(episodes: Sequence[Episode], truth: TruthOf | None = None) -> dict[str, Any]:
    """How games ended, and how the players talked.

    Counts: games (void ones apart), {role}_wins, ties, void, reasons. decisive: share of the games that end by a right guess or an uttered
    word; None of games that know neither. mean_turns: utterances per game. truth: share of true claims about
    the secret; unparsed: share of the sentences of who knows it that could not be checked, being none of the everyday world's English;
    both None where truth is not known. distinct_utterances: different texts in the round; distinct_share: those as a share of its
    utterances, which falls with the size of a round. repeated: share of utterances that say again what their speaker said before in the
    same game.
    {role}/completions/mean_length: sampled tokens per utterance; {role}/completions/clipped_ratio: share of utterances cut at their limit.
    """
    games = [p for p in episodes if p.outcome.reason != VOID]
    game = episodes[0].match.game if episodes else None
    roles = game.roles if game else ()
    reasons = dict(sorted(Counter(p.outcome.reason for p in games).items()))
    decisive = share_of({"games": len(games), "reasons": reasons}, WON) if game and set(WON) <= set(game.reasons) else None
    said = [(p, u) for p in games for u in p.state.utterances]
    told = truthfulness(games, truth)
    distinct = len({u.text for _, u in said})
    found: dict[str, Any] = {
        "games": len(games),
        "void": len(episodes) - len(games),
        **{f"{role}_wins": sum(p.outcome.winner == role for p in games) for role in roles},
        "ties": sum(p.outcome.winner is None for p in games),
        "reasons": reasons,
        "decisive": decisive,
        "mean_turns": len(said) / len(games) if games else None,
        "truth": told and told.true_share,
        "unparsed": told and told.unparsed_share,
        "distinct_utterances": distinct,
        "distinct_share": distinct / len(said) if said else None,
        "repeated": sum(_repeats(p) for p in games) / len(said) if said else None,
    }
    for role in roles:
        tokens = [r.tokens for p in games for r in p.turns if r.role == role]
        found[f"{role}/completions/mean_length"] = float(np.mean(tokens)) if tokens else None
        cut = [u.truncated for _, u in said if u.role == role]
        found[f"{role}/completions/clipped_ratio"] = float(np.mean(cut)) if cut else None
    return found


def reward_spread(episodes: Sequence[Episode], returns: Returns) -> dict[str, float]:
    """Per role the mean and the standard deviation of returns; frac_reward_zero_std: the share of groups (one word, one role) whose games
    all have the same return, from which a group-relative objective learns nothing."""
    counted = [p for p in episodes if p.match.id in returns]
    if not counted:
        return {}
    found: dict[str, float] = {}
    flat = groups = 0
    for role in counted[0].match.game.roles:
        by_group: dict[str, list[float]] = {}
        for p in counted:
            by_group.setdefault(p.match.task.group, []).append(returns[p.match.id][role])
        values = [value for group in by_group.values() for value in group]
        found |= {f"{role}/reward": float(np.mean(values)), f"{role}/reward_std": float(np.std(values))}
        flat += sum(len(set(group)) == 1 for group in by_group.values())
        groups += len(by_group)
    return {**found, "frac_reward_zero_std": flat / groups}


def _repeats(episode: Episode) -> int:
    utterances = [(u.role, u.text) for u in episode.state.utterances]
    return len(utterances) - len(set(utterances))


def scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a round's record for plotting: counts of outcomes as shares of the games, nested names joined by a slash."""
    games = record.get("games") or 0
    flat: dict[str, float] = {}
    for name, value in record.items():
        if name == "reasons":
            flat |= {f"reasons/{reason}": count / games for reason, count in value.items() if games}
        elif name.endswith("_wins") or name == "ties":
            if games:
                flat[name] = value / games
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "round":
            flat[name] = float(value)
    return flat


def round_line(number: int, rounds: int, record: Mapping[str, Any], seconds: float) -> str:
    """One round in a line."""
    parts = [f"round {number}/{rounds}"]
    games = record.get("games")
    if games:
        parts += [f"{name.removesuffix('_wins')} {record[name] / games:.0%}" for name in record if name.endswith("_wins")]
        parts.append(f"ties {record['ties'] / games:.0%}")
        if record["truth"] is not None:
            parts.append(f"true hints {record['truth']:.0%} (unparsed {record['unparsed']:.1%})")
        shares = {name: count / games for name, count in record["reasons"].items()}
        parts += [f"{name} {share:.0%}" for name, share in shares.items() if name == "uttered" or (name in BROKEN and share > RARE)]
    parts += [f"{name} {record[name]:.3f}" for name in ("kl", "entropy") if name in record]
    return ", ".join([*parts, f"{seconds:.1f} s"])
