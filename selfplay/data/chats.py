"""Demonstrations: conversations to learn from, as samples, and those that a game holds. Files of them: `formats.py`.

A game gives one conversation per role, rendered as in play, so that the learner sees what the player will see. Knows no learner.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.rollout import Episode
from sparring.envs.core import State
from sparring.envs.views import Message, Renderer

from ..learner.batch import Sample, sft_sample

Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Chat:
    """A demonstration. start: number of the first message whose assistant text is learnt. weight: of all of it. role: whose side
    of a game it is, empty where it is of none."""

    messages: Conversation
    start: int = 0
    weight: float = 1.0
    role: str = ""


def sides(episode: Episode, renderer: Renderer, *, winners_only: bool = False) -> Iterator[Chat]:
    """What each role of a game saw and said, up to its own last utterance. winners_only: the winner's side alone, none of a tie."""
    for role in episode.match.game.roles:
        if winners_only and episode.outcome.winner != role:
            continue
        view = own_view(episode.state, role, renderer)
        if view:
            yield Chat(view, role=role)


def own_view(state: State, role: str, renderer: Renderer) -> Conversation:
    """What a role saw and said, up to its own last utterance; empty where it said nothing."""
    view = renderer.render(state.observe(role))
    spoken = max((i for i, message in enumerate(view) if message.role == "assistant"), default=-1)
    return view[: spoken + 1]


def supervised(chats: Iterable[Chat], chat: ChatFormat, limit: int | None = None) -> Iterator[Sample]:
    """Training samples of conversations: what the assistant says, end tokens included. Conversations longer than limit tokens are left
    out."""
    for one in chats:
        ids, loss_mask = chat.conversation(one.messages)
        if any(message.role == "assistant" for message in one.messages[: one.start]):
            known = len(chat.conversation(one.messages[: one.start])[0])
            loss_mask = [False] * known + loss_mask[known:]
        if limit is None or len(ids) <= limit:
            yield sft_sample(ids, loss_mask, weight=one.weight, role=one.role)
