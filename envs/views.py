"""Renderers turn an observation into chat messages. Rules contain no prompts, and prompts contain no rules.

Views are append-only: the view after a turn extends the view before it, so token streams and caches extend
too.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .core import Observation, Utterance


def printable(text: str) -> str:
    """The text with everything that could control a terminal replaced, at equal length. Line breaks are
    kept."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """As `printable`, with line breaks replaced too: for a name, a word or a quotation in one line."""
    return printable(text).replace("\n", "\ufffd")


def inset(text: str) -> str:
    """An utterance for printing beside others: lines after the first are indented, so none looks like a new
    utterance."""
    return printable(text).replace("\n", f"\n{INSET}")


def brief(error: object, longest: int = 300) -> str:
    """An error, or another untrusted text, for use inside a sentence: one line, cut after `longest`
    characters."""
    missing = " is missing" if isinstance(error, KeyError) else ""
    text = " ".join(printable(f"{error}{missing}"[: 10 * longest]).split())
    return text if len(text) <= longest else f"{text[:longest]}..."


def _shown(char: str) -> str:
    if char.isprintable() or char == "\n":
        return char
    return " " if unicodedata.category(char) == "Zs" else "\ufffd"


INSET = " " * 8
"""Indentation of an utterance's lines after the first."""


class Message(NamedTuple):
    """One chat message. role: system, user or assistant, the roles of chat models; a game's roles are
    different."""

    role: str
    content: str


class Renderer(Protocol):
    """Turns one role's observation into its chat so far, ending with the message that the role answers."""

    @property
    def prompt_id(self) -> str:
        """Short hash of all prompt texts; recorded with every episode."""

    def render(self, observation: Observation) -> tuple[Message, ...]: ...


@dataclass(frozen=True)
class Prompts:
    """The usual renderer: a system message per role, and an opening user message for the role that speaks
    first.

    system: per role, a `str.format` template over the observation's rules and private facts. opening: the
    first user message of a role that speaks before anyone else, as most chat templates require one. A role
    without a system message here gets its game's own prompts (GAME_PROMPTS).
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
        utterances = observation.utterances
        first = utterances[0].role if utterances else observation.to_act
        if first == observation.role:
            messages.append(Message("user", self.opening))
        return tuple(messages + spoken(utterances, observation.role))


GAME_PROMPTS: dict[str, Prompts] = {}
"""The full rules of each game by its name, or by the prefix of its family; see `register_prompts`."""


def register_prompts(game: str, prompts: Prompts) -> None:
    """Registers a game's full rules. game: its name, or the prefix of a family of games."""
    GAME_PROMPTS[game] = prompts


def game_prompts(game: str) -> Prompts | None:
    """The full rules of a game by its name; None where there are none."""
    return GAME_PROMPTS.get(game.partition(":")[0])


def _own_prompts(observation: Observation) -> Prompts:
    prompts = game_prompts(observation.game)
    if prompts is None or observation.role not in prompts.system:
        raise ValueError(
            f"no prompts for the role {observation.role!r} of {observation.game}: give it a system message, or register prompts "
            "(register_prompts)"
        )
    return prompts


def spoken(utterances: Iterable[Utterance], role: str) -> list[Message]:
    """Utterances as the chat of a role: its own are the assistant's messages, all others the user's."""
    return [Message("assistant" if utterance.role == role else "user", utterance.text) for utterance in utterances]
