"""Agent names: each form means what it says, and what means nothing is refused with what is near."""

import json
import shutil
from pathlib import Path

import pytest
import tiny

from sparring.agents.core import Sampling
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.manifest import MANIFEST, digests
from sparring.agents.names import (
    _split_adapter,
    checkpoint_folder,
    checkpoint_model,
    checkpoint_rounds,
    is_model,
    local_folders,
    model_card,
    model_location,
    pinned,
    resolve,
    with_sampling,
)
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.player_card import MINI_CARD, PlayerCard, load_card
from sparring.envs.games.prompts import TABOO_BRIEF, TABOO_PROMPTS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny.tiny_tokenizer("chatml")
    tiny.tiny_model("llama", vocab=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for number in (0, 2, 11):
        shutil.copytree(model, checkpoint_model(folder, number))
        MINI_CARD.save(checkpoint_model(folder, number))
        checkpoint = checkpoint_folder(folder, number)
        (checkpoint / MANIFEST).write_text(json.dumps(digests(checkpoint)))
    return folder


def test_players_without_weights():
    for name in ("scripted", "scripted:hinter", "scripted:hasty", "random", "silent"):
        agent = resolve(name)
        assert agent.name == name and agent.weight_version is None and not is_model(name)


def test_a_style_must_fit_its_role():
    assert resolve("scripted:hinter", role="attacker").name == "scripted:hinter"
    with pytest.raises(ValueError, match="unknown style 'hinter' for the defender"):
        resolve("scripted:hinter", role="defender")
    with pytest.raises(ValueError, match="did you mean 'hinter'"):
        resolve("scripted:hintre")
    with pytest.raises(ValueError, match="names no style"):
        resolve("scripted:")


def test_a_model_folder(model: Path):
    agent = resolve(str(model))
    assert isinstance(agent, ModelAgent) and is_model(str(model))
    assert agent.name == str(model)
    assert agent.renderer == TABOO_PROMPTS and agent.sampling == Sampling(max_new_tokens=256)


def test_models_of_a_run(run: Path):
    assert checkpoint_rounds(run) == (0, 2, 11)
    models: dict[str, LanguageModel] = {}
    second = resolve(f"{run}@2", models=models)
    latest = resolve(f"{run}@latest", models=models)
    assert isinstance(latest, ModelAgent) and isinstance(second, ModelAgent)
    assert latest.renderer == TABOO_BRIEF and latest.sampling.max_new_tokens == 48
    assert resolve(f"{run}@11", models=models).model is latest.model  # type: ignore[attr-defined]
    assert len(models) == 2


def test_the_latest_round_of_a_run_can_be_named_for_good(run: Path):
    for name, meant in (
        (f"{run}@latest", f"{run}@11"),
        (f"{run}@latest+folder/adapter", f"{run}@11+folder/adapter"),
        (f"vllm:{run}@latest@http://host/v1", f"vllm:{run}@11@http://host/v1"),
    ):
        assert pinned(name) == meant
    for name in (f"{run}@2", "nowhere@latest", "mini@imitation", "scripted", "openai:m@latest@http://host/v1", "hf:some/model@latest"):
        assert pinned(name) == name


def test_missing_rounds_are_refused(run: Path, tmp_path: Path, model: Path):
    with pytest.raises(ValueError, match=r"has no round '3'; it has 0, 2, 11 and latest"):
        resolve(f"{run}@3")
    with pytest.raises(ValueError, match="is a run folder: say which"):
        resolve(str(run))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="no finished checkpoint"):
        resolve(f"{tmp_path}@latest")
    with pytest.raises(ValueError, match="is no run folder"):
        resolve(f"{model}@3")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minni", "did you mean 'mini'"),
        ("mini@imitatoin", "did you mean 'mini@imitation'"),
        ("silnt", "did you mean 'silent'"),
        ("./nowhere", "no such model folder"),
        ("./nowhere@3", "nowhere: no such run folder, so './nowhere@3' means nothing"),
        ("nowhere@latest", "nowhere: no such run folder"),
        ("hf:", "needs the id"),
        ("openai:gpt", "needs a model and the address of a server, as in openai:gpt@http"),
        ("openai:@http://a", "needs a model"),
        ("openai:m@ftp://a", "needs a model and the address"),
        ("openai:m@http://me:hidden@a", "put keys into environment variables"),
        ("vllm:./nowhere@http://a", "no such model folder"),
        ("", "an agent is one of"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        resolve(name)


def test_folders_that_hold_no_model(tmp_path: Path):
    with pytest.raises(ValueError, match="is no model folder"):
        resolve(str(tmp_path))


def test_with_sampling(model: Path):
    agent = with_sampling(resolve(str(model)), temperature=0.5)
    assert isinstance(agent, ModelAgent) and agent.sampling == Sampling(temperature=0.5, max_new_tokens=256)
    silent = resolve("silent")
    assert with_sampling(silent, temperature=0.5) is silent


def test_cards(tmp_path: Path):
    assert load_card(tmp_path) == PlayerCard()
    card = PlayerCard(TABOO_BRIEF, 17, True)
    card.save(tmp_path)
    assert load_card(tmp_path) == card and card.everyday
    saved = json.loads((tmp_path / "player.json").read_text())
    for wrong in (
        "{}",
        "[" * 5000,
        json.dumps({**saved, "system": {"attacker": "{word.__class__}"}}),
        json.dumps({**saved, "system": {"attacker": "{word:>99}"}}),
        json.dumps({**saved, "system": {"attacker": 5}}),
        json.dumps({**saved, "opening": None}),
        json.dumps({**saved, "max_new_tokens": float("inf")}),
    ):
        (tmp_path / "player.json").write_text(wrong)
        with pytest.raises(ValueError, match="cannot read this player's card"):
            load_card(tmp_path)


def test_servers_are_models_without_weights():
    name = "openai:org/m@v1@https://host/v1"
    agent = resolve(name)
    assert isinstance(agent, ModelAgent) and is_model(name)
    assert agent.name == name and agent.weight_version is None and agent.model.model == "org/m@v1"  # type: ignore[attr-defined]
    assert model_card(name) == PlayerCard() and agent.sampling == Sampling(max_new_tokens=256)
    models: dict = {}
    assert resolve(name, models=models).model is resolve(name, models=models).model  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="plays from a server; this needs a model whose weights are here"):
        model_location(name)


