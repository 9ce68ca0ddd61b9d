"""Chat formats: from messages to token ids and back, without ever tokenising a sampled token again.

The tokenizer's chat template is probed once, at load, with sentinel texts; afterwards streams are built from the pieces found. Text that
others wrote (every message content) is tokenised with *every* added token disabled, so that it can never act as a control token.
"""

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sparring.envs.views import Message

_SYSTEM, _USER, _REPLY, _NEXT = "QZSYSTEMQZ", "QZUSERQZ", "QZREPLYQZ", "QZNEXTQZ"
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Pieces:
    """The template's own text around the contents.

    head: before the first user content of a chat without a system message. system: before and after the system content, or None where the
    template has no system role (it is then put in front of the first user message). generate: after the last user content, up to where the
    reply begins. lead: white space that a reply begins with. end: the text of the end token of a reply, or None where it is eos without a
    place in the template. after: between the end token and the next user content.
    """

    head: str
    system: tuple[str, str] | None
    generate: str
    lead: str
    end: str | None
    after: str


class ChatFormat:
    """How one tokenizer turns chats into ids.

    end_ids: every id that ends a reply. end_id: the one that the template itself puts after a reply. thinks: whether the format has think
    tags. day: what the template takes for today, by default the day on which the format is made. Raises ValueError where the template
    cannot be probed.
    """

    def __init__(self, tokenizer: Any, *, extra_end_ids: Iterable[int] = (), day: datetime.date | None = None) -> None:
        self.tokenizer = tokenizer
        self.day = day or datetime.date.today()
        self._codec = _Codec(tokenizer)
        eos = tokenizer.eos_token_id
        self.templated = bool(getattr(tokenizer, "chat_template", None))
        self.pieces = _probe(tokenizer, self._codec) if self.templated else _plain(tokenizer)
        ends = set(extra_end_ids)
        ends.update(eos if isinstance(eos, (list, tuple)) else () if eos is None else (int(eos),))
        if self.pieces.end is None:
            if not ends:
                raise ValueError("the chat template ends a reply with no special token, and there is no eos token either")
            self.end_id = min(ends) if eos is None or isinstance(eos, (list, tuple)) else int(eos)
        else:
            ids = self._codec.template(self.pieces.end)
            if len(ids) == 1:
                self.end_id = ids[0]
            elif not self.templated and ends:
                self.end_id = min(ends)
            else:
                raise ValueError(
                    f"a reply ends with {self.pieces.end!r}, which is not one token but {len(ids)}, and the tokenizer has no eos token"
                )
        self.end_ids: frozenset[int] = frozenset(ends | {self.end_id})
        self.thinks, self._opened = _thinking(tokenizer, self.pieces)
        self._foreign = lru_cache(maxsize=8192)(self._encode_foreign)
        self._template = lru_cache(maxsize=64)(lambda text: tuple(self._codec.template(text)))

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a first prompt, generation prompt included. The last message must not be the assistant's."""
        ids, _ = self._chat(messages)
        return ids + self._generate(messages)

    def extend(self, messages: Sequence[Message], *, ended: bool) -> list[int]:
        """Ids that follow a sampled reply: what ends its turn, the new messages, the generation prompt.

        ended: whether the reply's own last token ended it; if not, the end token comes first (it is no action).
        """
        if not messages or messages[-1].role == "assistant":
            raise ValueError("a chat is extended by messages that the assistant is to answer")
        ids = [] if ended else [self.end_id]
        self._follow(_turns(messages), ids, [])
        return ids + self._generate(messages)

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """A whole conversation for supervised training: ids [n] and action [n], True on what the assistant says and its end token.

        Equal to what `open`, sampling and `extend` give for the same texts. It ends with the last assistant message.
        """
        last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
        if last < 0:
            raise ValueError("a conversation to learn from needs an assistant message")
        return self._chat(messages[: last + 1])

    def reply(self, text: str) -> list[int]:
        """The ids a model would sample to say `text`, end token included."""
        return [*self._foreign(self.pieces.lead + self._flat(text)), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled ids, without end tokens and the format's leading white space. Other special tokens show as they are."""
        text = self._codec.decode([i for i in ids if i not in self.end_ids])
        return text.removeprefix(self.pieces.lead)

    def split_thinking(self, text: str) -> tuple[str, str]:
        """(private, public) parts of a reply's text. Where a thought is opened and never closed, nothing is public."""
        return split_thinking(text, opened=self._opened) if self.thinks else ("", text.strip())

    def _encode_foreign(self, text: str) -> tuple[int, ...]:
        return tuple(self._codec.foreign(text))

    def _flat(self, text: str) -> str:
        """Without a template a line break would end a turn, so contents are one line each."""
        return text if self.templated else " ".join(text.split())

    def _put(self, template: str, content: str) -> list[int]:
        """Template text followed by a content. One space between them belongs to the content's first word, as in plain tokenisation."""
        space = template.endswith(" ")
        return [
            *self._template(template[:-1] if space else template),
            *self._foreign(" " * space + self._flat(content)),
        ]

    def _generate(self, messages: Sequence[Message]) -> list[int]:
        if not messages or messages[-1].role == "assistant":
            raise ValueError("the last message of a prompt must be one that the assistant is to answer")
        return list(self._template(self.pieces.generate))

    def _chat(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """Ids and action mask from the beginning, without the generation prompt at the end."""
        turns = _turns(messages)
        system = turns.pop(0).content if turns and turns[0].role == "system" else None
        user = turns.pop(0).content if turns and turns[0].role == "user" else ""
        if system is None:
            ids = self._put(self.pieces.head, user)
        elif self.pieces.system is None:
            ids = self._put(self.pieces.head, f"{system}\n\n{user}" if user else system)
        else:
            ids = self._put(self.pieces.system[0], system) + self._put(self.pieces.system[1], user)
        action = [False] * len(ids)
        self._follow(turns, ids, action)
        return ids, action

    def _follow(self, turns: Sequence[Message], ids: list[int], action: list[bool]) -> None:
        """Appends alternating user and assistant messages."""
        for turn in turns:
            if turn.role == "assistant":
                new = list(self._template(self.pieces.generate))
                said = self.reply(turn.content)
                action.extend([False] * len(new) + [True] * len(said))
                ids.extend(new + said)
            else:
                new = self._put(self.pieces.after, turn.content)
                action.extend([False] * len(new))
                ids.extend(new)


def split_thinking(text: str, *, opened: bool = False) -> tuple[str, str]:
    """(private, public) parts of a text with think tags. opened: a thought has begun before the text does."""
    if _THINK_CLOSE in text:
        private, public = text.rsplit(_THINK_CLOSE, 1)
    elif _THINK_OPEN in text:
        before, private = text.split(_THINK_OPEN, 1)
        return private.strip(), before.strip()
    else:
        private, public = (text, "") if opened else ("", text)
    return private.strip().removeprefix(_THINK_OPEN).strip(), public.strip()


def _turns(messages: Sequence[Message]) -> list[Message]:
    """Merges neighbours of one role, so that users and assistants alternate; a system message after the first counts as the user's."""
    turns: list[Message] = []
    for place, message in enumerate(messages):
        role = message.role if message.role == "assistant" or (message.role == "system" and place == 0) else "user"
        if turns and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(Message(role, message.content))
    return turns


class _Codec:
    """Three ways through one tokenizer: template text (added tokens live), foreign text (added tokens dead), and back."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = {int(i): str(token) for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
        unknown = getattr(tokenizer, "unk_token_id", None)
        self.added = {i: text for i, text in added.items() if text.strip() and i != unknown}
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self.live: Any = None
        self.dead: Any = None
        if backend is not None:
            from tokenizers import Tokenizer

            spec = _without_magic(json.loads(backend.to_str()))
            self.live = Tokenizer.from_str(json.dumps(spec))
            self.dead = Tokenizer.from_str(json.dumps({**spec, "added_tokens": []}))

    def template(self, text: str) -> list[int]:
        if self.live is not None:
            return list(self.live.encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def foreign(self, text: str) -> list[int]:
        if not text:
            return []
        ids = self._dead_ids(text)
        # NOTE: a unigram model, or one that looks whole words up, can reach a control token through its
        # ordinary vocabulary. Such text is cut until it cannot.
        if len(text) > 1 and not self.added.keys().isdisjoint(ids):
            hit = next(self.added[i] for i in ids if i in self.added)
            at = text.find(hit)
            cut = at + len(hit) // 2 if at >= 0 and len(hit) > 1 else len(text) // 2
            return self.foreign(text[:cut]) + self.foreign(text[cut:])
        return ids

    def _dead_ids(self, text: str) -> list[int]:
        if self.dead is not None:
            return list(self.dead.encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def decode(self, ids: Sequence[int]) -> str:
        if self.live is not None:
            return str(self.live.decode(list(ids), skip_special_tokens=False))
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _without_magic(spec: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer's JSON without what looks at more than the text given: prefix spaces, post-processing, padding and truncation."""

    def clean(part: Any) -> Any:
        if isinstance(part, list):
            return [clean(item) for item in part if not (isinstance(item, dict) and item.get("type") == "Prepend")]
        if not isinstance(part, dict):
            return part
        if part.get("type") == "Prepend":
            return None
        out = {key: clean(value) for key, value in part.items()}
        if out.get("type") == "Metaspace":
            out.update(prepend_scheme="never")
            out.pop("add_prefix_space", None)
        elif "add_prefix_space" in out:
            out["add_prefix_space"] = False
        return out

    front = {key: clean(spec.get(key)) for key in ("normalizer", "pre_tokenizer")}
    return {**spec, **front, "post_processor": None, "truncation": None, "padding": None}


def _plain(tokenizer: Any) -> Pieces:
    """The format of a tokenizer without a template: lines of plain text, each turn one line."""
    bos = tokenizer.bos_token or ""
    return Pieces(
        head=f"{bos}User: ",
        system=(f"{bos}System: ", "\nUser: "),
        generate="\nAssistant:",
        lead=" ",
        end="\n",
        after="User: ",
    )


def _render(tokenizer: Any, *messages: tuple[str, str], generate: bool = False) -> str | None:
    """The template's text of a chat, or None where it refuses."""
    chat = [{"role": role, "content": content} for role, content in messages]
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generate))
    except Exception:  # templates refuse by whatever Jinja raises
        return None


