"""The check of a vLLM server, in very small, against a stub that is right and stubs that are not."""

from pathlib import Path

import pytest
from stub_server import stub_server
from tiny_vllm import TinyVLLM, save

from sparring.agents.players.player_card import PlayerCard
from sparring.benchmarks.reliability import vllm_check
from sparring.benchmarks.reliability.vllm_check import SETTINGS, VLLMCheckConfig, measure
from sparring.envs.games.prompts import TABOO_BRIEF


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = [save(tmp_path_factory.mktemp("model").resolve(), seed) for seed in range(2)]
    for folder in made:
        PlayerCard(TABOO_BRIEF, max_new_tokens=4).save(folder)
    return made


@pytest.fixture(autouse=True)
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_check, "SETTINGS", {name: SETTINGS[name] for name in ("plain", "cool", "together")})


def check(folders: list[Path], stub_model: TinyVLLM, **settings) -> dict:
    with stub_server(stub_model) as stub:
        return measure(VLLMCheckConfig(model=str(folders[0]), url=stub.url, games=1, device="cpu", **settings))


def test_a_server_that_agrees(folders: list[Path]):
    stub_model = TinyVLLM(str(folders[0]))
    found = check(folders, stub_model, other=str(folders[1]))
    assert found["provenance"]["vllm"] == "0.32.0+cpu"
    for same in (found["greedy"], found["repeated"], found["update"]["back_repeated"]):
        assert same["games_alike"] == 1 and same["utterances_alike"] == same["utterances"] > 0
    assert found["logprobs"].keys() == {"plain", "cool", "together"}
    for of in (*found["logprobs"].values(), found["update"]["beside_new"], found["update"]["back"]):
        assert of["tokens"] > of["outside"] == 0 and of["mean"] <= of["max"] < 1e-4
    assert found["update"]["versions"] == ["other"] and found["update"]["beside_old"]["max"] > 1e-2
    weights = [[name for name in folder.iterdir() if name.suffix == ".safetensors"] for folder in folders]
    assert [len(files) for files in weights] == [1, 1], "heads are written into copies"


def test_a_server_that_does_not(folders: list[Path]):
    """It serves other weights than it is taken to."""
    stub_model = TinyVLLM(str(folders[0]))
    stub_model.load(str(folders[1]))
    found = check(folders, stub_model)
    assert found["greedy"]["utterances_alike"] < found["greedy"]["utterances"]
    assert found["logprobs"]["plain"]["max"] > 1e-2
    assert found["update"] is None


def test_games_that_come_to_nothing_are_an_error(folders: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sparring.agents.servers.http_client._Exchange._pause", lambda *_: 0.0)
    with pytest.raises(ConnectionError, match="of 5 games came to nothing: the server failed"):
        check(folders, TinyVLLM(str(folders[0]), lambda body, asked: {} if asked.number > 2 else body))


def test_the_likeness_of_games_ends_where_they_part():
    assert [vllm_check._agreed(list("abc"), list(other)) for other in ("abc", "abx", "xbc", "ab", "")] == [3, 2, 0, 2, 0]


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="games must be at least 1, got 0"):
        VLLMCheckConfig(games=0)
