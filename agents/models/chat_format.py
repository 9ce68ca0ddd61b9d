"""Chat formats: from messages to token ids and back. Sampled tokens are never tokenised again.

The tokenizer's chat template is probed once, at load, with marker texts; streams are then built from the
pieces that were found. Text from outside (every message content) is tokenised so that it can never act as a
control token.
"""

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from sparring.envs.core import encodable
from sparring.envs.views import Message

from . import templates

_SYSTEM, _USER, _REPLY, _NEXT, _THOUGHT = "QZSYSTEMQZ", "QZUSERQZ", "QZREPLYQZ", "QZNEXTQZ", "QZTHOUGHTQZ"

Part = tuple[str, bool]
"""A text, and True if it comes from outside (a message content)."""


@dataclass(frozen=True)
class Thinking:
    """How a format separates thoughts from the answer.

    opens: the text that begins a thought. answers: the text after whose last occurrence the answer begins.
    between: the text between a thought and `answers`. needed: a reply that does not begin with an answer's
    lead begins with a thought, because the prompt has opened one or because answers have a header of their
    own (channels). ends: the text that ends an answer where the reply continues after it.
    """

    opens: str
    answers: str
    between: str = ""
    needed: bool = False
    ends: str | None = None

    def split(self, text: str) -> tuple[str, str]:
        """(private, public) parts of a reply. Nothing after a thought that is never closed is public."""
        marks = list(_loose(self.answers).finditer(text))
        mark = marks[-1] if marks else None
        private, public = (text[: mark.start()], text[mark.end() :]) if mark else ("", text)
        opening = _loose(self.opens).search(public) if self.opens else None
        if opening:
            public, later = public[: opening.start()], public[opening.end() :]
            private = private if mark else later
        if self.ends:
            public = public.partition(self.ends)[0]
        if self.between:
            private = re.sub(f"{_loose(self.between).pattern}\\s*$", "", private)
        return _past(self.opens, private).strip(), public.strip()


@lru_cache(maxsize=64)
def _loose(marker: str) -> re.Pattern[str]:
    """An expression that finds a marker with any white space before and inside it, as tokenizers add spaces
    after control tokens."""
    return re.compile(r"\s*" + r"\s*".join(map(re.escape, _WORDS.findall(marker))))


def _past(marker: str, text: str) -> str:
    """The text without the marker, if it begins with it."""
    match = _loose(marker).match(text) if marker.strip() else None
    return text[match.end() :].lstrip() if match else text.removeprefix(marker)


_WORDS = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|[^<>\[\]\s]+|\S")
"""A tag, a run of other characters, or one character."""


