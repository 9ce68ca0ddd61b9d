"""One role's chat so far, as messages and as text, which grows as the role hears more: no step renders or
copies what came before."""

from dataclasses import dataclass
from typing import Any, Never

from ..core import Observation, Utterance
from ..views import Renderer

LONGEST_VIEW = 1 << 20
"""Characters of the longest observation: what is older is left out of it."""


class ChatMessage(dict[str, str]):
    """A message {"role", "content"} that one view hands out again and again: a dict that cannot be changed.
    Its copies are plain dicts, deep copies and pickles among them."""

    __slots__ = ()

    def _refuse(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("a message is shared by all infos of a game and cannot be changed; change a copy of it: dict(message)")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return dict, (dict(self),)


@dataclass
class ChatView:
    """What a role sees. messages: the chat, system message first. text: the same, one message a paragraph; of
    more than LONGEST_VIEW characters the newest. heard: how many utterances are in it."""

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
        """The same for another game."""
        return ChatView(self.role, self.messages.copy(), self.text, self.heard)

    def hear(self, utterances: tuple[Utterance, ...]) -> None:
        """Adds those of all utterances so far that are new."""
        for speaker, content, _ in utterances[self.heard :]:
            said_by = "assistant" if speaker == self.role else "user"
            self.messages.append(ChatMessage(role=said_by, content=content))
            self.text = f"{self.text}\n\n{said_by}: {content}"[-LONGEST_VIEW:]
        self.heard = len(utterances)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, messages=list(map(ChatMessage, state["messages"])))
