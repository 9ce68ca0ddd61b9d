"""Requests to a server: what is tried again, what is refused, what is never said."""

import gc
import logging
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from stub_server import DROP, HANG, Answer, Asked, stub_server

from sparring.agents.servers.http_client import Failed, HTTPClient, Limits, Refused, checked_url

KEY = "sk-secret-1234567890"


class Sleeper:
    """Takes note of pauses instead of sleeping."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


def client(url: str, sleep: Sleeper | None = None, **limits) -> HTTPClient:
    return HTTPClient(url, key_variable="TEST_KEY", limits=Limits(**{"tries": 3, **limits}), sleep=sleep or Sleeper())


def ask(url: str, sleep: Sleeper | None = None, parse=lambda data: data, **limits):
    one = client(url, sleep, **limits)
    one.submit("a", "/x", {"n": 1}, parse)
    ((tag, outcome),) = one.wait()
    assert tag == "a" and one.in_flight == 0 and one.wait() == []
    return outcome


def then(*answers: Answer | str):
    """Each answer once, the last one ever after."""
    return lambda asked: answers[min(asked.number, len(answers) - 1)]


def test_an_answer():
    with stub_server(lambda asked: Answer({"got": asked.body})) as stub:
        assert ask(stub.url + "/") == {"got": {"n": 1}}
        assert stub.paths == ["/x"]


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=500),
        Answer(status=503),
        Answer({"error": {"message": "slow down"}}, status=429),
        Answer(status=408),
        Answer(b"{broken"),
        Answer(b"[" * 100_000),
        Answer(b'{"a": ' + b"9" * 5000 + b"}"),
        Answer(b"\xff\xfe"),
        Answer(b"x" * 200_000),
        DROP,
        HANG,
    ],
    ids=["500", "503", "429", "408", "broken", "deep", "number", "bytes", "long", "drop", "hang"],
)
def test_a_fault_that_passes_is_tried_again(fault: Answer | str):
    with stub_server(then(fault, Answer({"ok": True}))) as stub:
        sleep = Sleeper()
        seconds = 1.5 if fault == HANG else 60
        assert ask(stub.url, sleep, request_seconds=seconds, reply_bytes=150_000) == {"ok": True}
        assert len(stub.asked) == 2 and len(sleep.pauses) == 1


def test_a_fault_that_stays_fails_after_the_last_try(caplog: pytest.LogCaptureFixture):
    with stub_server(then(Answer({"error": "on fire\x1b[31m\n" + "x" * 1000}, status=500))) as stub, caplog.at_level(logging.WARNING):
        outcome = ask(stub.url)
    assert isinstance(outcome, Failed) and len(stub.asked) == 3
    assert str(outcome).startswith(f"{stub.url}: it answered 500: on fire [31m xxx") and str(outcome).endswith("... (tried 3 times)")
    assert [record.getMessage() for record in caplog.records] == [str(outcome)]


def test_an_answer_of_the_wrong_kind_is_tried_again():
    def parse(data):
        if "ok" not in data:
            raise ValueError("nothing ok")
        return data["ok"]

    with stub_server(then(Answer({}), Answer({"ok": 7}))) as stub:
        assert ask(stub.url, parse=parse) == 7
    with stub_server(then(Answer({}))) as stub:
        assert "its answer is nothing ok" in str(ask(stub.url, parse=parse))


def test_pauses_double_with_jitter_up_to_a_bound():
    sleep = Sleeper()
    with stub_server(then(Answer(status=500))) as stub:
        ask(stub.url, sleep, tries=6, pause_seconds=1.0, longest_pause_seconds=5.0)
    assert len(sleep.pauses) == 5 and len(set(sleep.pauses)) == 5
    for pause, longest in zip(sleep.pauses, (1, 2, 4, 5, 5), strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("after", "low", "high"), [("7", 7, 7), ("0", 0, 0), ("date", 1, 60), ("soon", 0.25, 0.5), ("nan", 0.25, 0.5)])
def test_retry_after(after: str, low: float, high: float):
    value = formatdate(time.time() + 60, usegmt=True) if after == "date" else after
    sleep = Sleeper()
    with stub_server(then(Answer(status=429, headers={"Retry-After": value}), Answer())) as stub:
        ask(stub.url, sleep)
    assert low <= sleep.pauses[0] <= high


def test_a_pause_beyond_the_time_limit_is_not_waited_for():
    sleep = Sleeper()
    with stub_server(then(Answer(status=429, headers={"Retry-After": "3600"}))) as stub:
        assert isinstance(ask(stub.url, sleep), Failed)
        assert len(stub.asked) == 1 and sleep.pauses == []


def test_all_tries_together_have_a_time_limit():
    began = time.monotonic()
    with stub_server(then(HANG)) as stub:
        assert "no whole answer" in str(ask(stub.url, request_seconds=600, total_seconds=0.2))
    assert time.monotonic() - began < 300


def test_a_slow_drip_is_cut_off():
    """The limit is on the whole answer, not on each of its bytes."""

    def drip(asked: Asked) -> Answer:
        return Answer(b"x", headers={"Content-Length": "100"})

    with stub_server(drip) as stub:
        assert "no whole answer within 0.2 s" in str(ask(stub.url, request_seconds=0.2, tries=1))


@pytest.mark.parametrize(
    ("answer", "message", "code"),
    [
        (
            Answer({"error": {"message": "no model 'x'", "code": "model_not_found"}}, status=404),
            "no model 'x'; is the address",
            "model_not_found",
        ),
        (Answer({"detail": "bad field"}, status=422), r"\(422\): bad field", ""),
        (Answer(b"<html>", status=400), "<html>", ""),
        (Answer({"error": {"message": "no"}}, status=403), "may the key in TEST_KEY", ""),
        (Answer({"error": {"message": "pay", "code": "insufficient_quota"}}, status=429), "pay", "insufficient_quota"),
        (Answer(status=307, headers={"Location": "/y"}), "redirects to", ""),
        (Answer({"error": "no such thing"}, status=501), "no such thing", ""),
        (Answer(status=505), r"\(505\)", ""),
    ],
    ids=["404", "422", "400", "403", "quota", "redirect", "501", "505"],
)
def test_a_refusal_is_not_tried_again(answer: Answer, message: str, code: str):
    with stub_server(then(answer)) as stub:
        outcome = ask(stub.url)
        assert isinstance(outcome, Refused) and outcome.code == code and outcome.status == answer.status and len(stub.asked) == 1
        with pytest.raises(ValueError, match=message):
            raise outcome


def test_nobody_there():
    with stub_server(then(Answer())) as stub:
        one = client(stub.url)
        one.submit("a", "/x", {}, lambda data: data)
        assert one.wait() == [("a", {})]
    one.submit("a", "/x", {}, lambda data: data)
    ((_, outcome),) = one.wait()
    assert isinstance(outcome, Failed) and "cannot connect" in str(outcome)
    with pytest.raises(ConnectionError, match="is the address right, and does the server run"):
        ask(stub.url)
    with pytest.raises(ConnectionError, match="cannot connect"):
        client(stub.url).request("GET", "/x")


def test_a_server_that_is_lost_is_not_waited_for_by_each_request(caplog: pytest.LogCaptureFixture):
    """Of 50 requests 2 at a time use their 4 tries, with 3 pauses each; the others then fail at their first."""
    sleep = Sleeper()
    with stub_server(then(Answer())) as stub:
        one = client(stub.url, sleep, concurrency=2, tries=4)
        one.submit("a", "/x", {}, lambda data: data)
        assert one.wait() == [("a", {})]
    for i in range(50):
        one.submit(str(i), "/x", {}, lambda data: data)
    results: list = []
    while one.in_flight:
        results += one.wait()
    assert len(results) == 50 and all(isinstance(outcome, Failed) and stub.url in str(outcome) for _, outcome in results)
    assert 6 <= len(sleep.pauses) <= 8
    assert sum("cannot connect" in record.message for record in caplog.records) == 1


def test_a_lost_server_that_is_back_is_tried_as_ever():
    with stub_server(then(DROP, Answer(), DROP, Answer())) as stub:
        one = client(stub.url)
        exchange = one._start()
        exchange.missed = exchange.limits.tries * exchange.limits.concurrency
        outcomes = {}
        for tag in "abc":
            one.submit(tag, "/x", {}, lambda data: data)
            outcomes |= dict(one.wait())
    assert isinstance(outcomes["a"], Failed)
    assert (outcomes["b"], outcomes["c"]) == ({}, {}) and len(stub.asked) == 4


def test_a_certificate_that_does_not_hold_is_said_at_once():
    sleep = Sleeper()
    pem = Path(__file__).with_name("self_signed.pem")
    with stub_server(then(Answer()), certificate=pem) as stub, pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(stub.url, sleep)
    assert sleep.pauses == []


@pytest.mark.parametrize(("error", "tries"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)])
def test_a_name_that_nobody_has_is_said_at_once(monkeypatch: pytest.MonkeyPatch, error: int, tries: int):
    def unknown(*_, **__):
        raise socket.gaierror(error, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    sleep = Sleeper()
    with pytest.raises(ConnectionError, match="no such name"):
        ask("http://nowhere.invalid", sleep)
    assert len(sleep.pauses) == tries - 1


def test_a_request_that_cannot_be_sent_is_refused():
    """A fault of our own passes with no number of tries."""
    sleep = Sleeper()
    with stub_server(then(Answer())) as stub:
        one = client(stub.url, sleep)
        one._start().client.headers["Bad"] = "a\nb"
        one.submit("a", "/x", {}, lambda data: data)
        ((_, outcome),) = one.wait()
    assert isinstance(outcome, Refused) and "cannot be sent this request" in str(outcome)
    assert sleep.pauses == [] and stub.asked == []


def test_failures_of_one_kind_are_told_once(caplog: pytest.LogCaptureFixture):
    """Servers quote the number of each request."""

    def answer(asked: Asked) -> Answer:
        return Answer({"error": f"request {asked.number} failed"}, status=503 if asked.number % 2 else 500)

    with stub_server(answer) as stub, caplog.at_level(logging.WARNING):
        one = client(stub.url, concurrency=1, tries=1)
        for i in range(20):
            one.submit(str(i), "/x", {}, lambda data: data)
        while one.in_flight:
            one.wait()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2 and "500" in messages[0] and "503" in messages[1]


def test_an_answer_that_has_come_is_known_without_waiting():
    let = threading.Event()
    with stub_server(lambda asked: let.wait(timeout=300) and Answer()) as stub:
        one = client(stub.url)
        one.submit("a", "/x", {}, lambda data: data)
        assert not one.ready
        let.set()
        end = time.monotonic() + 300
        while not one.ready and time.monotonic() < end:
            time.sleep(0.01)
        assert one.ready and one.wait() == [("a", {})] and not one.ready


def test_many_at_once_within_the_bound():
    full = threading.Barrier(5)

    def answer(asked: Asked) -> Answer:
        full.wait(timeout=300)  # passes only when five are in hand together
        return Answer(asked.body)

    with stub_server(answer) as stub:
        one = client(stub.url, concurrency=5)
        for i in range(20):
            one.submit(str(i), "/x", {"i": i}, lambda data: data)
        assert one.in_flight == 20
        results: dict[str, dict] = {}
        while one.in_flight:
            results |= dict(one.wait())
        assert results == {str(i): {"i": i} for i in range(20)}
        assert stub.most == 5


def test_what_is_cancelled_does_not_come_back():
    with stub_server(lambda asked: HANG if asked.body["n"] == 0 else Answer(asked.body)) as stub:
        one = client(stub.url, concurrency=1)
        one.submit("a", "/x", {"n": 0}, lambda data: data)
        one.submit("b", "/x", {"n": 1}, lambda data: data)
        one.cancel("a")
        one.cancel("unknown")
        one.submit("a", "/x", {"n": 2}, lambda data: data)
        results: dict[str, dict] = {}
        while one.in_flight:
            results |= dict(one.wait())
        assert results == {"a": {"n": 2}, "b": {"n": 1}}


def test_a_client_that_is_gone_leaves_no_thread():
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    with stub_server(then(HANG)) as stub:
        one = client(stub.url)
        assert not any(stub.url in name for name in threads())
        one.submit("a", "/x", {}, lambda data: data)
        assert any(stub.url in name for name in threads())
        del one
        gc.collect()
        assert not any(stub.url in name for name in threads())


def test_a_fault_of_our_own_is_not_hidden():
    with stub_server(then(Answer())) as stub:
        one = client(stub.url)
        one.submit("a", "/x", {}, lambda data: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            one.wait()


def test_single_requests():
    with stub_server(then(Answer(b""), Answer([1]), Answer(status=500), Answer(b"{"))) as stub:
        one = client(stub.url)
        assert one.request("POST", "/a?b=c") is None
        assert one.request("GET", "/a") == [1]
        with pytest.raises(Failed, match="it answered 500"):
            one.request("POST", "/a", {})
        with pytest.raises(Failed, match="no JSON"):
            one.request("POST", "/a", {})
        assert len(stub.asked) == 4 and stub.paths[0] == "/a?b=c"


def test_the_key_is_sent_and_never_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TEST_KEY", KEY)
    echo = {"error": {"message": f"wrong key {KEY}", "code": "x"}}
    texts = []
    with caplog.at_level(logging.DEBUG):
        for status in (401, 403, 404, 400, 429, 500):
            with stub_server(then(Answer(echo, status=status))) as stub:
                one = client(stub.url)
                one.submit("a", "/x", {}, lambda data: data)
                ((_, outcome),) = one.wait()
                assert stub.asked[0].headers["Authorization"] == f"Bearer {KEY}"
                texts += [str(outcome), repr(outcome), repr(outcome.__cause__), repr(one), str(one), repr(one.limits)]
        with pytest.raises(ConnectionError) as error:
            ask(stub.url)
    texts += [str(error.value), caplog.text, *capfd.readouterr()]
    assert not any(KEY in text for text in texts)
    assert "the key in TEST_KEY" in texts[0] and "(key)" in texts[6]


@pytest.mark.parametrize("shown", [KEY[:-2], KEY[3:12], KEY.upper(), KEY[::-1], f"'{KEY}'", KEY[5:].replace("-", "%2D")])
def test_parts_of_the_key_are_never_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, shown: str):
    monkeypatch.setenv("TEST_KEY", KEY)
    for status in (400, 403, 404, 429, 500):
        with stub_server(then(Answer({"error": {"message": "x" * 290 + f" {shown} is wrong"}}, status=status))) as stub:
            caplog.text and caplog.clear()
            for text in (str(ask(stub.url)), caplog.text):
                assert not any(shown[at : at + 8] in text for at in range(len(shown) - 7))
    one = client("http://127.0.0.1:1")
    assert one.kept(f"It is {shown}.").startswith("It is ") and "(key)" in one.kept(f"It is {shown}.")
    monkeypatch.setenv("TEST_KEY", "lemon")
    assert client("http://127.0.0.1:1").kept("a lemon") == "a lemon", "too short to be a secret"


def test_no_key_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    with stub_server(then(Answer(status=401))) as stub:
        assert "a key is needed, in TEST_KEY" in str(ask(stub.url))
        assert "Authorization" not in stub.asked[0].headers


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ"])
def test_a_key_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(ValueError, match="TEST_KEY holds characters") as error:
        client("http://127.0.0.1:1")
    assert key not in str(error.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x", "http://", "http://x:y", "http://a b", "http://x?q=1", "http://ü"])
def test_addresses_that_are_none(url: str):
    with pytest.raises(ValueError, match="address"):
        checked_url(url)


def test_addresses():
    assert checked_url("http://[::1]:8000/v1/") == "http://[::1]:8000/v1"
    with pytest.raises(ValueError, match="put keys into environment variables") as error:
        checked_url("http://me:hidden@host/v1")
    assert "hidden" not in str(error.value)
    for url in (
        "http://host/v1?api_key=hidden",
        "http://host?hidden",
        "http://host#hidden",
        "ftp://host?key=hidden",
        "http:/me:hidden@host",
        "?hidden",
        "http://?hidden",
        "http://hidden@/v1",
        "http://host:port?hidden",
        "http://hidden@host:port",
    ):
        with pytest.raises(ValueError, match="address") as error:
            checked_url(url)
        assert "hidden" not in str(error.value)


def test_the_key_is_no_part_of_an_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    with pytest.raises(ValueError, match="the address of host holds a part of the key in TEST_KEY") as error:
        client(f"http://host/{KEY[4:]}/v1")
    assert KEY[4:] not in str(error.value)


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"tries": 0}, {"request_seconds": 0.0}, {"total_seconds": float("nan")}])
def test_limits_that_allow_nothing(limits: dict):
    with pytest.raises(ValueError, match=next(iter(limits))):
        Limits(**limits)
