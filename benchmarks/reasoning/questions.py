"""Questions with options, and how a model is asked them: plainly or through its chat template, as lm-eval
does both.

An option is tokenised as lm-eval tokenises it: context and option as one text, of which the ids beyond those
of the context alone are the option's; white space that ends the context goes to the option. Under a chat
template the line break of the assistant's header is thus scored with every option. Unlike lm-eval, texts of
questions never become control tokens.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sparring.agents.models.language_model import LanguageModel

from .scorer import Continuation


@dataclass(frozen=True)
class Question:
    """One multiple-choice question. context: the whole prompt, earlier examples included. options: what
    may follow it, at least two. right: index of the right option. cluster: what questions have in common
    that are not independent (a document, a word)."""

    task: str
    context: str
    options: tuple[str, ...]
    right: int
    cluster: str = ""

    def __post_init__(self) -> None:
        if len(self.options) < 2 or not 0 <= self.right < len(self.options) or not all(self.options) or not self.context.strip():
            raise ValueError(
                f"a question of {self.task} needs a text, at least two options that are not empty, and a right one among them; "
                f"got {len(self.options)} options and {self.right}"
            )


def continuations(model: LanguageModel, questions: Iterable[Question], *, chat: bool) -> list[list[Continuation]]:
    """By question and option the ids that are scored. chat: the question is a user's message in the
    model's chat template, and the option follows the header of the answer; else a space is between them."""
    encode = _Encoder(model.tokenizer)
    return [encode.options(question, chat=chat) for question in questions]


class _Encoder:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        first = tokenizer.eos_token if tokenizer.bos_token is None else tokenizer.bos_token
        self._first = first or ""
        texts = {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
        control = sorted((text for text in texts if len(text.strip()) > 1), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, control)) or "(?!)")

    def options(self, question: Question, *, chat: bool) -> list[Continuation]:
        context, delimiter = self._inert(question.context), " "
        if chat:
            messages = [{"role": "user", "content": context}]
            context = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            delimiter = ""
        return [self._pair(context, delimiter + self._inert(option)) for option in question.options]

    def _pair(self, context: str, option: str) -> Continuation:
        bare = context.rstrip()
        known = self._ids(bare)
        whole = self._ids(context + option)
        return Continuation(tuple(known), tuple(whole[len(known) :]))

    def _ids(self, text: str) -> list[int]:
        """As lm-eval: with the tokens that the tokenizer puts before a text by itself, unless they are there."""
        options = {"add_special_tokens": False} if self._first and text.startswith(self._first) else {}
        return list(self.tokenizer.encode(text, **options))

    def _inert(self, text: str) -> str:
        """A text in which a space breaks every control token."""
        while self._control.search(text):
            text = self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        return text
