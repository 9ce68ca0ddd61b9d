"""What a role is shown: renderers turn an observation into chat messages. Rules hold no prompts; prompts hold
no rules.

Views are append-only: the view after a turn extends the view before it, so that token streams and caches
extend too.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .core import Observation, Utterance


def printable(text: str) -> str:
    """A text without what could steer a terminal; as long as the text. Line breaks are kept."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """A name, a word or a quotation in one line, without what could steer a terminal; as long as the text."""
    return printable(text).replace("\n", "\ufffd")


def inset(text: str) -> str:
    """What a player said, to be printed beside what others did: its further lines stand to the right, and so
    begin nothing new."""
    return printable(text).replace("\n", f"\n{INSET}")


def brief(error: object, longest: int = 300) -> str:
    """An error, or another text from outside, as a part of a sentence: one line, cut after `longest`
    characters."""
    missing = " is missing" if isinstance(error, KeyError) else ""
    text = " ".join(printable(f"{error}{missing}"[: 10 * longest]).split())
    return text if len(text) <= longest else f"{text[:longest]}..."


def _shown(char: str) -> str:
    if char.isprintable() or char == "\n":
        return char
    return " " if unicodedata.category(char) == "Zs" else "\ufffd"


INSET = " " * 8
"""Before the further lines of an utterance."""


class Message(NamedTuple):
    """One chat message. role: system, user or assistant (the field's names; a game's roles are something
    else)."""

    role: str
    content: str


class Renderer(Protocol):
    """Turns one role's observation into its chat so far, ending with the message that the role is to
    answer."""

    @property
    def prompt_id(self) -> str:
        """Short hash of everything that shapes the text; recorded with every episode."""

    def render(self, observation: Observation) -> tuple[Message, ...]: ...


@dataclass(frozen=True)
class Prompts:
    """The usual renderer: a system message per role, and an opening user message for a role that speaks
    first.

    system: per role, a `str.format` template over the observation's rules and private facts. opening: the
    user message that starts the chat of a role that speaks before anyone else (most chat templates want the
    user first). A role that has no system message here is shown its game's own prompts (GAME_PROMPTS).
    """

    system: Mapping[str, str]
    opening: str

    @property
    def prompt_id(self) -> str:
        text = json.dumps({"system": dict(self.system), "opening": self.opening}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def render(self, observation: Observation) -> tuple[Message, ...]:
        if observation.role not in self.system:
            return _own_prompts(observation).render(observation)
        system = self.system[observation.role].format(**observation.rules, **observation.private)
        messages = [Message("system", system)]
        said = observation.utterances
        first = said[0].role if said else observation.to_act
        if first == observation.role:
            messages.append(Message("user", self.opening))
        return tuple(messages + spoken(said, observation.role))


GAME_PROMPTS: dict[str, Prompts] = {}
"""The full rules of each game, by its name or the prefix of its family, as `register_prompts` has them."""


def register_prompts(game: str, prompts: Prompts) -> None:
    """Makes a game's full rules known. game: its name, or the prefix of a family of games."""
    GAME_PROMPTS[game] = prompts


def game_prompts(game: str) -> Prompts | None:
    """The full rules of a game by its name; None where there are none."""
    return GAME_PROMPTS.get(game.partition(":")[0])


def _own_prompts(observation: Observation) -> Prompts:
    own = game_prompts(observation.game)
    if own is None or observation.role not in own.system:
        raise ValueError(
            f"no prompts for the role {observation.role!r} of {observation.game}: give it a system message, or register prompts "
            "(register_prompts)"
        )
    return own


def spoken(utterances: Iterable[Utterance], role: str) -> list[Message]:
    """What was said, as the chat of a role: its own utterances are the assistant's."""
    return [Message("assistant" if utterance.role == role else "user", utterance.text) for utterance in utterances]
