"""Chat formats: from messages to token ids and back. Sampled tokens are never tokenised again.

The tokenizer's chat template is probed once, at load, with marker texts; streams are then built from the
pieces that were found. Text from outside (every message content) is tokenised so that it can never act as a
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

    end_ids: every id that ends a reply. end_id: the id that is appended to a truncated reply. day: today's
    date for the template, by default the day on which the format is made. Raises ValueError for a template
    that cannot be probed, or exceeds the bounds.
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
        end = self._codec.pieces(((self.pieces.end or "", False),))
        if len(end) == 1:
            self.end_id = end[0]
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
        """Ids of a first prompt, including the generation prompt. The last message must not be the
        assistant's."""
        _must_be_answered(messages)
        return [i for ids, _ in self._blocks(messages) for i in ids]

    def extend(self, messages: Sequence[Message], *, ended: bool) -> list[int]:
        """Ids that follow a sampled reply: the end of its turn, the new messages, the generation prompt.

        ended: True if the reply's own last token ended it; otherwise the end token comes first (with
        loss_mask False).
        """
        _must_be_answered(messages)
        return [*([] if ended else [self.end_id]), *(i for ids, _ in self._blocks(messages, first=False) for i in ids)]

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """A whole conversation for supervised training: ids [n], and loss_mask [n], True on assistant
        messages and their end tokens.

        Equal to what `open`, sampling and `extend` give for the same texts. Ends with the last assistant
        message.
        """
        last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
        if last < 0:
            raise ValueError("a conversation to learn from needs an assistant message")
        blocks = list(self._blocks(messages[: last + 1]))
        return [i for ids, _ in blocks for i in ids], [is_reply for ids, is_reply in blocks for _ in ids]

    def reply(self, text: str) -> list[int]:
        """The ids of a reply that says `text` without a thought, including the end token."""
        before = self._codec.last_section(self.pieces.generate)
        parts = ((self.pieces.lead, False), (self._content(Message("assistant", text)), True))
        if self.pieces.end:
            ids = self._follow(before, (*parts, (self.pieces.end, False)))
            if ids[-1] in self.end_ids:
                return ids
        return [*self._follow(before, parts), self.end_id]

    def raw(self, ids: Sequence[int]) -> str:
        """The text of sampled ids without end tokens. Other special tokens are shown as text."""
        text = self._codec.decode([i for i in ids if i not in self._silent])
        return text if self.templated else text.split("\n", 1)[0]

    def decode(self, ids: Sequence[int], stop: Sequence[str] = ()) -> str:
        """A sampled reply as text for `split_thinking`, up to the first stop string: without the lead of
        answers, and with the beginning of a thought where the prompt contains it."""
        text, thinking = self.raw(ids), self.pieces.thinking
        for one in stop:
            text = text.split(one, 1)[0]
        answer = without_marker(self.pieces.lead, text)
        if answer != text or thinking is None or not thinking.needed or without_marker(thinking.opens, text) != text:
            return answer
        return thinking.opens + text

    def split_thinking(self, text: str) -> tuple[str, str]:
        """(private, public) parts of a reply's text. If a thought is never closed, nothing is public."""
        return self.pieces.thinking.split(text) if self.pieces.thinking else ("", text.strip())

    def _content(self, message: Message) -> str:
        """A message's text in this format. Without a template a line break would end a turn, so contents are
        put on one line."""
        text = encodable(message.content)
        if not self.templated:
            return " ".join(text.split())
        for side, strip in (("left", str.lstrip), ("right", str.rstrip)):
            text = strip(text) if (message.role, side) in self.pieces.trimmed else text
        return text

    def _blocks(self, messages: Sequence[Message], *, first: bool = True) -> Iterator[tuple[list[int], bool]]:
        """Ids of alternating context and assistant text, with True for the latter. first: nothing precedes
        the messages."""
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
        """Ids of parts that follow a template's text, tokenised together with it where that keeps the
        template's ids."""
        known = self.encode(((before, False),), False)
        whole = self.encode(((before, False), *parts), False)
        return list(whole[len(known) :] if whole[: len(known)] == known else self._codec.pieces(parts))

    def _encode(self, parts: tuple[Part, ...], first: bool) -> tuple[int, ...]:
        return tuple(self._codec.encode(parts, first=first))


def _must_be_answered(messages: Sequence[Message]) -> None:
    if not messages or messages[-1].role == "assistant":
        raise ValueError("the last message of a prompt must be one that the assistant is to answer")


def _turns(messages: Sequence[Message]) -> list[Message]:
    """Merges consecutive messages of one role, so users and assistants alternate; a later system message
    counts as the user's."""
    turns: list[Message] = []
    for number, message in enumerate(messages):
        role = message.role if message.role == "assistant" or (message.role == "system" and number == 0) else "user"
        if turns and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(Message(role, message.content))
    return turns
