"""JSON over HTTP with one server: many requests at once, each retried where that may help.

No other module imports the HTTP library. Answers of servers are untrusted data, bounded in size.
"""

import asyncio
import json
import logging
import math
import queue
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from .secret import RUN, Secret

_AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed later."""
_NEVER = frozenset({501, 505})
"""Statuses from 500 on after which the same request cannot succeed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits on concurrency and retries.

    concurrency: requests in flight. request_seconds: one attempt, up to the last byte of its answer.
    total_seconds: all attempts of a request and the pauses between them. tries: largest number of attempts.
    pause_seconds: first pause; each pause is twice the one before, up to longest_pause_seconds, and shortened
    at random by up to half. reply_bytes: largest answer that is read.
    """

    concurrency: int = 32
    request_seconds: float = 120.0
    total_seconds: float = 600.0
    tries: int = 6
    pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    reply_bytes: int = 16 * 2**20

    def __post_init__(self) -> None:
        for name in ("concurrency", "tries", "reply_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("request_seconds", "total_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}")


class Failed(OSError):  # noqa: N818  what happened to a request, as `Refused` is
    """The server or the connection failed, and no attempt succeeded in time."""


class Refused(ValueError):  # noqa: N818
    """The server rejects the request as wrong. status: of HTTP, 0 where the server had accepted the request.
    code: the server's own error code, "" if none."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Again(Exception):  # noqa: N818
    """One attempt failed in a way that may pass. kind: equal for failures that are reported once. after:
    seconds that the server asks to wait. reached: whether there was a connection. useless: whether the next
    attempt would fail alike."""

    def __init__(self, message: str, kind: str, *, after: float | None = None, reached: bool = True, useless: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.after = after
        self.reached = reached
        self.useless = useless


Parse = Callable[[Any], Any]
"""Reads an answer's JSON. Raises ValueError for an unexpected answer; the request is then retried."""


class HTTPClient:
    """Requests to one server.

    url: http or https, without a password. key_variable: the environment variable with the key, which is sent
    as a bearer token if set; it appears in no message, log or repr. Raises ValueError for a url or key that
    cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        key_variable: str,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = checked_url(url)
        self.limits = limits or Limits()
        self._secret = Secret(key_variable)
        if self._secret.redacted(self.url) != self.url and len(self._secret.key) >= RUN:
            raise ValueError(f"the address of {urlsplit(self.url).hostname} holds a part of the key in {key_variable}; leave it out there")
        self._sleep = sleep
        self._exchange: _Exchange | None = None
        self._numbers = count()
        self._asked: dict[str, tuple[int, Future[None]]] = {}
        self._done: queue.SimpleQueue[tuple[str, int, Any]] = queue.SimpleQueue()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def quoted(self, text: str) -> str:
        """A server's text for an error message: one short printable line without the key."""
        return quoted(text, self._secret)

    def kept(self, text: str) -> str:
        """A server's text for storage: without the key, unless that is too short to be a secret."""
        return self._secret.redacted(text) if len(self._secret.key) >= RUN else text

    @property
    def in_flight(self) -> int:
        """Number of requests without an answer yet."""
        return len(self._asked)

    @property
    def ready(self) -> bool:
        """Whether `wait` would return at once."""
        return not self._done.empty()

    def submit(self, tag: str, path: str, body: Mapping[str, Any], parse: Parse) -> None:
        """Posts `body` without waiting. tag: identifies the request; unique among requests in flight."""
        assert tag not in self._asked, f"{tag!r} is still in flight"
        exchange, done, number = self._start(), self._done, next(self._numbers)

        async def work() -> None:
            outcome: Any
            try:
                outcome = await exchange.persist("POST", path, body, parse)
            except Exception as error:
                outcome = error
            done.put((tag, number, outcome))

        self._asked[tag] = number, asyncio.run_coroutine_threadsafe(work(), exchange.loop)

    def wait(self) -> list[tuple[str, Any]]:
        """Waits for finished requests, at least one unless nothing is in flight: (tag, result of `parse` or
        Failed or Refused).

        Raises ConnectionError for a server that was never reached: its address is wrong, or it does not run.
        """
        ready: list[tuple[str, Any]] = []
        while self._asked and not (ready and self._done.empty()):
            tag, number, outcome = self._done.get()
            if tag not in self._asked or self._asked[tag][0] != number:
                continue  # it was cancelled when its answer was on the way
            del self._asked[tag]
            if isinstance(outcome, Exception) and not isinstance(outcome, (Failed, Refused)):
                raise outcome
            ready.append((tag, outcome))
        return ready

    def cancel(self, tag: str) -> None:
        """Drops a request that is in flight."""
        if tag in self._asked:
            self._asked.pop(tag)[1].cancel()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Sends one request once and waits up to `total_seconds`. Returns the answer's JSON, None for an
        empty answer.

        Raises Failed, Refused, or ConnectionError as `wait` does.
        """
        exchange = self._start()
        return asyncio.run_coroutine_threadsafe(exchange.once(method, path, body), exchange.loop).result()

    def _start(self) -> "_Exchange":
        if self._exchange is None:
            self._exchange = _Exchange(self.url, self.limits, self._secret, self._sleep)
            weakref.finalize(self, self._exchange.stop)
        return self._exchange


class _Exchange:
    """The part that runs in the client's own thread: an event loop with the connections."""

    def __init__(self, url: str, limits: Limits, secret: Secret, sleep: Callable[[float], Awaitable[None]]) -> None:
        import httpx2

        self.url, self.limits, self.secret, self.sleep = url, limits, secret, sleep
        self.client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {secret.key}"} if secret else {},
            timeout=None,  # every try has its own limit, to the last byte
            limits=httpx2.Limits(max_connections=limits.concurrency, max_keepalive_connections=limits.concurrency),
            trust_env=not _is_loopback(url),  # proxies are for what is elsewhere
            verify=url.startswith("https:"),  # without TLS there is nothing to verify, and no certificates need be read
        )
        self.places = asyncio.Semaphore(limits.concurrency)
        self.random = random.Random()  # pauses only; nothing that is recorded depends on it
        self.tasks: set[asyncio.Task[Any]] = set()
        self.reached = False
        self.missed = 0
        self.told: set[str] = set()
        self.stopped = asyncio.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name=f"requests to {url}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:  # it closes the loop only when nothing is left to be done in it
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self.stopped.wait()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.aclose()

    def stop(self) -> None:
        """Drops what is in flight and ends the thread."""
        self.loop.call_soon_threadsafe(self.stopped.set)
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout=10)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """A slot for one request in flight, held by a task that `stop` can cancel."""
        task = asyncio.current_task()
        assert task is not None, "requests are made by tasks"
        self.tasks.add(task)
        try:
            async with self.places:
                yield
        finally:
            self.tasks.discard(task)

    @property
    def lost(self) -> bool:
        """Whether as many attempts in a row failed to connect as requests may be in flight. Until the server
        answers again each request is then attempted once."""
        return self.missed >= self.limits.tries * self.limits.concurrency

    async def persist(self, method: str, path: str, body: Any, parse: Parse) -> Any:
        """Retries until `parse` accepts an answer. Raises Failed when out of attempts or time, Refused, or
        ConnectionError."""
        async with self._place():
            end = time.monotonic() + self.limits.total_seconds
            for tries in count(1):
                left = max(0.0, end - time.monotonic())
                try:
                    return parse(await self._try(method, path, body, min(self.limits.request_seconds, left)))
                except Refused:
                    raise
                except (ValueError, OverflowError) as error:
                    again = _Again(self._quote(f"its answer is {error}"), "answer")
                except _Again as error:
                    again = error
                pause = self._pause(tries, again.after)
                if again.useless or tries >= self.limits.tries or self.lost or time.monotonic() + pause >= end:
                    failure = self._failure(again, tries)
                    self._tell(failure, again.kind)
                    raise failure
                await self.sleep(pause)
        raise AssertionError("count() has no end")

    async def once(self, method: str, path: str, body: Any) -> Any:
        async with self._place():
            try:
                return await self._try(method, path, body, self.limits.total_seconds)
            except _Again as again:
                raise self._failure(again, 1) from None

    def _pause(self, tries: int, after: float | None) -> float:
        """Seconds before the next attempt: the server's wish, else doubling with jitter."""
        if after is not None:
            return after
        longest = min(self.limits.longest_pause_seconds, self.limits.pause_seconds * 2.0 ** min(tries - 1, 64))
        return longest * self.random.uniform(0.5, 1.0)

    def _failure(self, again: _Again, tries: int) -> Exception:
        message = f"{self.url}: {again}" + (f" (tried {tries} times)" if tries > 1 else "")
        if not again.reached and not self.reached:
            return ConnectionError(f"{message}; is the address right, and does the server run?")
        return Failed(message)

    def _tell(self, failure: Exception, kind: str) -> None:
        """Warns once per kind of failure; the texts may all differ, as by request numbers."""
        if isinstance(failure, Failed) and kind not in self.told:
            self.told.add(kind)
            _log.warning("%s", failure)

    async def _try(self, method: str, path: str, body: Any, seconds: float) -> Any:
        """One attempt. Raises _Again or Refused."""
        import httpx2

        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = bytearray()
        try:
            async with asyncio.timeout(seconds), self.client.stream(method, self.url + path, content=content, headers=headers) as response:
                self.reached, self.missed = True, 0
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > self.limits.reply_bytes:
                        raise _Again(f"its answer is longer than {self.limits.reply_bytes} bytes", "long")
        except TimeoutError:
            raise _Again(f"no whole answer within {seconds:.3g} s", "timeout") from None
        except httpx2.ConnectError as error:
            self.missed += 1
            message = f"cannot connect: {self._quote(str(error))}"
            raise _Again(message, "connect", reached=False, useless=self._useless(error)) from None
        except httpx2.InvalidURL as error:
            raise Refused(f"{self.url} is no address of a server: {error}") from None
        except httpx2.LocalProtocolError as error:
            raise Refused(f"{self.url} cannot be sent this request: {self._quote(str(error))}") from None
        except httpx2.RequestError as error:
            raise _Again(f"the connection broke ({type(error).__name__})", type(error).__name__) from None
        status = response.status_code
        if 200 <= status < 300:
            try:
                return _json(bytes(data)) if data else None
            except ValueError as error:
                raise _Again(f"its answer is {error}", "answer") from None
        raise self._refusal(status, response.headers.get("Retry-After"), bytes(data))

    def _useless(self, error: BaseException) -> bool:
        """Whether the next attempt could not connect either: an invalid certificate, or an unknown host
        name."""
        wrong = (ssl.SSLCertVerificationError, socket.gaierror)
        cause = next((cause for cause in _causes(error) if isinstance(cause, wrong)), None)
        return isinstance(cause, ssl.SSLError) or (cause is not None and cause.errno == socket.EAI_NONAME and not self.reached)

    def _refusal(self, status: int, after: str | None, data: bytes) -> Exception:
        """The exception for an unsuccessful answer."""
        words, code = _complaint(data)
        detail = f": {self._quote(words)}" if words else ""
        if ((status >= 500 and status not in _NEVER) or status in _AGAIN) and code != "insufficient_quota":
            return _Again(f"it answered {status}{detail}", str(status), after=_seconds(after))
        if status == 401:
            # What the server says here may hold parts of the key.
            has = "the key in" if self.secret else "a key is needed, in"
            return Refused(f"{self.url} refuses access (401): {has} {self.secret.variable}", status, code)
        hint = {
            403: f"may the key in {self.secret.variable} do this?",
            404: "is the address right, and the name of the model?",
        }.get(status, "give the address that it redirects to" if status < 400 else "")
        return Refused(f"{self.url} refuses the request ({status}){detail}" + (f"; {hint}" if hint else ""), status, code)

    def _quote(self, text: str) -> str:
        return quoted(text, self.secret)