def _between(text: str | None, *marks: str) -> list[str] | None:
    """The pieces of `text` around the marks, each of which must appear once and in this order."""
    if text is None or any(text.count(mark) != 1 for mark in marks):
        return None
    pieces = []
    for mark in marks:
        if mark not in text:
            return None
        before, text = text.split(mark, 1)
        pieces.append(before)
    return [*pieces, text]


def _probe(tokenizer: Any, codec: _Codec) -> Pieces:
    """Reads the pieces off the chat template. Raises ValueError where they cannot be told apart."""
    user, reply, more = ("user", _USER), ("assistant", _REPLY), ("user", _NEXT)
    system = ("system", _SYSTEM)
    first = _between(_render(tokenizer, user, generate=True), _USER)
    with_system = _between(_render(tokenizer, system, user, generate=True), _SYSTEM, _USER)
    talk = _between(_render(tokenizer, user, reply, more, generate=True), _USER, _REPLY, _NEXT)
    if talk is None:
        text = _render(tokenizer, system, user, reply, more, generate=True)
        talk = (_between(text, _SYSTEM, _USER, _REPLY, _NEXT) or [])[1:] or None
    if talk is None or (first is None and with_system is None):
        raise ValueError(
            "cannot probe the tokenizer's chat template: it does not render user and assistant messages "
            "with their contents as they are. Repair the template, or remove it to use the plain format."
        )
    head = first[0] if first else with_system[0] if with_system else ""
    _, answer, turn, generate = talk
    before, end, after = _split_end(turn, tokenizer, codec)
    if first is not None:
        generate = first[1]
    # A reply's leading white space is what history has in front of it beyond the generation prompt, or a
    # space that ends the prompt itself.
    lead = answer[len(generate) :] if answer.startswith(generate) and not answer[len(generate) :].strip() else ""
    if generate.endswith(" ") and not lead:
        generate, lead = generate[:-1], " "
    if end is None:
        after = before
    return Pieces(
        head=head,
        system=(with_system[0], with_system[1]) if with_system else None,
        generate=generate,
        lead=lead,
        end=end,
        after=after,
    )


def _split_end(text: str, tokenizer: Any, codec: _Codec) -> tuple[str, str | None, str]:
    """Splits what follows a reply at its end token, the first added token: (before, end, after); (text, None, "") where there is none."""
    known = {*codec.added.values(), *([tokenizer.eos_token] if tokenizer.eos_token else [])}
    found = sorted((text.find(token), -len(token), token) for token in known if token in text)
    if not found:
        return text, None, ""
    at, _, token = found[0]
    if text[:at].strip():
        # The template closes a turn in words first; the words cannot be sampled as one token, so eos ends the
        # reply.
        return text, None, ""
    return text[:at], token, text[at + len(token) :]


def _thinking(tokenizer: Any, pieces: Pieces) -> tuple[bool, bool]:
    """Whether the format has think tags, and whether the generation prompt leaves one open."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    added = {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
    opened = pieces.generate.rfind(_THINK_OPEN) > pieces.generate.rfind(_THINK_CLOSE)
    return opened or _THINK_CLOSE in template or _THINK_CLOSE in added, opened