TAGS = (
    Thinking("<think>", "</think>"),
    Thinking("[THINK]", "[/THINK]"),
    Thinking("<seed:think>", "</seed:think>"),
    Thinking("<|START_THINKING|>", "<|END_THINKING|>"),
    Thinking("<mm:think>", "</mm:think>"),
    Thinking("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    Thinking("<thinking>", "</thinking>"),
)
"""Tags that templates do not always show, the usual ones first."""
CHANNELS = Thinking("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|><|start|>assistant", ends="<|end|>")


@dataclass(frozen=True)
class Pieces:
    """The template's own text around the contents.

    head: before the first user content of a chat without a system message. system: before and after the
    system content, or None where the template has no system role (the system message is then put in front of
    the first user message). generate: after the last user content, up to the start of the reply. lead: the
    beginning of an answer without a thought: white space, an empty thought, the rest of a thought that
    `generate` opened, or the header of a channel. end: the text of a reply's end token, or None where it is
    eos without a position in the template. after: between the end token and the next user content. trimmed:
    roles and sides ("left", "right") on which contents lose white space. thinking: None for formats without
    thoughts.
    """

    head: str
    system: tuple[str, str] | None
    generate: str
    lead: str
    end: str | None
    after: str
    trimmed: frozenset[tuple[str, str]] = frozenset()
    thinking: Thinking | None = None


class ChatFormat:
    """How one tokenizer turns chats into ids.

    end_ids: every id that ends a reply. end_id: the id that is appended to a truncated reply. day: today's
    date for the template, by default the day on which the format is made. Raises ValueError for a template
    that cannot be probed, or exceeds the bounds.
    """

    def __init__(self, tokenizer: Any, *, extra_end_ids: Iterable[int] = (), day: datetime.date | None = None) -> None:
        self.tokenizer = tokenizer
        self.day = day or datetime.date.today()
        self._codec = _Codec(tokenizer)
        self.templated = bool(getattr(tokenizer, "chat_template", None))
        eos = tokenizer.eos_token_id
        stops = [*extra_end_ids, *(eos if isinstance(eos, (list, tuple)) else () if eos is None else (int(eos),))]
        self.pieces = _probe(tokenizer, self._codec, frozenset(stops), self.day) if self.templated else _plain(tokenizer)
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
        answer = _past(self.pieces.lead, text)
        if answer != text or thinking is None or not thinking.needed or _past(thinking.opens, text) != text:
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


def split_thinking(text: str) -> tuple[str, str]:
    """(private, public) parts of a reply of which only the text is known, with any of the usual tags."""
    known = next((kind for kind in (*TAGS, CHANNELS) if kind.opens in text or kind.answers in text), TAGS[0])
    return known.split(text)


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


class _Codec:
    """One tokenizer's conversions: template and outside text to ids, and back. control: the added tokens that
    have a meaning."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        added = {int(i): token for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if i != unknown}
        self._texts = {i: str(token) for i, token in added.items() if str(token).strip(" \n\t\r\u2581")}
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._live: Any = None
        self._drops = False
        if backend is not None:
            from tokenizers import Tokenizer

            def build(spec: dict[str, Any]) -> Any:
                return Tokenizer.from_str(json.dumps(spec))

            spec = {**json.loads(backend.to_str()), "post_processor": None, "truncation": None, "padding": None}
            blank = [token for token in spec.get("added_tokens") or () if token["id"] not in self._texts]
            bare = _without_magic(spec)
            self._live = build(spec)
            self._begin, self._bare = build({**spec, "added_tokens": blank}), build({**bare, "added_tokens": blank})
            self._reader, self._drops = _reader(build(bare), spec.get("decoder"))
        # A token that is normalised may not be found where the template has it: its own text is given a dummy
        # prefix, too.
        seen = {i: text for i, text in self._texts.items() if not getattr(added[i], "normalized", False) or i in self._whole(f"a{text}")}
        self.control = {text: i for i, text in seen.items()}
        self._pattern = re.compile("|".join(map(re.escape, sorted(self.control, key=len, reverse=True))) or "(?!)")
        self._wanted = lru_cache(maxsize=256)(self._controls)

    def texts(self, text: str) -> list[str]:
        """The control tokens in a template's text, in order, as texts."""
        return list(self._pattern.findall(text))

    def beyond(self, text: str, other: str) -> str:
        """The rest of a template's text from the first control token at which it differs from `other`; "" if
        there is none."""
        at = _shared(text, other)
        starts = [match.start() for match in self._pattern.finditer(text) if match.start() <= at < match.end()]
        return text[starts[0] :] if starts else ""

    def text_of(self, token: int) -> str:
        """A control token's text; "" for any other token."""
        return self._texts.get(token, "")

    def last_section(self, text: str) -> str:
        """A template's text from its last control token on."""
        return text[max((match.start() for match in self._pattern.finditer(text)), default=0) :]

    def holding(self, text: str) -> frozenset[int]:
        """Every token whose text contains `text`, a line break or another single character."""
        marks = {text, *self.tokenizer.convert_ids_to_tokens(self.template(text)), f"<0x{ord(text):02X}>"}
        likely = [i for token, i in self.tokenizer.get_vocab().items() if any(mark in token for mark in marks)]
        return frozenset(i for i in likely if i not in self._texts and text in self.decode([i]))

    def template(self, text: str) -> list[int]:
        """Ids of a template's text."""
        return self.encode(((text, False),), first=False)

    def encode(self, parts: Sequence[Part], *, first: bool) -> list[int]:
        """Ids of the parts as one text; control tokens are recognised in the template's parts only. first:
        nothing precedes it."""
        ids = self._whole("".join(part for part, _ in parts))
        wanted = self._wanted("".join("a" if foreign and part else part for part, foreign in parts))
        return ids if [i for i in ids if i in self._texts] == wanted else self.pieces(parts, first=first)

    def _controls(self, text: str) -> list[int]:
        return [i for i in self._whole(text) if i in self._texts]

    def pieces(self, parts: Sequence[Part], *, first: bool = False) -> list[int]:
        """Ids of the parts tokenised one by one; control tokens in outside text are split into plain
        tokens."""
        ids: list[int] = []
        for part, foreign in parts:
            starts = [] if foreign else [match.start() for match in self._pattern.finditer(part)]
            ids += self._inert(part[: min(starts, default=None)], first and not ids)
            ids += [i for start, end in pairwise([*starts, len(part)]) for i in self._whole(part[start:end])]
        return ids

    def _inert(self, text: str, first: bool = False) -> list[int]:
        """Ids of a text in which no control token is recognised."""
        if not text:
            return []
        ids = self._dead(text, first)
        # NOTE: a unigram model, or one that looks whole words up, can reach a control token through its
        # ordinary vocabulary. Such text is cut until it cannot.
        if len(text) > 1 and not self._texts.keys().isdisjoint(ids):
            hit = next(self._texts[i] for i in ids if i in self._texts)
            at = text.find(hit)
            cut = at + len(hit) // 2 if at >= 0 and len(hit) > 1 else len(text) // 2
            return self._inert(text[:cut], first) + self._inert(text[cut:])
        return ids

    def _whole(self, text: str) -> list[int]:
        if self._live is not None:
            return list(self._live.encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _dead(self, text: str, first: bool) -> list[int]:
        if self._live is not None:
            return list((self._begin if first else self._bare).encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def decode(self, ids: Sequence[int]) -> str:
        if self._live is not None:
            text = str(self._reader.decode(list(ids), skip_special_tokens=False))
            return text.removeprefix(" ") if self._drops else text
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _reader(tokenizer: Any, decoder: Any) -> tuple[Any, bool]:
    """(the tokenizer that decodes, True if a leading space is dropped). tokenizers' Metaspace decoder removes
    every space from the first token, also those between its words."""
    drops = isinstance(decoder, dict) and decoder.get("type") == "Metaspace" and decoder.get("prepend_scheme") != "never"
    if drops:
        from tokenizers import decoders

        tokenizer.decoder = decoders.Metaspace(replacement=decoder["replacement"], prepend_scheme="never")
    return tokenizer, drops


def _without_magic(spec: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer's JSON without anything that depends on more than the text: prefix spaces, post-processing,
    padding, truncation."""

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
    """The format of a tokenizer without a chat template: plain text, one line per turn."""
    bos = tokenizer.bos_token or ""
    return Pieces(
        head=f"{bos}User: ",
        system=(f"{bos}System: ", "\nUser: "),
        generate="\nAssistant:",
        lead=" ",
        end="\n",
        after="User: ",
    )


def _between(text: str | None, *marks: str) -> list[str] | None:
    """The parts of `text` between the marks, or None unless each mark appears exactly once and in this
    order."""
    if text is None or any(text.count(mark) != 1 for mark in marks):
        return None
    pieces = []
    for mark in marks:
        if mark not in text:
            return None
        before, text = text.split(mark, 1)
        pieces.append(before)
    return [*pieces, text]


class _Rendered:
    """A template's output for some short chats, with and without a system message. as_list: contents are
    lists of parts, as templates for images expect."""

    def __init__(self, tokenizer: Any, day: datetime.date, *, as_list: bool) -> None:
        def message(role: str, text: str, **fields: str) -> dict[str, Any]:
            return {"role": role, "content": [{"type": "text", "text": text}] if as_list else text, **fields}

        def padded(text: str) -> str:
            return f"\n {text} \n"

        user, reply, more = message("user", _USER), message("assistant", _REPLY), message("user", _NEXT)
        thoughtful = {**reply, "reasoning_content": _THOUGHT, "thinking": _THOUGHT, "reasoning": _THOUGHT}
        asks, silent = {"add_generation_prompt": True}, {"add_generation_prompt": False}
        thoughtless = {**asks, "enable_thinking": False, "thinking": False}
        chats = {
            "asked": ([user], asks),
            "answered": ([user, reply], silent),
            "talk": ([user, reply, more], asks),
            "thought": ([user, thoughtful], silent),
            "thoughtless": ([user], thoughtless),
            "padded": ([message("user", padded(_USER)), message("assistant", padded(_REPLY)), more], asks),
        }
        with_system = {name: ([message("system", _SYSTEM), *chat], options) for name, (chat, options) in chats.items()}
        with_system["padded"] = ([message("system", padded(_SYSTEM)), *chats["padded"][0]], asks)
        variables = dict(tokenizer.special_tokens_map)
        both = [*chats.values(), *with_system.values()]
        texts = templates.render(tokenizer.get_chat_template(), variables, day, both)
        self.without = dict(zip(chats, texts[: len(chats)], strict=True))
        self.system = dict(zip(chats, texts[len(chats) :], strict=True))

    def around(self, name: str, *marks: str) -> list[str] | None:
        """The parts of a rendered chat from its user message on, of the variant with a system message if
        there is one."""
        with_system = _between(self.system[name], _SYSTEM, *marks)
        return with_system[1:] if with_system else _between(self.without[name], *marks)


def _probe(tokenizer: Any, codec: _Codec, stops: frozenset[int], day: datetime.date) -> Pieces:
    """The pieces of a chat template. stops: ids that are known to end replies. Raises ValueError where the
    pieces cannot be told apart."""
    for as_list in (False, True):
        seen = _Rendered(tokenizer, day, as_list=as_list)
        first, talk = _between(seen.without["asked"], _USER), seen.around("talk", _USER, _REPLY, _NEXT)
        system = _between(seen.system["asked"], _SYSTEM, _USER)
        if talk and (first or system):
            break
    else:
        raise ValueError(
            "cannot probe the tokenizer's chat template: it does not render user and assistant messages with their contents as they "
            "are. Repair the template, remove it to use the plain format, or serve the model and play openai:MODEL@URL"
        )
    generate = (system or first or [""])[-1]
    answered = seen.around("answered", _USER, _REPLY)
    answers = [pieces[1] for pieces in (answered, talk) if pieces]
    lead, thinking = _thinking(tokenizer, seen, codec, generate, answers)
    last = answered[2] if answered else None
    token, after = _end(talk[2], codec, tokenizer)
    if token is not None and thinking and token in f"{lead}{thinking.between}{thinking.answers}":
        # It ends one message of several in a reply: the last one ends otherwise.
        token, _ = _end(last or "", codec, tokenizer)
        if token in codec.texts(f"{lead}{thinking.between}{thinking.answers}"):
            raise ValueError(
                f"the chat template ends a reply with what also stands inside of replies ({token!r}), so they cannot be told apart; "
                "serve the model and play openai:MODEL@URL"
            )
    elif token is not None and thinking and _of_each_message(token, tokenizer, codec, thinking, lead, generate):
        thinking = replace(thinking, ends=token)
        token = tokenizer.eos_token
    elif token is not None and last is not None and token not in last and codec.control.get(token) not in stops:
        # It begins the next message: the reply ends with eos, which the template leaves out.
        token, after = None, talk[2]
    return Pieces(
        head=(first or system or [""])[0],
        system=(system[0], system[1]) if system else None,
        generate=generate,
        lead=lead,
        end=token,
        after=after,
        trimmed=_trimmed(seen),
        thinking=thinking,
    )


def _of_each_message(token: str, tokenizer: Any, codec: _Codec, thinking: Thinking, lead: str, generate: str) -> bool:
    """Whether a token ends every message in a format whose answers have a header of their own, and so ends
    thoughts, which its template never shows, too: replies then end with eos."""
    headed = thinking.needed and thinking.answers == lead.strip() and thinking.opens in codec.texts(lead)
    return headed and token in generate and tokenizer.eos_token in codec.control and tokenizer.eos_token != token


def _end(text: str, codec: _Codec, tokenizer: Any) -> tuple[str | None, str]:
    """Splits the text after a reply at its end token, the first added token: (end, after); (None, text) if
    there is none."""
    known = {*codec.control, *([tokenizer.eos_token] if tokenizer.eos_token else [])}
    matches = sorted((text.find(token), -len(token), token) for token in known if token in text)
    # Where the template closes a turn in words first, they cannot be sampled as one token, so eos ends the
    # reply.
    if not matches or text[: matches[0][0]].strip():
        return None, text
    at, _, token = matches[0]
    return token, text[at + len(token) :]


def _trimmed(seen: _Rendered) -> frozenset[tuple[str, str]]:
    text = seen.system["padded"] or seen.without["padded"] or ""
    marks = [(role, mark) for role, mark in (("system", _SYSTEM), ("user", _USER), ("assistant", _REPLY)) if mark in text]
    left = {(role, "left") for role, mark in marks if f"\n {mark}" not in text}
    return frozenset(left | {(role, "right") for role, mark in marks if f"{mark} \n" not in text})


def _shared(one: str, other: str) -> int:
    """Length of the longest common prefix of two texts."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _left_open(generate: str) -> Thinking | None:
    """The tag of a thought that the prompt leaves open, and its closing tag, such as <reasoning> and
    </reasoning>."""
    tag = re.search(r"(<\|?|\[|\u25c1)([\w:]*(?:think|thought|reason|reflect)[\w:]*)(\|?>|\]|\u25b7)\s*$", generate, re.IGNORECASE)
    if tag is None:
        return None
    opens, name = tag.group().rstrip(), tag[2]
    for start, end in (("START", "END"), ("start", "end"), ("begin", "end")):
        if name.startswith(start):
            return Thinking(opens, opens.replace(start, end, 1))
    return Thinking(opens, f"{tag[1]}/{name}{tag[3]}")


def _thinking(tokenizer: Any, seen: _Rendered, codec: _Codec, generate: str, answers: Sequence[str]) -> tuple[str, Thinking | None]:
    """The lead of an answer without a thought, and how thoughts are separated.

    answers: the text between a question and its answer, in the last turn and in an earlier one.
    """
    lead = next((answer[len(generate) :] for answer in answers if answer.startswith(generate)), None)
    shown = seen.around("thought", _USER, _THOUGHT, _REPLY)
    if shown:
        opening, close = shown[1], shown[2]
        more = generate.removeprefix(opening.rstrip())
        opened = bool(close.strip()) and more != generate and close.strip() not in more
        shared = min(_shared(opening, text) for text in (answers if opened else (generate,)))
        opens = opening[shared:].strip()
        tag = re.search(r"(<[^<>]*>|\[[^\[\]]*\])\s*$", opening)
        if tag and tag.group(1).endswith(opens):
            opens = tag.group(1)
    else:
        places = tokenizer.get_chat_template(), codec.control
        known = _left_open(generate) or next((kind for text in places for kind in TAGS if kind.answers in text), None)
        opens, close = (known.opens, known.answers) if known else ("", "")
        opened = bool(opens) and generate.rstrip().endswith(opens)
        if opened and generate.endswith("\n"):
            close = f"\n{close}\n\n"
    if opened and not lead:
        without = seen.around("thoughtless", _USER)
        closed = without[1] if without else ""
        lead = closed[len(generate) :] if closed.startswith(generate) and closed.strip() != generate.strip() else close
    if lead is None and not opened:
        header = codec.beyond(answers[0], generate)
        lead = "" if generate.endswith(header.strip()) else header
    lead = lead or ""
    marks = close.strip()
    if not codec.texts(lead) and (not marks or marks not in lead):
        return lead, Thinking(opens, marks) if marks and opens else None
    if not shown and marks not in f"{tokenizer.get_chat_template()}{lead}":
        opens = marks = ""  # the tags are in the vocabulary alone: answers have another header
    # What an answer begins with in any case, a thought before it or none.
    answer = marks[len(marks) - _shared(lead.strip()[::-1], marks[::-1]) :].strip()
    if not answer or (answer != marks and not answer.startswith(("<", "["))):
        answer = lead.strip()
    between = marks.removesuffix(answer).strip()
    needed = opened or not opens or not lead.lstrip().startswith(opens)
    opens = opens or next(iter(codec.texts(lead)), "")
    return lead, Thinking(opens, answer, between, needed, next(iter(codec.texts(between)), None))