def checked_url(url: str) -> str:
    """The url without a trailing slash. Raises ValueError for one that requests cannot be sent to."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("the address of a server is not a valid URL") from None
    host = parts.hostname or "a server"
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the address of {host} holds a user or password; put keys into environment variables instead")
    if "?" in url or "#" in url:  # nothing behind it is shown: it may be a key
        raise ValueError(f"the address of {host} has a query or a fragment; put keys into environment variables and leave the rest out")
    if parts.scheme not in ("http", "https") or not parts.hostname or not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError(f"{url.rpartition('@')[2][:200]!r} is no address of a server; give one like http://127.0.0.1:8000/v1")
    return url.rstrip("/")


def quoted(text: str, secret: Secret) -> str:
    """A server's text for an error message: one short printable line without the key."""
    text = secret.redacted(" ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split()))
    return text if len(text) <= 300 else f"{text[:300]}..."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None


def _complaint(data: bytes) -> tuple[str, str]:
    """(message, code) in an error's body, in the formats that servers use; the body's text for other
    formats."""
    try:
        error = _json(data)
    except ValueError:
        return data.decode("utf-8", "replace"), ""
    if isinstance(error, dict):
        error = error.get("error") or error.get("detail") or error
    if not isinstance(error, dict):
        return str(error), ""
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    return str(error.get("message") or error or ""), code if isinstance(code, str) else ""


def _seconds(after: str | None) -> float | None:
    """Seconds in a Retry-After header, given as a number or a date; None for anything else."""
    if after is None:
        return None
    try:
        seconds = float(after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
