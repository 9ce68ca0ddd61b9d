"""The card beside a model's weights: its training prompts and utterance length, so that it plays elsewhere as
it was trained.

A folder without a card holds a model that was not trained on the games and gets the full rules.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from sparring.envs.games.prompts import TABOO_BRIEF, TABOO_PROMPTS, read_prompts
from sparring.envs.text_files import parse_json, read_text
from sparring.envs.views import Prompts, brief

CARD = "player.json"


@dataclass(frozen=True)
class PlayerCard:
    """prompts: the prompts of training. max_new_tokens: longest utterance. everyday: whether the model speaks
    the small English of the everyday world, as sparring-mini and its descendants do."""

    prompts: Prompts = TABOO_PROMPTS
    max_new_tokens: int = 256
    everyday: bool = False

    def save(self, folder: Path) -> None:
        data = {
            "schema": 1,
            "system": dict(self.prompts.system),
            "opening": self.prompts.opening,
            "max_new_tokens": self.max_new_tokens,
            "everyday": self.everyday,
        }
        (folder / CARD).write_text(json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


MINI_CARD = PlayerCard(TABOO_BRIEF, max_new_tokens=48, everyday=True)
"""The card of sparring-mini and its descendants."""


def load_card(folder: Path) -> PlayerCard:
    """The card of a model folder, or the default card if it has none. Raises ValueError for an unreadable
    card."""
    path = folder / CARD
    if not path.is_file():
        return PlayerCard()
    try:
        data = parse_json(read_text(path))
        prompts = read_prompts(data)
        return PlayerCard(prompts, int(data["max_new_tokens"]), bool(data["everyday"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: cannot read this player's card ({brief(error)}); remove it to use the full rules") from error
