"""A model behind a vLLM server as a backend: token ids in, ids and log-probabilities out, so its games can be
trained on.

Uses `POST /v1/completions` with ids as the prompt. The server caches a stream in its prefix cache, so each
request carries the whole stream. Weights are updated through vLLM's development endpoints. Observations with
a real server: docs/servers.md.
"""

import datetime
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core import Finish, Reply, Request, Sampling, Segment
from ..models.chat_format import ChatFormat
from ..models.loading import load_tokenizer
from ..models.token_streams import TokenStreams
from .http_client import Failed, HTTPClient, Limits, Refused
from .vllm_weights import HEAD, has_head

KEY = "VLLM_API_KEY"
"""The environment variable with the server's key, vLLM's own name; needed only where the server was started
with a key."""


LEAST_LOGPROB = -1e4
"""Lower bound for log-probabilities of sampled tokens; vLLM writes -9999 for impossible tokens."""


@dataclass(frozen=True)
class Completion:
    """A sampled reply. ids: including the end token, if any. logprobs: the sampler's, one per id."""

    ids: list[int]
    logprobs: list[float]
    finish: Finish


@dataclass(frozen=True)
class Served:
    """What a server offers. model: its name there. max_length: longest stream in tokens."""

    model: str
    max_length: int


class VLLMServer:
    """One model of one vLLM server, with its tokenizer here.

    source: the model's folder or hub id, from which tokenizer and end tokens are read; it also selects among
    several models of one server. weight_version: of the server's weights until the next update. client:
    replaces the HTTP client in tests. day: see ChatFormat. Raises ValueError for an unusable url, key or
    folder; the server is first contacted when it is first needed.
    """

    def __init__(
        self,
        source: str | Path,
        url: str,
        *,
        name: str | None = None,
        weight_version: str = "0",
        limits: Limits | None = None,
        client: HTTPClient | None = None,
        day: datetime.date | None = None,
    ) -> None:
        self.source = str(source)
        self.name = name or f"vllm:{source}@{url}"
        self.weight_version = weight_version
        self.client = client or HTTPClient(url.rstrip("/").removesuffix("/v1"), key_variable=KEY, limits=limits)
        self.format = ChatFormat(load_tokenizer(self.source), extra_end_ids=_end_ids(Path(self.source)), day=day)
        self.streams = TokenStreams(self.format, self.name)
        self._vocabulary = _vocabulary(Path(self.source)) or len(self.format.tokenizer)
        self._asked: dict[str, Request] = {}
        self._ready: list[tuple[Request, Reply]] = []
        self._torn = False
        self._processed = False

    @cached_property
    def served(self) -> Served:
        """The model as the server describes it. Raises ValueError where the server does not offer it, Failed
        or ConnectionError where it does not answer."""
        listed = self.client.request("GET", "/v1/models")
        try:
            return _choose(listed, self.source)
        except ValueError as error:
            raise ValueError(f"{self.client.url} {self.client.quoted(str(error))}") from None

    @property
    def ready(self) -> bool:
        """Whether `poll` would return without waiting."""
        return bool(self._ready) or self.client.ready

    def submit(self, request: Request) -> None:
        """Raises NoRoomError where the first prompt leaves no room for a reply, and as `served` and
        `_check_logprobs` do."""
        if self._torn:
            raise RuntimeError(f"{self.name}: an update of its weights failed halfway; update them again")
        self.streams.extend(request, version=self.weight_version, room=self.served.max_length)
        prompt = self.streams.ids(request.stream)
        limit = min(request.sampling.max_new_tokens, self.served.max_length - len(prompt))
        if limit <= 0:
            self._ready.append((request, self.streams.reply(request, [], [], "length", ended=False)))
            return
        plain = request.sampling.exact and request.sampling.temperature == 1 and request.sampling.min_new_tokens == 0
        if request.trainable and not plain:
            self._check_logprobs(prompt)
        self._asked[request.stream] = request
        body = self._body(request.sampling, request.seed, prompt, limit)
        self.client.submit(request.stream, "/v1/completions", body, lambda data: self._within(read_completion(data, prompt), limit))

    def poll(self) -> list[tuple[Request, Reply]]:
        """Replies that have arrived; one that the server failed to give finishes by "error".

        Raises ValueError where the server rejects a request as wrong, ConnectionError where it was never
        reached.
        """
        replies, self._ready = self._ready, []
        for stream, outcome in self.client.wait() if not replies else ():
            if isinstance(outcome, Refused):
                raise outcome
            request = self._asked.pop(stream)
            replies.append((request, self._reply(request, outcome)))
        return replies

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Forgets a stream and returns its segments; an unfinished reply is dropped."""
        self.client.cancel(stream)
        self._asked.pop(stream, None)
        self._ready = [(request, reply) for request, reply in self._ready if request.stream != stream]
        return self.streams.close(stream)

    def load_weights(self, folder: str | Path, version: str) -> None:
        """Makes the server load its weights from a model folder that both see under this path. version: of
        the new weights.

        Raises ValueError for a folder without its head, as the server might keep its old one.
        """
        if not has_head(folder):
            raise ValueError(
                f"{folder} ties its head to its embeddings and holds no {HEAD}; a vLLM server may keep its old head then. "
                "Write it with sparring.agents.servers.vllm_weights.store_head(folder), in a copy where the folder must stay as it is"
            )
        with self._updating(version):
            self._control("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})

    def open_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Sets up vLLM's weight transfer once, before the first `transfer_weights`. init_info: as its
        transfer backend requires."""
        self._control("/init_weight_transfer_engine", {"init_info": dict(init_info)})

    def transfer_weights(self, updates: Iterable[Mapping[str, Any]], version: str) -> None:
        """Makes the server receive weights in one or several parts. updates: per part, as its transfer
        backend requires.

        Each call returns when the server has received the part: a backend that broadcasts (NCCL) needs the
        sender in another thread. A tied head must be sent under its own name too: see vllm_weights.
        """
        with self._updating(version):
            self._control("/start_weight_update")
            for update in updates:
                self._control("/update_weights", {"update_info": dict(update)})
            self._control("/finish_weight_update", {"weight_version": version})

    def _control(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request to a development endpoint."""
        try:
            return self.client.request("POST", path, body)
        except Refused as refused:
            if refused.status != 404:
                raise
            raise ValueError(f"{self.name}: the server has no {path.partition('?')[0]}; start it with VLLM_SERVER_DEV_MODE=1") from None

    @contextmanager
    def _updating(self, version: str) -> Iterator[None]:
        """Context of an update: the server is paused, and its prefix cache is emptied afterwards. After a
        failed update no further game is played."""
        if self._asked:
            raise RuntimeError(f"{self.name}: weights cannot change while {len(self._asked)} replies are in the making")
        self._control("/pause?mode=wait")
        self._torn = True
        try:
            yield
            answer = self._control("/reset_prefix_cache")
            if isinstance(answer, dict) and answer.get("success") is False:
                raise RuntimeError(f"{self.name}: the server did not empty its prefix cache")
        finally:
            self._control("/resume")
        self._torn = False
        self.weight_version = version

    def _check_logprobs(self, prompt: list[int]) -> None:
        """Checks once, with the first prompt that allows it, that log-probabilities are those of the
        distribution that was sampled from.

        At temperature 0.01 nearly all probability is on the likeliest token, so its log-probability is near
        0, whatever it is at temperature 2, vLLM's maximum. A prompt with a nearly certain next token at both
        temperatures shows nothing. Raises ValueError where the check fails.
        """
        if self._processed:
            return
        hot = self._likeliest(prompt, 2.0)
        if hot > math.log(0.9):
            return
        if abs(hot - self._likeliest(prompt, 0.01)) < 0.05:
            raise ValueError(
                f"{self.name}: the server gives log-probabilities at temperature 1 whatever it samples at, so these games cannot be "
                "trained on; start it with --logprobs-mode processed_logprobs, or play through openai:MODEL@URL"
            )
        self._processed = True

    def _likeliest(self, prompt: list[int], temperature: float) -> float:
        """The server's log-probability of the likeliest next token."""
        asked = {"logprobs": 1, "return_tokens_as_token_ids": True}  # by text, two tokens of half a character would be one
        body = {**self._body(Sampling(temperature), 0, prompt, 1), **asked}
        return read_likeliest(self.client.request("POST", "/v1/completions", body))

    def _reply(self, request: Request, outcome: Completion | Failed) -> Reply:
        if isinstance(outcome, Failed):
            return Reply("", finish="error")
        if self.client.kept(text := self.format.decode(outcome.ids)) != text:
            return Reply("", finish="error")  # it says the key, and ids that are kept cannot do without
        ended = bool(outcome.ids) and outcome.ids[-1] in self.format.end_ids
        return self.streams.reply(request, outcome.ids, outcome.logprobs, outcome.finish, ended=ended)

    def _within(self, completion: Completion, limit: int) -> Completion:
        """The completion. Raises ValueError for more ids than requested and for ids outside the
        vocabulary."""
        if len(completion.ids) > limit:
            raise ValueError(f"{len(completion.ids)} token ids where at most {limit} were asked for")
        if max(completion.ids, default=0) >= self._vocabulary:
            raise ValueError(f"a token id beyond the vocabulary of {self._vocabulary}")
        return completion

    def _body(self, sampling: Sampling, seed: int, prompt: list[int], limit: int) -> dict[str, Any]:
        """The request body. Every setting that shapes the distribution is sent, as vLLM takes missing ones
        from the model's own settings."""
        return {
            "model": self.served.model,
            "prompt": prompt,
            "max_tokens": limit,
            "min_tokens": min(sampling.min_new_tokens, limit),
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": seed,
            "stop": list(sampling.stop),
            "stop_token_ids": sorted(self.format.end_ids),
            "skip_special_tokens": False,
            "logprobs": 0,  # of the sampled tokens, and no others
            "return_token_ids": True,
        }


def read_completion(data: Any, prompt: list[int]) -> Completion:
    """The ids in a completion. Raises ValueError for an invalid one; Refused where the server cannot return
    ids or has changed the prompt."""
    try:
        choice = data["choices"][0]
        ids, logprobs, reason = choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"]
        seen = choice.get("prompt_token_ids")
    except (LookupError, TypeError, AttributeError):
        raise ValueError("no completion with token ids and log-probabilities") from None
    if reason not in ("stop", "length"):
        raise ValueError(f"a reply that ended by {reason!r}"[:100])
    if not _are(int, ids) or not _are((int, float), logprobs) or len(ids) != len(logprobs) or min(ids, default=0) < 0:
        raise ValueError("token ids and log-probabilities that do not fit each other")
    if not all(LEAST_LOGPROB <= logprob < 1e-3 for logprob in logprobs):
        raise ValueError("log-probabilities that are none")
    if seen is not None and seen != prompt:
        raise Refused("the server changed the prompt's token ids, so its log-probabilities belong to another text")
    return Completion(ids, [float(logprob) for logprob in logprobs], reason)


def read_likeliest(data: Any) -> float:
    """The log-probability of the likeliest first token in a completion that requested one. Raises ValueError
    if it is missing."""
    try:
        likeliest = max(data["choices"][0]["logprobs"]["top_logprobs"][0].values())
        if not LEAST_LOGPROB <= likeliest < 1e-3:
            raise ValueError
        return float(likeliest)
    except (LookupError, TypeError, AttributeError, ValueError):
        raise ValueError("the server's completions hold no log-probabilities as vLLM gives them (logprobs.top_logprobs)") from None


def _are(kind: type | tuple[type, ...], values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _choose(data: Any, source: str) -> Served:
    """The model of a list that is meant: the only one, or the one whose name or root is `source`."""
    try:
        entries = [(str(one["id"]), str(one.get("root")), one["max_model_len"]) for one in data["data"]]
    except (LookupError, TypeError, AttributeError):
        raise ValueError("does not list its models as vLLM does (/v1/models); for other servers use openai:MODEL@URL") from None
    meant = entries if len(entries) == 1 else [entry for entry in entries if source in entry[:2]]
    if len(meant) != 1 or not _are(int, [meant[0][2]]):
        raise ValueError(f"serves {', '.join(repr(entry[0]) for entry in entries) or 'nothing'}, none of which is {source!r}"[:300])
    return Served(meant[0][0], meant[0][2])


def _vocabulary(folder: Path) -> int | None:
    """The number of token ids of a folder's model, including padding of its embedding; None if its
    configuration does not say."""
    if not (folder / "config.json").is_file():
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return size if isinstance(size, int) else None


def _end_ids(folder: Path) -> tuple[int, ...]:
    """End tokens in a model folder's generation settings, or else in its configuration."""
    for file in ("generation_config.json", "config.json"):
        if (folder / file).is_file():
            ends = json.loads((folder / file).read_text(encoding="utf-8")).get("eos_token_id")
            if ends is not None:
                return tuple(ends) if isinstance(ends, list) else (int(ends),)
    return ()
