"""What a chat template puts around contents, read off it once: the pieces between sentinel texts, and how it keeps thoughts
apart from what is said aloud."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from . import templates
from .text_codec import Codec, shared_length

_SYSTEM, _USER, _REPLY, _NEXT, _THOUGHT = "QZSYSTEMQZ", "QZUSERQZ", "QZREPLYQZ", "QZNEXTQZ", "QZTHOUGHTQZ"


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
        return without_marker(self.opens, private).strip(), public.strip()


@lru_cache(maxsize=64)
def _loose(marker: str) -> re.Pattern[str]:
    """An expression that finds a marker with any white space before and inside it, as tokenizers add spaces
    after control tokens."""
    return re.compile(r"\s*" + r"\s*".join(map(re.escape, _WORDS.findall(marker))))


def without_marker(marker: str, text: str) -> str:
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


def split_thinking(text: str) -> tuple[str, str]:
    """(private, public) parts of a reply of which only the text is known, with any of the usual tags."""
    known = next((kind for kind in (*TAGS, CHANNELS) if kind.opens in text or kind.answers in text), TAGS[0])
    return known.split(text)


def plain_pieces(tokenizer: Any) -> Pieces:
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


def probe(tokenizer: Any, codec: Codec, stops: frozenset[int], day: datetime.date) -> Pieces:
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


def _of_each_message(token: str, tokenizer: Any, codec: Codec, thinking: Thinking, lead: str, generate: str) -> bool:
    """Whether a token ends every message in a format whose answers have a header of their own, and so ends
    thoughts, which its template never shows, too: replies then end with eos."""
    headed = thinking.needed and thinking.answers == lead.strip() and thinking.opens in codec.texts(lead)
    return headed and token in generate and tokenizer.eos_token in codec.control and tokenizer.eos_token != token


def _end(text: str, codec: Codec, tokenizer: Any) -> tuple[str | None, str]:
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


def _thinking(tokenizer: Any, seen: _Rendered, codec: Codec, generate: str, answers: Sequence[str]) -> tuple[str, Thinking | None]:
    """The lead of an answer without a thought, and how thoughts are separated.

    answers: the text between a question and its answer, in the last turn and in an earlier one.
    """
    lead = next((answer[len(generate) :] for answer in answers if answer.startswith(generate)), None)
    shown = seen.around("thought", _USER, _THOUGHT, _REPLY)
    if shown:
        opening, close = shown[1], shown[2]
        more = generate.removeprefix(opening.rstrip())
        opened = bool(close.strip()) and more != generate and close.strip() not in more
        shared = min(shared_length(opening, text) for text in (answers if opened else (generate,)))
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
    answer = marks[len(marks) - shared_length(lead.strip()[::-1], marks[::-1]) :].strip()
    if not answer or (answer != marks and not answer.startswith(("<", "["))):
        answer = lead.strip()
    between = marks.removesuffix(answer).strip()
    needed = opened or not opens or not lead.lstrip().startswith(opens)
    opens = opens or next(iter(codec.texts(lead)), "")
    return lead, Thinking(opens, answer, between, needed, next(iter(codec.texts(between)), None))
