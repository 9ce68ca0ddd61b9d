"""Lines of game files written by hand, for tests of what reads them."""

import gzip
import json
from pathlib import Path
from typing import Any

from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.storage.schema import EPISODES

WIN = "I know the word! It is a lemon."


def line(id: str, *said: str, word: str = "lemon", winner: str | None = "attacker", reason: str = "uttered", **changes: Any) -> dict:
    """A game of Adversarial Taboo. agents: of the attacker and the defender. evidence: (utterance, start, end). Others are fields."""
    agents, evidence = changes.pop("agents", ("mini", "mini")), changes.pop("evidence", None)
    roles = ("attacker", "defender")
    utilities = {role: 0.0 if winner is None else 1.0 if role == winner else -1.0 for role in roles}
    return {
        "schema": EPISODES,
        "id": id,
        "game": {"name": "AdversarialTaboo", "version": 1, "config": AdversarialTaboo().config()},
        "task": {"id": id, "secret": word, "group": word, "seed": 7},
        "players": {role: {"agent": agent, "weight_version": "0", "prompt": None} for role, agent in zip(roles, agents, strict=True)},
        "utterances": [
            {"role": roles[i % 2], "text": text, "truncated": False, "private": "", "finish": "stop", "tokens": 2}
            for i, text in enumerate(said)
        ],
        "outcome": {
            "winner": winner,
            "reason": reason,
            "utilities": utilities,
            "evidence": evidence and {**dict(zip(("turn", "start", "end"), evidence, strict=True)), "matched": ""},
        },
        **changes,
    }


def write_lines(path: Path, lines: list[Any]) -> Path:
    """A file of lines; texts among them as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
