"""Token streams through a server that speaks as vLLM does: a stub over a tiny model.

benchmarks/reliability/vllm_check.py asks a real one.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tiny
from stub_server import HANG, Answer, Stub, stub_server
from tiny_vllm import TinyVLLM, save, tiny_model

from sparring.agents.core import Request, Sampling
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import model_card, resolve
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Episode, Match, play_all
from sparring.agents.servers import vllm as vllm_server
from sparring.agents.servers.http_client import Failed, HTTPClient, Limits, Refused
from sparring.agents.servers.vllm import Completion, VLLMServer, read_completion, read_likeliest
from sparring.agents.servers.vllm_weights import store_head
from sparring.envs.core import VOID, Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.views import Message

GAME = AdversarialTaboo(max_turns=2, max_characters=10_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of another model, with their head."""
    folder = save(tmp_path_factory.mktemp("other"), seed=1)
    store_head(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def read_once():
    """Tokenizers and what is found out about them, which take most of the time here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_server, "load_tokenizer", lru_cache(vllm_server.load_tokenizer))
        patch.setattr(vllm_server, "ChatFormat", lru_cache(vllm_server.ChatFormat))
        yield


async def no_sleep(seconds: float) -> None:
    """PartialUpdates between tries take no time here."""


def server(stub: Stub, folder: Path, **limits) -> VLLMServer:
    client = HTTPClient(stub.url, key_variable="VLLM_API_KEY", limits=Limits(**{"tries": 2, **limits}), sleep=no_sleep)
    return VLLMServer(folder, stub.url, name="v", client=client)


def play(model: LanguageModel | VLLMServer, n: int = 6, **sampling) -> list[Episode]:
    agent = ModelAgent(model, TABOO_BRIEF, Sampling(**{"max_new_tokens": 6, **sampling}))
    tasks = [Task(f"{i}", "lemon", "lemon", i) for i in range(n)]
    return play_all(Match(task.id, GAME, task, dict.fromkeys(GAME.roles, agent), task.seed) for task in tasks)


def ask(model: VLLMServer, *texts: str, stream: str = "s", **sampling):
    model.submit(Request(model, stream, tuple(Message("user", text) for text in texts), Sampling(**sampling), 0))
    ((_, reply),) = model.poll()
    return reply


def talk(model: LanguageModel | VLLMServer, streams: int = 4, turns: int = 3, **sampling):
    """Conversations side by side: the replies by stream and turn, and the segments by stream."""
    replies = {}
    for turn in range(turns):
        for i in range(streams):
            messages = (Message("system", "Rules."),) * (turn == 0) + (Message("user", f"Text {i} {turn}."),)
            model.submit(Request(model, f"{i}", messages, Sampling(max_new_tokens=6, **sampling), seed=100 * i + turn, turn=turn))
        while len(replies) < streams * (turn + 1):
            replies |= {(request.stream, request.turn): reply for request, reply in model.poll()}
    return replies, [model.close(f"{i}") for i in range(streams)]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7}, {"top_k": 20, "min_new_tokens": 3}], ids=["plain", "cool", "filtered"])
def test_streams_are_those_of_the_model_itself(folder: Path, sampling: dict):
    stub_model = TinyVLLM(str(folder))
    replies, ours = talk(LanguageModel(tiny_model(), tiny.tiny_tokenizer("chatml")), **sampling)
    with stub_server(stub_model) as stub:
        their_said, theirs = talk(server(stub, folder), **sampling)
    assert their_said == replies and len(replies) == 12
    for (a,), (b,) in zip(ours, theirs, strict=True):
        assert (a.ids == b.ids).all() and (a.loss_mask == b.loss_mask).all()
        assert (a.turns, a.temperature, a.weight_version) == (b.turns, b.temperature, b.weight_version) and len(a.turns) == 3
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_games_can_be_trained_on(folder: Path):
    stub_model = TinyVLLM(str(folder))
    ours = play(LanguageModel(tiny_model(), tiny.tiny_tokenizer("chatml")))
    with stub_server(stub_model) as stub:
        theirs = play(server(stub, folder))
    assert [(p.state.utterances, p.turns, p.outcome) for p in theirs] == [(p.state.utterances, p.turns, p.outcome) for p in ours]
    assert all(segment.loss_mask.any() for p in theirs for segment in p.segments["attacker"])


def test_what_shapes_the_distribution_is_always_sent(folder: Path):
    """Else vLLM takes it from the model's generation_config.json."""
    with stub_server(TinyVLLM(str(folder))) as stub:
        model = server(stub, folder)
        ask(model, "Hi.", temperature=0.5, max_new_tokens=3, stop=("x",))
        body = stub.asked[-1].body
    shape = {"temperature": 0.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0, "max_tokens": 3, "min_tokens": 0, "stop": ["x"]}
    penalties = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    assert {name: body[name] for name in {**shape, **penalties}} == {**shape, **penalties}
    assert body["prompt"] == model.format.open([Message("user", "Hi.")])
    assert body["stop_token_ids"] == sorted(model.format.end_ids) and body["skip_special_tokens"] is False


def test_log_probabilities_that_cannot_be_trained_on_are_refused(folder: Path):
    with stub_server(TinyVLLM(str(folder), processed=False)) as stub:
        model = server(stub, folder)
        assert ask(model, "Hi.", temperature=1.0, max_new_tokens=2).tokens == 2
        for i, sampling in enumerate(({"temperature": 0.7}, {"top_k": 5}, {"min_new_tokens": 2})):
            with pytest.raises(ValueError, match="start it with --logprobs-mode processed_logprobs"):
                ask(model, "Hi.", stream=f"t{i}", **sampling)
    with stub_server(TinyVLLM(str(folder), processed=True)) as stub:
        model = server(stub, folder)
        for i in range(3):
            ask(model, "Hi.", stream=f"{i}", temperature=0.7, max_new_tokens=2)
        assert stub.paths == ["/v1/models"] + ["/v1/completions"] * 5
    with stub_server(TinyVLLM(str(folder), processed=False)) as stub:
        model = server(stub, folder)
        model.submit(Request(model, "s", (Message("user", "Hi."),), Sampling(0.7, max_new_tokens=2), 0, trainable=False))
        assert model.poll()[0][1].tokens == 2


def test_log_probabilities_are_asked_for_until_they_show_something(folder: Path):
    """After a prompt whose next token is nearly sure the question is still open."""
    stub_model = TinyVLLM(str(folder), processed=False)
    likeliest, sure = stub_model.likeliest, {"token_id:7": -0.01}
    with stub_server(stub_model) as stub:
        model = server(stub, folder)
        stub_model.likeliest = lambda body: sure
        for i in range(2):
            ask(model, "Hi.", stream=f"{i}", temperature=0.7, max_new_tokens=2)
        stub_model.likeliest = likeliest
        with pytest.raises(ValueError, match="start it with --logprobs-mode processed_logprobs"):
            ask(model, "Hi.", stream="t", temperature=0.7)


def test_the_likeliest():
    assert read_likeliest({"choices": [{"logprobs": {"top_logprobs": [{"a": -2, "b": -1}]}}]}) == -1.0
    odd = [{"top_logprobs": []}, *({"top_logprobs": [{"a": value}]} for value in (float("nan"), -(10**400), 10**400, "x", None))]
    for body in (None, {}, {"choices": [{"logprobs": {"top_logprobs": [{}]}}]}, *({"choices": [{"logprobs": one}]} for one in odd)):
        with pytest.raises(ValueError, match="no log-probabilities as vLLM gives them"):
            read_likeliest(body)


def test_a_stream_that_is_full_gets_an_empty_reply(folder: Path):
    with stub_server(TinyVLLM(str(folder))) as stub:
        model = server(stub, folder)
        assert ask(model, "Hi.", max_new_tokens=2).tokens == 2
        reply = ask(model, "word " * 400)
        assert (reply.text, reply.finish, reply.tokens) == ("", "length", 0)
        assert stub.paths.count("/v1/completions") == 1
        model.submit(Request(model, "s", (Message("user", "Hm?"),), Sampling(), 0))
        model.close("s")
        assert model.poll() == []
        with pytest.raises(ValueError, match=r"v: the first prompt takes \d+ tokens, but the context holds 256"):
            ask(model, "word " * 400, stream="t")


def _without_ids(body, asked):
    del body["choices"][0]["token_ids"]
    return body


def _with(**fields):
    def change(body, asked):
        body["choices"][0].update(fields)
        return body

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda body, asked: {},
        lambda body, asked: HANG,
        _without_ids,
        _with(logprobs=None),
        _with(finish_reason="abort"),
        _with(finish_reason=None),
        _with(token_ids=[-1]),
        _with(token_ids=["1"]),
        _with(token_ids=[1] * 99),
        _with(logprobs={"token_logprobs": [None] * 6}),
        _with(token_ids=[1], logprobs={"token_logprobs": [float("nan")]}),
        _with(token_ids=[1], logprobs={"token_logprobs": [2.0]}),
        _with(token_ids=[1], logprobs={"token_logprobs": [float("-inf")]}),
        _with(token_ids=[1], logprobs={"token_logprobs": [-(10**400)]}),
        _with(token_ids=[1], logprobs={"token_logprobs": [-1e308]}),
        _with(token_ids=[1], logprobs={"token_logprobs": ["-1"]}),
        _with(token_ids=[10**6], logprobs={"token_logprobs": [-1.0]}),
        _with(token_ids=[10**400], logprobs={"token_logprobs": [-1.0]}),
        _with(token_ids=[1] * 7, logprobs={"token_logprobs": [-1.0] * 7}),
        _with(token_ids=[1] * 100_000, logprobs={"token_logprobs": [-1.0] * 100_000}),
    ],
)
def test_what_is_no_completion_voids_the_game(folder: Path, change):
    with stub_server(TinyVLLM(str(folder), change)) as stub:
        (p,) = play(server(stub, folder, request_seconds=1.5), n=1)
        assert stub.paths.count("/v1/completions") == 2
    assert p.outcome.reason == VOID and not any(p.segments.values())


