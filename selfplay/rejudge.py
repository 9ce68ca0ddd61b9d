"""Judging again: utterances one by one, or whole games under another rule."""

import gzip
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sparring.envs.core import VOID, State, make_game
from sparring.envs.forms import check_rule
from sparring.envs.judge import judge_line

from .episodes import Episode, open_text, read_episodes


def holds_games(path: Path) -> bool:
    """Whether a file holds whole games, not single utterances. Raises ValueError for a file that cannot be read."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return any("utterances" in line for _, line in islice(_lines(path), 1))


def judge_lines(path: Path, rule: str) -> Iterator[dict[str, Any]]:
    """For every line {"target", "role", "text"}: {"reason", "winner", "span", "matched"}. Raises ValueError naming a bad line."""
    check_rule(rule)
    for where, line in _lines(path):
        try:
            found = judge_line(line, rule)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        yield found


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, compressed or not, and where each stands. Raises ValueError for lines that are none."""
    where = str(path)
    try:
        with open_text(path) as file:
            for number, text in enumerate(file, 1):
                where = f"{path}, line {number}"
                if text.strip():
                    line = json.loads(text)
                    if not isinstance(line, dict):
                        raise ValueError(f"an object is needed, got {text.strip()[:60]}")
                    yield where, line
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{where}: not JSON lines ({error})") from error


def rejudge(path: Path, rule: str) -> Iterator[dict[str, Any]]:
    """The games of a file whose outcome is another one under `rule`: {"id", "secret", "before", "after"}, each with winner, reason and the
    number of utterances played. A game that now ends earlier is cut there; one that would have gone on says reason null. A void game has
    not changed where the rule ends it no earlier.
    """
    check_rule(rule)
    for episode in read_episodes(path):
        state = _played(episode, rule)
        before, after = episode.outcome, state.outcome
        if before.reason == VOID and after is None:
            continue
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
