"""The token streams of a round's games on the disk, beside the games themselves, until what is learnt from them is safe.

With them an interrupted update needs no game to be played again, which matters where an opponent is a server that answers otherwise the
next time. One .npz without pickled objects: ids, loss_mask, logprobs of all segments one after the other, and a description in JSON.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from sparring.agents.core import Segment, TurnSpan
from sparring.agents.rollout import Episode, Match, Turn
from sparring.envs.core import replay

from .episodes import EpisodeRecord, read_episodes
from .folder import writing
from .schema import STREAMS, require_schema

Segments = Mapping[str, tuple[Segment, ...]]


def write_streams(path: Path, episodes: Sequence[Episode], games: Path, about: Mapping[str, Any]) -> None:
    """The segments of games, in order. games: the file of these games. about: what else is to be read again (JSON). The file is whole or
    absent."""
    flat = [(i, role, segment) for i, p in enumerate(episodes) for role, of in sorted(p.segments.items()) for segment in of]
    described = [[i, role, len(s.ids), [astuple(t) for t in s.turns], s.temperature, s.weight_version, s.adapter] for i, role, s in flat]
    text = json.dumps({"schema": STREAMS, "about": dict(about), "games": _digest(games), "segments": described})
    arrays = {
        name: np.concatenate([getattr(s, name) for _, _, s in flat]) if flat else np.zeros(0, kind)
        for name, kind in (("ids", np.int64), ("loss_mask", np.bool_), ("logprobs", np.float32))
    }
    with writing(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays, description=np.frombuffer(text.encode(), np.uint8))  # type: ignore[arg-type]


def read_streams(path: Path, games: Path) -> tuple[list[Segments], dict[str, Any]]:
    """The segments by game, in order, and what `about` was. Raises ValueError where the file cannot be read or is of other games."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = json.loads(bytes(file["description"]).decode())
            require_schema(found.get("schema"), STREAMS, "it")
            arrays = [file[name] for name in ("ids", "loss_mask", "logprobs")]
        if found["games"] != _digest(games):
            raise ValueError("it is of other games")
        by_game: dict[int, dict[str, tuple[Segment, ...]]] = {}
        at = 0
        for i, role, length, turns, temperature, version, adapter in found["segments"]:
            ids, loss_mask, logprobs = (values[at : at + length] for values in arrays)
            segment = Segment(ids, loss_mask, logprobs, tuple(TurnSpan(*turn) for turn in turns), temperature, version, adapter)
            of = by_game.setdefault(i, {})
            of[role] = (*of.get(role, ()), segment)
            at += length
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return [by_game.get(i, {}) for i in range(1 + max(by_game, default=-1))], dict(found["about"])


def read_round(path: Path, games: Path, matches: Sequence[Match]) -> tuple[list[Episode], dict[str, Any]]:
    """The games of a round as they were played, without their times. Raises ValueError where they are not those of `matches`."""
    streams, about = read_streams(path, games)
    episodes = list(read_episodes(games))
    if [e.record["id"] for e in episodes] != [match.id for match in matches]:
        raise ValueError(f"{games} holds other games than this round's")
    streams += [{}] * (len(episodes) - len(streams))
    return [rebuild_episode(*of) for of in zip(matches, episodes, streams, strict=True)], about


def rebuild_episode(match: Match, episode: EpisodeRecord, segments: Segments) -> Episode:
    """A game as it was played, from its line and its streams; only its time is gone. Raises ValueError where today's rules judge it
    otherwise."""
    said = tuple(Turn(u["role"], u["private"], u["finish"], u["tokens"]) for u in episode.record["utterances"])
    state = replay(match.game, match.task, episode.utterances)
    if state.outcome not in (None, episode.outcome):
        raise ValueError(f"game {match.id} comes out otherwise when it is played again")
    return Episode(match, state, episode.outcome, {role: segments.get(role, ()) for role in match.game.roles}, said, 0.0)


def _digest(games: Path) -> str:
    return hashlib.sha256(games.read_bytes()).hexdigest()
