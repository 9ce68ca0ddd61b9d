"""A server's key, and how its parts are removed from everything that is shown or stored."""

import base64
import html
import json
import os
import string
from functools import cached_property
from urllib.parse import quote

RUN = 8
"""Consecutive characters of a key that are never shown; shorter keys are hidden as a whole."""
HIDDEN = "(key)"

_PLACEHOLDERS = frozenset({"sk-no-key-required", "no-key-required"})
"""Placeholder keys of llama.cpp and others, which are no secrets."""
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Secret:
    """The key in an environment variable; falsy if it is unset. Raises ValueError for a key that cannot be
    sent."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self.key = os.environ.get(variable, "").strip()
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise ValueError(f"{variable} holds characters that no key can have (spaces, line breaks or letters beyond ASCII)")

    def __bool__(self) -> bool:
        return bool(self.key)

    def __repr__(self) -> str:
        return f"Secret({self.variable!r})"

    def redacted(self, text: str) -> str:
        """The text with every part of the key of RUN characters or more hidden: in any letter case, reversed,
        quoted as in a URL, in JSON or in HTML, in base64 or in hexadecimal digits."""
        size = min(RUN, len(self.key))
        folded = text.translate(_LOWER)
        pieces: list[str] = []
        end = 0
        for at in range(len(folded) - size + 1) if self._runs else ():
            if folded[at : at + size] in self._runs:
                if at > end or end == 0:
                    pieces += [text[end:at], HIDDEN]
                end = at + size
        return "".join(pieces) + text[end:]

    @cached_property
    def _runs(self) -> frozenset[str]:
        """All hidden parts of the key, in lower case."""
        if self.key in _PLACEHOLDERS:
            return frozenset()
        key = self.key.translate(_LOWER)
        size = min(RUN, len(key))
        forms = {
            form
            for one in (key, key[::-1])
            for form in (one, quote(one, safe="").translate(_LOWER), json.dumps(one)[1:-1], html.escape(one))
        }
        both = forms | {form[::-1] for form in forms}
        if size == RUN:
            # Base64 depends on where in a group of three bytes the key begins; its last characters also on
            # what follows.
            groups = [base64.b64encode(self.key[at:].encode())[:-4].decode() for at in range(3)]
            both |= {self.key.encode().hex(), *(group.translate(_LOWER) for group in groups)}
        return frozenset(form[at : at + size] for form in both for at in range(len(form) - size + 1) if size)