def test_the_last_id_of_the_vocabulary_is_one(folder: Path):
    size = len(tiny.tiny_tokenizer("chatml"))
    for last, finish in ((size - 1, "length"), (size, "error")):
        with stub_server(
            TinyVLLM(str(folder), _with(token_ids=[last], logprobs={"token_logprobs": [-9999.0]}, finish_reason="length"))
        ) as stub:
            assert ask(server(stub, folder), "Hi.", max_new_tokens=1).finish == finish


def test_a_reply_that_says_the_key_voids_the_game(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Ids are kept as they were sampled: nothing can be taken out of them."""
    monkeypatch.setenv("VLLM_API_KEY", "sk-hidden-99")
    ids = tiny.tiny_tokenizer("chatml")("It is SK-hidden-99.", add_special_tokens=False)["input_ids"]
    say = _with(token_ids=ids, logprobs={"token_logprobs": [-1.0] * len(ids)}, finish_reason="length")
    with stub_server(TinyVLLM(str(folder), say)) as stub:
        (p,) = play(server(stub, folder), n=1, max_new_tokens=len(ids))
    assert p.outcome.reason == VOID and not any(p.segments.values())


def test_a_failure_in_the_middle_leaves_the_stream_in_step(folder: Path):
    """Segments of a void game are never trained on, but they must not lie either."""
    with stub_server(TinyVLLM(str(folder), lambda body, asked: body if asked.number < 3 else {})) as stub:
        model = server(stub, folder)
        ask(model, "Hi.", max_new_tokens=4)
        ids = model.streams.ids("s")
        ask(model, "And?", max_new_tokens=4, temperature=1.0)
        assert ask(model, "So?").finish == "error"
        (segment,) = model.close("s")
    assert segment.ids[: len(ids)].tolist() == ids and len(segment.turns) == 2
    assert int(segment.loss_mask.sum()) == sum(span.end - span.start for span in segment.turns)


def test_a_changed_prompt_is_refused(folder: Path):
    with stub_server(TinyVLLM(str(folder), _with(prompt_token_ids=[1]))) as stub, pytest.raises(Refused, match="changed the prompt"):
        play(server(stub, folder))


def test_a_completion():
    choice = {"token_ids": [5, 6], "logprobs": {"token_logprobs": [-1, -0.5]}, "finish_reason": "stop"}
    assert read_completion({"choices": [choice]}, [1]) == Completion([5, 6], [-1.0, -0.5], "stop")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer({"object": "list", "data": [{"id": "a"}]}), "does not list its models as vLLM does"),
        (Answer([]), "does not list its models"),
        (Answer({"data": []}), "serves nothing"),
        (Answer({"data": [{"id": n, "max_model_len": 9} for n in "ab"]}), "serves 'a', 'b', none of which is"),
        (Answer({"data": [{"id": "a", "max_model_len": "9"}]}), "serves 'a', none of which"),
        (Answer({"data": [{"id": "a\x1b[2J", "max_model_len": None}]}), r"serves 'a\\x1b\[2J', none of which"),
        (Answer({"error": {"message": "no"}}, status=401), "a key is needed, in VLLM_API_KEY"),
    ],
)
def test_servers_that_do_not_fit(folder: Path, answer: Answer, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with stub_server(lambda asked: answer) as stub, pytest.raises(ValueError, match=message):
        ask(server(stub, folder), "Hi.")


def test_one_of_several_models_is_told_by_its_folder(folder: Path):
    entries = [{"id": "other", "root": "x", "max_model_len": 5}, {"id": "mine", "root": str(folder), "max_model_len": 7}]
    with stub_server(lambda asked: Answer({"data": entries})) as stub:
        served = server(stub, folder).served
    assert (served.model, served.max_length) == ("mine", 7)


def test_weights_from_a_folder(folder: Path, other: Path):
    stub_model = TinyVLLM(str(folder))
    with stub_server(stub_model) as stub:
        model = server(stub, folder)
        ask(model, "Hi.", max_new_tokens=3)
        model.load_weights(other, "round-1")
        assert model.weight_version == "round-1"
        ask(model, "And?", max_new_tokens=3)
        old, new = model.close("s")
    assert (old.weight_version, new.weight_version) == ("0", "round-1")
    assert new.ids[: len(old.ids)].tolist() == old.ids.tolist()
    assert stub_model.control == [
        ("/pause?mode=wait", None),
        ("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(other)}}),
        ("/reset_prefix_cache", None),
        ("/resume", None),
    ]


def test_weights_arrive_whole(folder: Path, other: Path):
    """The replies after an update are those of the other model: its head has come too, though it is tied."""
    replies, ours = talk(LanguageModel(tiny_model(1), tiny.tiny_tokenizer("chatml")))
    with stub_server(TinyVLLM(str(folder))) as stub:
        model = server(stub, folder)
        model.load_weights(other, "1")
        their_said, theirs = talk(model)
    assert their_said == replies
    for (a,), (b,) in zip(ours, theirs, strict=True):
        assert (a.ids == b.ids).all()
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_weights_without_their_head_are_refused(folder: Path, tmp_path: Path):
    stub_model = TinyVLLM(str(folder))
    with stub_server(stub_model) as stub:
        model = server(stub, folder)
        with pytest.raises(ValueError, match="ties its head to its embeddings and holds no"):
            model.load_weights(save(tmp_path, seed=1), "1")
        with pytest.raises(ValueError, match="cannot be read as a model folder"):
            model.load_weights(tmp_path / "none", "1")
        assert stub_model.control == [] and ask(model, "Hi.", max_new_tokens=2).tokens == 2


def test_weights_by_transfer(folder: Path):
    stub_model = TinyVLLM(str(folder))
    with stub_server(stub_model) as stub:
        model = server(stub, folder)
        model.open_transfer({"master_port": 1})
        model.transfer_weights([{"names": ["a"]}, {"names": ["b"]}], "2")
    assert [path for path, _ in stub_model.control] == [
        "/init_weight_transfer_engine",
        "/pause?mode=wait",
        "/start_weight_update",
        "/update_weights",
        "/update_weights",
        "/finish_weight_update",
        "/reset_prefix_cache",
        "/resume",
    ]
    bodies = [body for _, body in stub_model.control]
    assert bodies[0] == {"init_info": {"master_port": 1}}
    assert bodies[3:6] == [{"update_info": {"names": ["a"]}}, {"update_info": {"names": ["b"]}}, {"weight_version": "2"}]


@pytest.mark.parametrize("failing", ["/collective_rpc", "/reset_prefix_cache"])
def test_no_game_is_played_on_half_an_update(folder: Path, other: Path, failing: str):
    stub_model = TinyVLLM(str(folder))
    stub_model.failing = failing
    with stub_server(stub_model) as stub:
        model = server(stub, folder)
        with pytest.raises(Failed, match="broken"):
            model.load_weights(other, "1")
        assert model.weight_version == "0" and not stub_model.paused
        with pytest.raises(RuntimeError, match="an update of its weights failed halfway"):
            ask(model, "Hi.")
        stub_model.failing = ""
        model.load_weights(other, "1")
        assert ask(model, "Hi.", max_new_tokens=2).tokens == 2


def test_a_server_without_development_endpoints_is_told_apart(folder: Path, other: Path):
    with stub_server(lambda asked: Answer({"detail": "Not Found"}, status=404)) as stub:
        with pytest.raises(ValueError, match=r"has no /pause; start it with VLLM_SERVER_DEV_MODE=1"):
            server(stub, folder).load_weights(other, "1")
        assert len(stub.asked) == 1


def test_a_cache_that_stays_full_is_an_error(folder: Path, other: Path):
    with stub_server(lambda asked: Answer({"success": False} if "reset" in asked.path else {})) as stub:
        with pytest.raises(RuntimeError, match="did not empty its prefix cache"):
            server(stub, folder).load_weights(other, "1")
        assert stub.paths[-1] == "/resume"


def test_weights_do_not_change_under_replies_in_the_making(folder: Path, other: Path):
    with stub_server(TinyVLLM(str(folder), lambda body, asked: HANG)) as stub:
        model = server(stub, folder)
        model.submit(Request(model, "s", (Message("user", "Hi."),), Sampling(), 0))
        with pytest.raises(RuntimeError, match="1 replies are in the making"):
            model.load_weights(other, "1")
        assert model.close("s") == ()


def test_its_name(folder: Path):
    with stub_server(TinyVLLM(str(folder))) as stub:
        agent = resolve(f"vllm:{folder}@{stub.url}/v1/", sampling=Sampling(max_new_tokens=2))
        assert isinstance(agent, ModelAgent) and isinstance(agent.model, VLLMServer)
        assert agent.name == f"vllm:{folder}@{stub.url}/v1/" and agent.weight_version == "0"
        assert ask(agent.model, "Hi.", max_new_tokens=2).tokens == 2
    assert model_card("vllm:mini@http://a").max_new_tokens == 48