def test_the_card_of_a_hub_model_is_plain():
    assert model_card("hf:some/model") == PlayerCard()


def test_a_plus_in_the_name_of_a_folder_is_no_adapter(run: Path, model: Path, tmp_path: Path):
    inside = tmp_path / "x+y" / "a+b@c"
    shutil.copytree(run, inside)
    adapter = tmp_path / "p+q" / "adapter"
    adapter.mkdir(parents=True)
    for name, round_number in (("11", 11), ("latest", 11), ("0", 0)):
        assert model_location(f"{inside}@{name}") == str(checkpoint_model(inside, round_number))
    assert pinned(f"{inside}@latest") == f"{inside}@11"
    assert _split_adapter(f"{inside}@2+{adapter}") == (f"{inside}@2", str(adapter))
    assert _split_adapter(f"mini+{adapter}") == ("mini", str(adapter))
    assert _split_adapter(f"mini+{tmp_path / 'gone'}") == ("mini", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="has no round '7'; it has 0, 2, 11 and latest"):
        model_location(f"{inside}@7")
    with pytest.raises(ValueError, match=r"x\+y/gone: no such run folder"):
        model_location(f"{tmp_path / 'x+y' / 'gone'}@3")


def test_copies_of_checkpoints_are_no_rounds(run: Path, tmp_path: Path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    for name in (
        "round-002 copy",
        "round-002-copy",
        "round-002.bak",
        "round-0002",
        "round-03",
        "round-",
        "round-\u0663\u0663\u0663",
        "002",
    ):
        shutil.copytree(checkpoint_folder(run, 2), copy / "checkpoints" / name)
    assert checkpoint_rounds(copy) == (0, 2, 11)


def test_the_folders_of_a_model_are_those_that_are_here(run: Path, model: Path, tmp_path: Path):
    assert local_folders(f"{run}@latest") == [checkpoint_model(run, 11)]
    assert local_folders(f"{model}+{tmp_path}") == [model, tmp_path]
    gone = ("hf:a/b", "scripted", "random", f"{tmp_path}/gone", f"{tmp_path}/gone@2", "openai:m@http://127.0.0.1:1/v1", None)
    assert [local_folders(spec) for spec in gone] == [[]] * len(gone)
