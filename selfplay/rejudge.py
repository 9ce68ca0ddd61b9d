"""Judging again: utterances one by one, or whole games under another rule."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparring.envs.core import State, make_game
from sparring.envs.forms import check_rule
from sparring.envs.judge import judge_line

from .episodes import Episode, read_episodes


def holds_games(path: Path) -> bool:
    """Whether a file holds whole games, not single utterances. Raises ValueError for a file that cannot be read."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")  # noqa: SIM115
        with opened as file:
            first = next((line for line in file if line.strip()), "{}")
        return "utterances" in json.loads(first)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not JSON lines ({error})") from error


def judge_lines(path: Path, rule: str) -> Iterator[dict[str, Any]]:
    """For every line {"target", "role", "text"}: {"reason", "winner", "span", "matched"}. Raises ValueError naming a bad line."""
    check_rule(rule)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    found = judge_line(json.loads(line), rule)
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(f'{path}, line {number}: needs {{"target", "role", "text"}} ({error!r})') from error
                yield found


def rejudge(path: Path, rule: str) -> Iterator[dict[str, Any]]:
    """The games of a file whose outcome is another one under `rule`: {"id", "secret", "before", "after"}, each with winner, reason and the
    number of utterances played. A game that now ends earlier is cut there; one that would have gone on says reason null.
    """
    check_rule(rule)
    for episode in read_episodes(path):
        state = _played(episode, rule)
        before, after = episode.outcome, state.outcome
        now = (after.winner, after.reason) if after else (None, None)
        if (before.winner, before.reason) != now:
            yield {
                "id": episode.record["id"],
                "secret": episode.task.secret,
                "before": {"winner": before.winner, "reason": before.reason, "utterances": len(episode.utterances)},
                "after": {"winner": now[0], "reason": now[1], "utterances": len(state.utterances)},
            }


def _played(episode: Episode, rule: str) -> State:
    settings = episode.record["game"]["config"]
    if "rule" not in settings:
        raise ValueError(f"{episode.record['id']}: {episode.game} has no rule of word matching, so no outcome can change")
    settings = {**settings, "rule": rule}
    state = make_game(episode.game, **settings).start(episode.task)
    for utterance in episode.utterances:
        if state.to_act is None:
            break
        state = state.apply(utterance.text, truncated=utterance.truncated)
    return state
