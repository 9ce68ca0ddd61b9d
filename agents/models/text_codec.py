"""Text to token ids and back, through one tokenizer, such that text of others can never act as a control token."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

Part = tuple[str, bool]
"""A text, and True if it comes from outside (a message content)."""


class Codec:
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
        at = shared_length(text, other)
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


def shared_length(one: str, other: str) -> int:
    """Length of the longest common prefix of two texts."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
