"""A chat model behind an OpenAI-compatible HTTP server as a backend: messages in, text out.

There are no token ids, so its games cannot be trained on.
"""

import logging
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sparring.envs.core import encodable
from sparring.envs.views import Message

from ..core import MOST_TOKENS, Finish, Reply, Request, Sampling, Segment
from ..models.template_pieces import split_thinking
from .http_client import Failed, HTTPClient, Limits, Refused

KEY = "OPENAI_API_KEY"
"""The environment variable with the server's key; local servers need none."""

_THIS_ONE = frozenset({400, 413, 422})
"""Statuses that concern one request's content if the server has answered other requests."""
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_WORDS_TOO_LONG = "maximum context length"
"""Error code, or text in the message, of a chat that is longer than the context."""
_FINISH: dict[str, Finish] = {"length": "length", "content_filter": "error"}
"""Finish reasons other than the model's own end."""

_log = logging.getLogger(__name__)


class OpenAIServer:
    """One model of one server.

    model: its name there. url: of the API, usually ending in /v1, which is appended to a url without a path.
    name: how episodes call it. client: replaces the HTTP client in tests. Raises ValueError for an unusable
    url or key; the server is not contacted yet.
    """

    weight_version: str | None = None

    def __init__(
        self, model: str, url: str, *, name: str | None = None, limits: Limits | None = None, client: HTTPClient | None = None
    ) -> None:
        self.model = model
        self.name = name or f"openai:{model}@{url}"
        self.client = client or HTTPClient(with_v1(url), key_variable=KEY, limits=limits)
        self._chats: dict[str, list[Message]] = {}
        self._asked: dict[str, Request] = {}
        self._answered = False
        self._told: set[int] = set()

    @property
    def ready(self) -> bool:
        """Whether `poll` would return without waiting."""
        return self.client.ready

    def submit(self, request: Request) -> None:
        chat = self._chats.setdefault(request.stream, [])
        chat.extend(request.messages)
        self._asked[request.stream] = request
        self.client.submit(request.stream, "/chat/completions", self._body(request.sampling, request.seed, chat), read_reply)

    def poll(self) -> list[tuple[Request, Reply]]:
        """Replies that have arrived; one that the server failed or declined to give finishes by "error".

        Raises ValueError where the server rejects requests as wrong (unknown model, no access),
        ConnectionError where it was never reached.
        """
        replies = []
        for stream, outcome in self.client.wait():
            reply = self._reply(outcome, self._chats[stream])
            self._chats[stream].append(Message("assistant", reply.text))
            replies.append((self._asked.pop(stream), reply))
        return replies

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Forgets a chat and drops its request in flight. There are never segments."""
        self.client.cancel(stream)
        self._chats.pop(stream, None)
        self._asked.pop(stream, None)
        return ()

    def _reply(self, outcome: Reply | Failed | Refused, chat: list[Message]) -> Reply:
        """The reply of a finished request. A chat that is longer than the context gets an empty reply that
        ends by length, as with any model."""
        if isinstance(outcome, Reply):
            self._answered = True
            return replace(outcome, text=self.client.kept(outcome.text), private=self.client.kept(outcome.private))
        if isinstance(outcome, Refused):
            if outcome.status not in _THIS_ONE or not self._answered:
                raise outcome
            grown = any(message.role == "assistant" for message in chat)
            if grown and (outcome.code in _TOO_LONG or _WORDS_TOO_LONG in str(outcome)):
                return Reply("", finish="length")
            if outcome.status not in self._told:
                # Of every status once: servers quote a number of each request.
                self._told.add(outcome.status)
                _log.warning("%s", outcome)
        return Reply("", finish="error")

    def _body(self, sampling: Sampling, seed: int, chat: list[Message]) -> dict[str, Any]:
        """The request body. temperature and top_p are always sent, as servers' defaults differ."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": encodable(message.content)} for message in chat],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            _length_field(self.client.url): sampling.max_new_tokens,
            "seed": seed % 2**31,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        # Beyond OpenAI's own API, but known to vLLM, SGLang and llama.cpp.
        beyond = {"top_k": sampling.top_k, "min_p": sampling.min_p, "min_tokens": sampling.min_new_tokens}
        return body | {name: value for name, value in beyond.items() if value}


def _length_field(url: str) -> str:
    """The name of the length field: OpenAI's newer models accept only one name, many other servers only the
    other."""
    host = urlsplit(url).hostname or ""
    return "max_completion_tokens" if host.endswith(("openai.com", "openai.azure.com")) else "max_tokens"


def read_reply(data: Any) -> Reply:
    """The reply in a chat completion; a filtered one finishes by "error". Raises ValueError for an invalid or
    interrupted completion."""
    try:
        choice = data["choices"][0]
        message, reason = choice["message"], choice["finish_reason"]
        content, thoughts = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    except (LookupError, TypeError, AttributeError):
        raise ValueError("no chat completion") from None
    if not isinstance(reason, str) or reason in ("abort", "error"):
        raise ValueError(f"a reply that ended by {reason!r}"[:100])
    if not isinstance(content, (str, type(None))) or not isinstance(thoughts, (str, type(None))):
        raise ValueError("content that is no text")
    finish = _FINISH.get(reason, "stop")
    private, public = split_thinking(encodable(content or ""))
    private = "\n".join(part for part in (encodable(thoughts or "").strip(), private) if part)
    usage = data.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(tokens, int) or tokens < 0:
        tokens = 0
    if tokens > MOST_TOKENS:
        raise ValueError(f"a count of more than {MOST_TOKENS:,} tokens")
    return Reply(public, private, finish, int(tokens))


def with_v1(url: str) -> str:
    """The url with /v1 appended if it has no path."""
    return f"{url.rstrip('/')}/v1" if url.rstrip("/").count("/") == 2 else url
