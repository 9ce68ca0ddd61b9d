"""Conversations to imitate: what they are, what they teach, and games of scripted experts. Files of them: `formats.py`.

An expert game gives one conversation per role, rendered as in play, so that the learner sees what the player will see. Knows no learner.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sparring.agents.chat import ChatFormat
from sparring.agents.core import derive_seed
from sparring.agents.rollout import Match, Played, play_all
from sparring.agents.scripted import scripted
from sparring.envs.core import Game, State, Task
from sparring.envs.views import Message, Renderer

from .batch import Row, sft_row

Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Chat:
    """A conversation to imitate. start: number of the first message whose assistant text is learnt. weight: of all of it."""

    messages: Conversation
    start: int = 0
    weight: float = 1.0


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
        view = own_view(played.state, role, renderer)
        if view:
            yield view


def own_view(state: State, role: str, renderer: Renderer) -> Conversation:
    """What a role saw and said, up to its own last utterance; empty where it said nothing."""
    view = renderer.render(state.observe(role))
    spoken = max((i for i, message in enumerate(view) if message.role == "assistant"), default=-1)
    return view[: spoken + 1]


def supervised(chats: Iterable[Chat], chat: ChatFormat, limit: int | None = None) -> Iterator[Row]:
    """Training rows of conversations: what the assistant says, end tokens included. Conversations longer than limit tokens are left out."""
    for one in chats:
        ids, action = chat.conversation(one.messages)
        if any(message.role == "assistant" for message in one.messages[: one.start]):
            known = len(chat.conversation(one.messages[: one.start])[0])
            action = [False] * known + action[known:]
        if limit is None or len(ids) <= limit:
            yield sft_row(ids, action, weight=one.weight)
