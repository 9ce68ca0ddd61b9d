"""One role's chat so far, as messages and as text. It grows with each utterance, so no step renders or copies
the chat before it."""

from dataclasses import dataclass
from typing import Any, Never

from ..core import Observation, Utterance
from ..views import Renderer

LONGEST_VIEW = 1 << 20
"""Longest observation in characters; older text is left out."""


class ChatMessage(dict[str, str]):
    """A message {"role", "content"} that a view shares between observations: a dict that cannot be changed.
    Its copies, deep copies and pickles are plain dicts."""

    __slots__ = ()

    def _refuse(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("a message is shared by all infos of a game and cannot be changed; change a copy of it: dict(message)")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return dict, (dict(self),)


@dataclass
class ChatView:
    """What a role sees. messages: the chat, system message first. text: the same, one message per paragraph,
    cut to the newest LONGEST_VIEW characters. heard: how many utterances it contains."""

    role: str
    messages: list[ChatMessage]
    text: str
    heard: int

    @classmethod
    def opened(cls, renderer: Renderer, observation: Observation) -> "ChatView":
        messages = [ChatMessage(role=role, content=content) for role, content in renderer.render(observation)]
        text = "\n\n".join([f"{message['role']}: {message['content']}" for message in messages])
        return cls(observation.role, messages, text[-LONGEST_VIEW:], len(observation.utterances))

    def again(self) -> "ChatView":
        """A copy for another game with the same beginning."""
        return ChatView(self.role, self.messages.copy(), self.text, self.heard)

    def hear(self, utterances: tuple[Utterance, ...]) -> None:
        """Adds the utterances that are new among all utterances so far."""
        for speaker, content, _ in utterances[self.heard :]:
            said_by = "assistant" if speaker == self.role else "user"
            self.messages.append(ChatMessage(role=said_by, content=content))
            self.text = f"{self.text}\n\n{said_by}: {content}"[-LONGEST_VIEW:]
        self.heard = len(utterances)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, messages=list(map(ChatMessage, state["messages"])))
