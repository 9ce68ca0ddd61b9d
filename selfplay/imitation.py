"""Conversations to imitate: games of scripted experts, and files of chats.

An expert game gives one conversation per role, rendered as in play, so that the learner sees what the player will see. Knows no learner.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.agents.chat import ChatFormat
from sparring.agents.core import derive_seed
from sparring.agents.rollout import Match, Played, play_all
from sparring.agents.scripted import scripted
from sparring.envs.core import Game, Task
from sparring.envs.views import Message, Renderer

from .batch import Row, sft_row

Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Chat:
    """A conversation to imitate. start: number of the first message whose assistant text is learnt. weight: of all of it."""

    messages: Conversation
    start: int = 0
    weight: float = 1.0


_ROLES = ("system", "user", "assistant")


def expert_games(game: Game, words: Sequence[str], n: int, seed: int) -> list[Played]:
    """n games of scripted players of mixed styles, about words in turn, in an order that the seed draws."""
    if not words:
        raise ValueError("expert games need at least one word")
    order = random.Random(derive_seed(seed, "words")).sample(list(words), k=len(words))
    player = scripted()
    matches = []
    for i in range(n):
        word = order[i % len(order)]
        task = Task(f"expert-{i}", word, word, derive_seed(seed, "task", i))
        agents = dict.fromkeys(game.roles, player)
        matches.append(Match(task.id, game, task, agents, derive_seed(seed, "match", i)))
    return play_all(matches)


def views(played: Played, renderer: Renderer, *, winners_only: bool = False) -> Iterator[Conversation]:
    """What each role of a game saw and said, up to its own last utterance. winners_only: the winner's view alone, none of a tie."""
    for role in played.match.game.roles:
        if winners_only and played.outcome.winner != role:
            continue
        view = renderer.render(played.state.observe(role))
        spoken = max((i for i, message in enumerate(view) if message.role == "assistant"), default=-1)
        if spoken >= 0:
            yield view[: spoken + 1]


def supervised(chats: Iterable[Chat], chat: ChatFormat, limit: int | None = None) -> Iterator[Row]:
    """Training rows of conversations: what the assistant says, end tokens included. Conversations longer than limit tokens are left out."""
    for one in chats:
        ids, action = chat.conversation(one.messages)
        if one.start:
            known = len(chat.open(one.messages[: one.start]))
            action = [False] * known + action[known:]
        if limit is None or len(ids) <= limit:
            yield sft_row(ids, action, weight=one.weight)


def read_conversations(path: Path) -> list[Chat]:
    """Conversations of a file of JSON lines {"messages": [{"role": ..., "content": ...}, ...]}. Raises ValueError naming the bad line."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file of conversations")
    conversations = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    conversations.append(Chat(_conversation(line)))
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(
                        f"{path}, line {number}: not a conversation ({error}); it must look like "
                        '{"messages": '
                        '[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}]}'
                    ) from error
    if not conversations:
        raise ValueError(f"{path}: no conversations in this file")
    return conversations


def _conversation(line: str) -> Conversation:
    messages = tuple(Message(str(m["role"]), str(m["content"])) for m in json.loads(line)["messages"])
    for message in messages:
        if message.role not in _ROLES:
            raise ValueError(f"unknown role {message.role!r}; roles are {', '.join(_ROLES)}")
    if not any(message.role == "assistant" for message in messages):
        raise ValueError("no assistant message to learn from")
    return messages
