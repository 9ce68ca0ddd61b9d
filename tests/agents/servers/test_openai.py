"""Playing through an OpenAI-compatible server: whole games, what voids them, and what the user is told."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from stub_server import DROP, HANG, Answer, Asked, Stub, stub_server

from sparring.agents.core import Reply, Request, Sampling
from sparring.agents.names import resolve
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Match, play_all
from sparring.agents.servers.http_client import HTTPClient, Limits
from sparring.agents.servers.openai import OpenAIServer, read_reply, with_v1
from sparring.envs.core import VOID, Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.views import Message
from sparring.selfplay.storage.episodes import record

GAME = AdversarialTaboo(max_turns=2)


def completion(content, finish="stop", usage=None, **message) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return Answer({"choices": [choice], **({"usage": usage} if usage else {})})


async def no_sleep(seconds: float) -> None:
    """PartialUpdates between tries take no time here."""


def server(stub: Stub, **limits) -> OpenAIServer:
    client = HTTPClient(f"{stub.url}/v1", key_variable="OPENAI_API_KEY", limits=Limits(**{"tries": 2, **limits}), sleep=no_sleep)
    return OpenAIServer("m", stub.url, name="openai:m", client=client)


def play(model: OpenAIServer, n: int = 1, **sampling):
    """n games of the model, as defender, with a player who says the same always."""
    agents = {
        "attacker": FunctionAgent(lambda observation, rng: f"Hint {len(observation.utterances)}."),
        "defender": ModelAgent(model, TABOO_BRIEF, Sampling(**sampling)),
    }
    return play_all(Match(f"{i}", GAME, Task(f"{i}", "lemon", "lemon", i), agents, i) for i in range(n))


def ask(model: OpenAIServer, stream: str = "s", **sampling) -> Reply:
    request = Request(model, stream, (Message("user", "Hi."),), Sampling(**sampling), seed=2**62 + 5)
    model.submit(request)
    ((answered, reply),) = model.poll()
    assert answered is request
    return reply


def test_whole_games():
    with stub_server(lambda asked: completion(f"Answer {len(asked.body['messages'])}.", usage={"completion_tokens": 4})) as stub:
        episodes = play(server(stub), n=8)
        asked = [a.body for a in stub.asked]
    for p in episodes:
        assert [u.text for u in p.state.utterances] == ["Hint 0.", "Answer 2.", "Hint 2.", "Answer 4."]
        assert p.outcome.reason == "turn_limit" and p.segments["defender"] == ()
        assert [r.tokens for r in p.turns if r.role == "defender"] == [4, 4]
    assert stub.paths == ["/v1/chat/completions"] * 16
    second = next(body["messages"] for body in asked if len(body["messages"]) == 4)
    assert [m["role"] for m in second] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in second[1:]] == ["Hint 0.", "Answer 2.", "Hint 2."]


def test_games_are_asked_for_together():
    """As many requests are in hand at once as the bound allows, and never more."""
    full = threading.Event()

    def answer(asked: Asked) -> Answer:
        if stub.most == 4:
            full.set()
        full.wait(timeout=300)
        return completion("Hm.")

    with stub_server(answer) as stub:
        play(server(stub, concurrency=4), n=12)
        assert len(stub.asked) == 24 and stub.most == 4


def test_settings_are_sent():
    with stub_server(lambda asked: completion("Hm.")) as stub:
        model = server(stub)
        ask(model, temperature=0.3, max_new_tokens=7)
        ask(model, "t", top_k=5, top_p=0.9, min_p=0.1, min_new_tokens=2, stop=("\n",))
        first, second = (asked.body for asked in stub.asked)
    common = {"model": "m", "messages": [{"role": "user", "content": "Hi."}], "seed": 5}
    assert first == {**common, "temperature": 0.3, "top_p": 1.0, "max_tokens": 7}
    assert second == {
        **common,
        "temperature": 1.0,
        "top_p": 0.9,
        "max_tokens": 256,
        "stop": ["\n"],
        "top_k": 5,
        "min_p": 0.1,
        "min_tokens": 2,
    }


def test_openai_itself_calls_the_length_otherwise():
    body = OpenAIServer("m", "https://api.openai.com/v1")._body(Sampling(max_new_tokens=7), 0, [])
    assert body["max_completion_tokens"] == 7 and "max_tokens" not in body


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (completion(" Hello. "), Reply("Hello.")),
        (completion("Hel", "length"), Reply("Hel", finish="length")),
        (completion(""), Reply("")),
        (completion(None), Reply("")),
        (completion("Hm", "content_filter"), Reply("Hm", finish="error")),
        (completion("Hm.", "eos_token"), Reply("Hm.")),
        (completion("<think>It is a lemon.</think>\nHm."), Reply("Hm.", "It is a lemon.")),
        (completion("It is a lemon.</think>Hm."), Reply("Hm.", "It is a lemon.")),
        (completion("<think>It is a le", "length"), Reply("", "It is a le", "length")),
        (completion("Hm.", reasoning_content="A lemon."), Reply("Hm.", "A lemon.")),
        (completion("Hm.", reasoning="A lemon."), Reply("Hm.", "A lemon.")),
        (completion("<think>b</think>Hm.", reasoning_content="a"), Reply("Hm.", "a\nb")),
        (completion("Hm.", usage={"completion_tokens": 3}), Reply("Hm.", tokens=3)),
        (completion("Hm.", usage={"completion_tokens": "x"}), Reply("Hm.")),
        (completion("a\ud800b"), Reply("a?b")),
    ],
)
def test_replies(answer: Answer, reply: Reply):
    assert read_reply(answer.body) == reply


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [{"message": None, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "Hm."}}]},
        completion("Hm.", None).body,
        completion("Hm.", "abort").body,
        completion(7).body,
        completion("Hm.", reasoning_content=["a"]).body,
    ],
)
def test_what_is_no_reply(body):
    with pytest.raises(ValueError, match=r"no chat completion|ended by|no text"):
        read_reply(body)


def test_private_thoughts_are_not_shown_to_anyone():
    seen = []
    with stub_server(lambda asked: completion("<think>lemon?</think>Hm.")) as stub:
        agents = {
            "attacker": FunctionAgent(lambda observation, rng: seen.append(observation) or "Hint."),
            "defender": ModelAgent(server(stub), TABOO_BRIEF, Sampling()),
        }
        (p,) = play_all([Match("0", GAME, Task("0", "lemon", "lemon", 0), agents, 0)])
        assert "lemon" not in str(stub.asked[-1].body)
    assert p.outcome.reason == "turn_limit" and "lemon" not in str([o.utterances for o in seen])
    assert p.turns[1].private == "lemon?"


@pytest.mark.parametrize("fault", [Answer(status=500), Answer(status=429), Answer(b"{"), completion("Hm.", "abort"), DROP, HANG])
def test_a_fault_that_stays_voids_its_game_alone(fault: Answer | str):
    """The first of the games that speak again gets nothing but faults from then on."""
    unlucky: list[int] = []

    def answer(asked: Asked) -> Answer | str:
        seed = asked.body["seed"]
        if len(asked.body["messages"]) == 4 and not unlucky:
            unlucky.append(seed)
        return fault if seed in unlucky else completion("Hm.")

    with stub_server(answer) as stub:
        episodes = play(server(stub, request_seconds=1.5 if fault == HANG else 60), n=4)
    assert sorted(p.outcome.reason for p in episodes) == ["turn_limit"] * 3 + [VOID]
    void = next(p for p in episodes if p.outcome.reason == VOID)
    assert set(void.outcome.utilities.values()) == {0.0} and len(void.state.utterances) == 3
    assert void.turns[-1].finish == "error"


def test_a_server_that_goes_voids_games_and_one_that_never_was_is_an_error():
    with stub_server(lambda asked: completion("Hm.")) as stub:
        model = server(stub)
        assert ask(model).text == "Hm."
    assert ask(model, "t").finish == "error"
    with pytest.raises(ConnectionError, match=r"cannot connect.*does the server run"):
        ask(server(stub))


def test_truncated_and_empty_replies_are_the_models_own_doing():
    with stub_server(lambda asked: completion("Hm", "length") if asked.number == 0 else completion(None)) as stub:
        episodes = play(server(stub, concurrency=1), n=2)
    assert sorted(p.outcome.reason for p in episodes) == ["overlong", "silent"]


@pytest.mark.parametrize(("status", "message"), [(401, "a key is needed, in OPENAI_API_KEY"), (404, "no model 'm'.*name of the model")])
def test_what_the_user_must_mend_is_said(status: int, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with (
        stub_server(lambda asked: Answer({"error": {"message": "no model 'm'"}}, status=status)) as stub,
        pytest.raises(ValueError, match=message),
    ):
        play(server(stub), n=4)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "too long", "code": "context_length_exceeded"},
        {"message": "This model's maximum context length is 10 tokens.", "code": 400},
    ],
)
def test_a_chat_that_outgrows_the_context(error: dict):
    full = Answer({"error": error}, status=400)
    with stub_server(lambda asked: full if len(asked.body["messages"]) > 2 else completion("Hm.")) as stub:
        (p,) = play(server(stub))
        assert p.turns[-1].finish == "length" and p.outcome.reason == "overlong"
    with stub_server(lambda asked: full) as stub, pytest.raises(ValueError, match=r"too long|maximum context"):
        play(server(stub))


def test_one_request_refused_among_others_voids_its_game_alone():
    filtered = Answer({"error": {"message": "our content policy", "code": "content_filter"}}, status=400)
    with stub_server(lambda asked: filtered if asked.number == 2 else completion("Hm.")) as stub:
        episodes = play(server(stub, concurrency=1), n=3)
    assert sorted(p.outcome.reason for p in episodes) == ["turn_limit", "turn_limit", VOID]
    with stub_server(lambda asked: filtered) as stub, pytest.raises(ValueError, match="our content policy"):
        play(server(stub))
    with (
        stub_server(lambda asked: Answer(status=401) if asked.number == 2 else completion("Hm.")) as stub,
        pytest.raises(ValueError, match="refuses access"),
    ):
        play(server(stub, concurrency=1), n=3)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden-99")
    with stub_server(lambda asked: completion("Hm.")) as stub:
        agent = resolve(f"openai:m@{stub.url}", sampling=Sampling())
        assert isinstance(agent, ModelAgent) and isinstance(agent.model, OpenAIServer)
        ask(agent.model)
        assert stub.asked[0].headers["Authorization"] == "Bearer sk-hidden-99"
    texts = [repr(agent), repr(agent.model), repr(agent.model.client), agent.name]
    assert not any("sk-hidden" in text for text in texts)


def test_a_reply_that_says_the_key_is_kept_without_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden-99")
    with stub_server(lambda asked: completion("<think>SK-HIDDEN-9</think>It is sk-hidden-99!", reasoning_content="99-neddih")) as stub:
        (p,) = play(server(stub))
    assert p.state.utterances[1].text == "It is (key)!"
    assert p.turns[1].private == "(key)\n(key)"


@pytest.mark.parametrize("tokens", [10**400, 10**12, 10_000_001, float("inf"), float("nan"), -5, True, "9" * 50, [], None])
def test_an_absurd_count_of_tokens_voids_the_game_or_counts_as_none(tokens: object):
    with stub_server(lambda asked: completion("Hm.", usage={"completion_tokens": tokens})) as stub:
        (p,) = play(server(stub))
    if type(tokens) is int and tokens > 0:
        assert p.outcome.reason == VOID
    else:
        assert p.outcome.reason == "turn_limit" and all(reply.tokens <= 1 for reply in p.turns)
    json.dumps(record(p), allow_nan=False)


def test_addresses():
    assert with_v1("http://a:1") == with_v1("http://a:1/") == "http://a:1/v1"
    assert with_v1("http://a/v1") == "http://a/v1" and with_v1("http://a/api/v3/") == "http://a/api/v3/"


@pytest.mark.full
def test_a_real_server():
    """The embedded model behind `transformers serve`."""
    folder = Path(__file__).parents[3] / "agents" / "mini" / "imitation"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1"]
    port = _free_port()
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*command, "--port", str(port)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_health(f"http://127.0.0.1:{port}/health", process)
        agent = resolve(f"openai:{folder}@http://127.0.0.1:{port}", sampling=Sampling(max_new_tokens=48), renderer=TABOO_BRIEF)
        agents = {"attacker": resolve("scripted:hinter"), "defender": agent}
        tasks = [Task(f"{i}", word, word, i) for i, word in enumerate(("lemon", "dog", "hammer", "chair"))]
        episodes = play_all(Match(task.id, AdversarialTaboo(), task, agents, task.seed) for task in tasks)
        assert all(p.outcome.reason != VOID for p in episodes)
        spoken = [r for p in episodes for r in p.turns if r.role == "defender"]
        assert spoken and all(r.finish == "stop" and r.tokens > 0 for r in spoken)
        short = resolve(f"openai:{folder}@http://127.0.0.1:{port}", sampling=Sampling(max_new_tokens=2))
        (p,) = play_all([Match("short", GAME, tasks[0], {**agents, "defender": short}, 0)])
        assert p.outcome.reason == "overlong"
        unknown = resolve(f"openai:unknown@http://127.0.0.1:{port}")
        with pytest.raises(ValueError, match=r"refuses the request \(4.*unknown"):
            play_all([Match("unknown", GAME, tasks[0], {**agents, "defender": unknown}, 0)])
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with stub_server(lambda asked: Answer()) as stub:
        return int(stub.url.rpartition(":")[2])


def _await_health(url: str, process: subprocess.Popen[bytes], seconds: float = 1200) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "transformers serve ended; are the development tools installed (transformers[serving])?"
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"nothing at {url} within {seconds} s")


def test_refusals_of_single_requests_are_told_once(caplog: pytest.LogCaptureFixture):
    """Each voids its game; servers quote the number of each request."""

    def answer(asked: Asked) -> Answer:
        return completion("Hm.") if asked.number < 1 else Answer({"error": f"request {asked.number} is bad"}, status=400)

    with stub_server(answer) as stub:
        model = server(stub, concurrency=1)
        ask(model)
        episodes = play(model, n=8)
    assert {p.outcome.reason for p in episodes} == {VOID}
    assert len(caplog.records) == 1 and "is bad" in caplog.records[0].getMessage()
