"""Judging again: utterances one by one, or whole games under another rule."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sparring.envs.core import VOID, State
from sparring.envs.judge.verdict import judge_line
from sparring.envs.judge.word_forms import check_rule
from sparring.envs.text_files import parse_json, read_lines
from sparring.envs.views import brief

from ..storage.episodes import EpisodeRecord, record_from_json

MOST_BAD = 10_000
"""So many lines that cannot be judged are named before the rest of the file is left alone."""


LONGEST_TARGET = 1000
"""Characters of the longest word, or words, that utterances are judged by: the judge's expressions grow with it."""


def rejudge(path: Path, rule: str, bad: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Judges the lines of a file, utterances and games. For every utterance {"target", "role", "text"}: {"reason", "winner", "span",
    "matched"}. For every game whose outcome is another one under `rule`: see `changed`.

    bad: is told of each line that cannot be judged, and of where reading must end, in a sentence; after MOST_BAD of them the file is not
    read on. Raises ValueError for an unknown rule and where there is no such file.
    """
    check_rule(rule)
    failed = 0
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        for where, text in read_lines(path):
            try:
                result = _judged(text, rule)
            except ValueError as error:
                bad(f"{where}: {brief(error).removeprefix(f'{where}: ')}")
                failed += 1
                if failed == MOST_BAD:
                    raise ValueError(f"{path}: {MOST_BAD:,} lines cannot be judged, so the file is not read on") from error
                continue
            if result is not None:
                yield result
    except ValueError as error:
        bad(brief(error))


def _judged(text: str | ValueError, rule: str) -> dict[str, Any] | None:
    if isinstance(text, ValueError):
        raise text
    try:
        line = parse_json(text)
    except ValueError as error:
        raise ValueError(f"not JSON lines ({error})") from error
    if not isinstance(line, dict):
        raise ValueError(f"not JSON lines (an object is needed, got {brief(text.strip(), 60)})")
    game = record_from_json(line) if {"schema", "utterances", "outcome"} & line.keys() else None
    target = game.task.secret if game else line.get("target")
    if isinstance(target, str) and len(target) > LONGEST_TARGET:
        raise ValueError(f"a target of {len(target):,} characters; the longest that is judged has {LONGEST_TARGET}")
    return changed(game, rule) if game else judge_line(line, rule)


def changed(episode: EpisodeRecord, rule: str) -> dict[str, Any] | None:
    """What becomes of a game under `rule` where its outcome is another one: {"id", "secret", "before", "after"}, each with winner, reason
    and the number of utterances played; else None.

    A game that now ends earlier is cut there; one that would have gone on says reason null. A void game has not changed where the rule
    ends it no earlier. Raises ValueError for a game that has no such rule, or whose speakers do not fit.
    """
    state = _played(episode, rule)
    before, after = episode.outcome, state.outcome
    if before.reason == VOID and after is None:
        return None
    now = (after.winner, after.reason) if after else (None, None)
    if (before.winner, before.reason) == now:
        return None
    return {
        "id": episode.record["id"],
        "secret": episode.task.secret,
        "before": {"winner": before.winner, "reason": before.reason, "utterances": len(episode.utterances)},
        "after": {"winner": now[0], "reason": now[1], "utterances": len(state.utterances)},
    }


def _played(episode: EpisodeRecord, rule: str) -> State:
    if "rule" not in episode.record["game"]["config"]:
        raise ValueError(f"{episode.record['id']}: {episode.game} has no rule of word matching, so no outcome can change")
    state = episode.rules(rule=rule).start(episode.task)
    for utterance in episode.utterances:
        if state.to_act is None:
            break
        if utterance.role != state.to_act:
            raise ValueError(f"{episode.record['id']}: {utterance.role!r} speaks where it is the turn of {state.to_act!r}")
        state = state.apply(utterance.text, truncated=utterance.truncated)
    return state
