"""Chat formats: from messages to token ids and back, without ever tokenising a sampled token again.

The tokenizer's chat template is probed once, at load, with sentinel texts; afterwards streams are built from
the pieces found. Text that others wrote (every message content) is tokenised so that it can never act as a
control token.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from sparring.envs.core import encodable
from sparring.envs.views import Message

from .template_pieces import plain_pieces, probe, without_marker
from .text_codec import Codec, Part


class ChatFormat:
    """How one tokenizer turns chats into ids.

    end_ids: every id that ends a reply. end_id: the one that is put after a reply that was cut off. day: what
    the template takes for today, by default the day on which the format is made. Raises ValueError where the
    template cannot be probed, or costs too much.
    """

    def __init__(self, tokenizer: Any, *, extra_end_ids: Iterable[int] = (), day: datetime.date | None = None) -> None:
        self.tokenizer = tokenizer
        self.day = day or datetime.date.today()
        self._codec = Codec(tokenizer)
        self.templated = bool(getattr(tokenizer, "chat_template", None))
        eos = tokenizer.eos_token_id
        stops = [*extra_end_ids, *(eos if isinstance(eos, (list, tuple)) else () if eos is None else (int(eos),))]
        self.pieces = probe(tokenizer, self._codec, frozenset(stops), self.day) if self.templated else plain_pieces(tokenizer)
        thinking = self.pieces.thinking
        inside = self._codec.texts(f"{thinking.between}{thinking.answers}") if thinking else ()
        ends = set(stops) - {self._codec.control[text] for text in inside}
        found = self._codec.pieces(((self.pieces.end or "", False),))
        if len(found) == 1:
            self.end_id = found[0]
        elif not ends:
            raise ValueError("the chat template ends a reply with no special token, and there is no eos token either")
        else:
            self.end_id = eos if isinstance(eos, int) and eos in ends else min(ends)
        # Of these nothing is said; a line break can be in one token with what is said before it.
        self._silent = frozenset(ends | ({self.end_id} if self.templated else set()))
        breaks = frozenset() if self.templated else self._codec.holding("\n")
        self.end_ids: frozenset[int] = self._silent | breaks | {self.end_id}
        self.encode = lru_cache(maxsize=4096)(self._encode)

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a first prompt, generation prompt included. The last message must not be the assistant's."""
        _must_be_answered(messages)
        return [i for ids, _ in self._blocks(messages) for i in ids]

    def extend(self, messages: Sequence[Message], *, ended: bool) -> list[int]:
        """Ids that follow a sampled reply: what ends its turn, the new messages, the generation prompt.

        ended: whether the reply's own last token ended it; if not, the end token comes first (it is no
        action).
        """
        _must_be_answered(messages)
        return [*([] if ended else [self.end_id]), *(i for ids, _ in self._blocks(messages, first=False) for i in ids)]

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """A whole conversation for supervised training: ids [n] and loss_mask [n], True on what the assistant
        says and its end token.

        Equal to what `open`, sampling and `extend` give for the same texts. It ends with the last assistant
        message.
        """
        last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
        if last < 0:
            raise ValueError("a conversation to learn from needs an assistant message")
        blocks = list(self._blocks(messages[: last + 1]))
        return [i for ids, _ in blocks for i in ids], [said for ids, said in blocks for _ in ids]

    def reply(self, text: str) -> list[int]:
        """The ids a model would sample to say `text` aloud and think nothing, end token included."""
        before = self._codec.last_section(self.pieces.generate)
        said = ((self.pieces.lead, False), (self._content(Message("assistant", text)), True))
        if self.pieces.end:
            ids = self._follow(before, (*said, (self.pieces.end, False)))
            if ids[-1] in self.end_ids:
                return ids
        return [*self._follow(before, said), self.end_id]

    def raw(self, ids: Sequence[int]) -> str:
        """The text of sampled ids without end tokens. Other special tokens show as they are."""
        text = self._codec.decode([i for i in ids if i not in self._silent])
        return text if self.templated else text.split("\n", 1)[0]

    def decode(self, ids: Sequence[int], stop: Sequence[str] = ()) -> str:
        """A sampled reply as a text of its own, for `split_thinking`, up to the first of the stop strings:
        without what the format puts in front of any answer, and with the beginning of a thought where the
        prompt holds that.
        """
        text, thinking = self.raw(ids), self.pieces.thinking
        for one in stop:
            text = text.split(one, 1)[0]
        said = without_marker(self.pieces.lead, text)
        if said != text or thinking is None or not thinking.needed or without_marker(thinking.opens, text) != text:
            return said
        return thinking.opens + text

    def split_thinking(self, text: str) -> tuple[str, str]:
        """(private, public) parts of a reply's text. Where a thought is opened and never closed, nothing is
        public."""
        return self.pieces.thinking.split(text) if self.pieces.thinking else ("", text.strip())

    def _content(self, message: Message) -> str:
        """A message's text as the format has it. Without a template a line break would end a turn, so
        contents are one line each."""
        text = encodable(message.content)
        if not self.templated:
            return " ".join(text.split())
        for side, strip in (("left", str.lstrip), ("right", str.rstrip)):
            text = strip(text) if (message.role, side) in self.pieces.trimmed else text
        return text

    def _blocks(self, messages: Sequence[Message], *, first: bool = True) -> Iterator[tuple[list[int], bool]]:
        """Ids of what the assistant is given and of what it says, in turn, and which it is. first: nothing
        stands before the messages."""
        turns = _turns(messages)
        begun = not first
        while turns:
            system = turns.pop(0) if turns[0].role == "system" else None
            user = self._content(turns.pop(0)) if turns and turns[0].role == "user" else ""
            parts: tuple[Part, ...]
            if begun:
                parts = ((self.pieces.after, False), (user, True))
            elif system is None:
                parts = ((self.pieces.head, False), (user, True))
            elif self.pieces.system is None:
                rules = self._content(system)
                parts = ((self.pieces.head, False), (f"{rules}\n\n{user}" if user else rules, True))
            else:
                before, after = self.pieces.system
                parts = ((before, False), (self._content(system), True), (after, False), (user, True))
            parts = (*parts, (self.pieces.generate, False))
            yield (self._follow(self._end_text(), parts) if begun else list(self.encode(parts, True))), False
            if turns:
                yield self.reply(turns.pop(0).content), True
            begun = True

    def _end_text(self) -> str:
        return self.pieces.end or self._codec.text_of(self.end_id)

    def _follow(self, before: str, parts: tuple[Part, ...]) -> list[int]:
        """Ids of parts that follow a template's text, tokenised together with it where that leaves its own
        ids as they are."""
        known = self.encode(((before, False),), False)
        whole = self.encode(((before, False), *parts), False)
        return list(whole[len(known) :] if whole[: len(known)] == known else self._codec.pieces(parts))

    def _encode(self, parts: tuple[Part, ...], first: bool) -> tuple[int, ...]:
        return tuple(self._codec.encode(parts, first=first))


def _must_be_answered(messages: Sequence[Message]) -> None:
    if not messages or messages[-1].role == "assistant":
        raise ValueError("the last message of a prompt must be one that the assistant is to answer")


def _turns(messages: Sequence[Message]) -> list[Message]:
    """Merges neighbours of one role, so that users and assistants alternate; a system message after the first
    counts as the user's."""
    turns: list[Message] = []
    for place, message in enumerate(messages):
        role = message.role if message.role == "assistant" or (message.role == "system" and place == 0) else "user"
        if turns and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(Message(role, message.content))
    return turns
