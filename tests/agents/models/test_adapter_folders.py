"""LoRA adapters in one batch: every stream says what it would say through its own adapter alone, merged or not."""

import json
from pathlib import Path

import peft
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from sparring.agents.core import Sampling
from sparring.agents.engine.loop import HFLoop
from sparring.agents.models.adapter_folders import load_adapter, lora_layers
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.names import model_card, model_location, resolve
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Match, play_all
from sparring.envs.core import Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft, when it makes adapters
END = 5
KINDS = ["llama", "qwen3", "mistral", "llama in blocks"]


def model_of(kind: str):
    """In blocks its heads are of 16 numbers, which the compiled kernel takes."""
    name, _, blocks = kind.partition(" in ")
    return tiny.tiny_model(name, **({"hidden_size": 64} if blocks else {}))


def save_adapter(kind: str, folder: Path, seed: int, **options) -> Path:
    """A random adapter of a tiny model, large enough to change what is said."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False, **options}
    peft.get_peft_model(model_of(kind), peft.LoraConfig(**settings)).save_pretrained(folder)
    return folder


def merged(kind: str, folder: Path):
    """The model with an adapter worked into its weights, by peft."""
    return peft.PeftModel.from_pretrained(model_of(kind), folder).merge_and_unload().eval()


@pytest.fixture(scope="module", params=KINDS)
def adapters(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, [save_adapter(request.param, folder / f"{i}", i, r=4 + i) for i in range(2)]


def talk(loop: HFLoop, streams: dict[str, str | None], turns: int = 2) -> dict[str, tuple[list[int], list[float]]]:
    """Two turns of several streams that begin alike: ids and log-probabilities of each."""
    logprobs: dict[str, list[float]] = {name: [] for name in streams}
    for turn in range(turns):
        for number, (name, adapter) in enumerate(streams.items()):
            prompt = [9, 8, 7, 6, 9, 8, 7, 6, 30 + turn]
            loop.submit(name, prompt, Sampling(max_new_tokens=6), 100 * turn + number, adapter=adapter)
        left = len(streams)
        while left:
            for done in loop.poll():
                logprobs[done.stream] += done.logprobs.tolist()
                left -= 1
    return {name: (loop.ids(name), logprobs[name]) for name in streams}


def test_streams_of_several_adapters_in_one_batch(adapters: tuple[str, list[Path]]):
    kind, folders = adapters
    model = model_of(kind)
    for name, folder in zip("ab", folders, strict=True):
        load_adapter(model, folder, name)
    streams: dict[str, str | None] = {"0": None, "1": "a", "2": "b", "3": "a", "4": None, "5": "b"}
    together = talk(HFLoop(model, end_ids=frozenset({END})), streams)
    alone = {None: model_of(kind), "a": merged(kind, folders[0]), "b": merged(kind, folders[1])}
    for number, (name, adapter) in enumerate(streams.items()):
        loop = HFLoop(alone[adapter], end_ids=frozenset({END}))
        expected: list[float] = []
        for turn in range(2):
            loop.submit(name, [9, 8, 7, 6, 9, 8, 7, 6, 30 + turn], Sampling(max_new_tokens=6), 100 * turn + number)
            expected += loop.poll()[0].logprobs.tolist()
        assert together[name][0] == loop.ids(name), f"{name} through {adapter}"
        assert together[name][1] == pytest.approx(expected, abs=1e-4)
    assert together["1"][0] != together["2"][0]


def test_what_is_active_outside_is_left_as_it_was(adapters: tuple[str, list[Path]]):
    kind, folders = adapters
    model = model_of(kind)
    load_adapter(model, folders[0], "a")
    ids = torch.tensor([[9, 8, 7]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
    wanted = [(name, p.requires_grad) for name, p in model.named_parameters()]
    talk(HFLoop(model, end_ids=frozenset({END})), {"0": None, "1": "a"}, turns=1)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, before)
    assert [(name, p.requires_grad) for name, p in model.named_parameters()] == wanted
    assert not any(layer._forward_hooks for layer in lora_layers(model))


def test_a_stream_keeps_to_its_adapter(adapters: tuple[str, list[Path]]):
    kind, folders = adapters
    model = model_of(kind)
    load_adapter(model, folders[0], "a")
    loop = HFLoop(model, end_ids=frozenset({END}))
    talk(loop, {"0": "a"}, turns=1)
    with pytest.raises(ValueError, match="goes through adapter a, not None"):
        loop.submit("0", [7], Sampling(), 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"use_dora": True}, "only plain LoRA .* has use_dora"),
        ({"target_modules": ["lm_head"]}, "an adapter of the head"),
        ({"target_modules": ["embed_tokens"]}, "an adapter of the head"),
        ({"bias": "all"}, "with bias all"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(tied|embedding).*")
def test_adapters_that_cannot_be_mixed_are_refused(tmp_path: Path, options, said: str):
    folder = save_adapter("untied", tmp_path / "adapter", 0, **options)
    with pytest.raises(ValueError, match=said):
        load_adapter(tiny.tiny_model("untied"), folder, "a")


def test_folders_that_hold_no_adapter_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no adapter folder: it has no adapter_config.json"):
        load_adapter(tiny.tiny_model(), tmp_path, "a")
    folder = save_adapter("llama", tmp_path / "adapter", 0)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"no adapter_model.safetensors"):
        load_adapter(tiny.tiny_model(), folder, "a")
    (folder / "adapter_model.bin").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match="cannot be read: it holds no object"):
        load_adapter(tiny.tiny_model(), folder, "a")


def test_adapters_as_players(tmp_path: Path):
    tokenizer = tiny.tiny_tokenizer("chatml")
    base = tmp_path / "base"
    tiny.tiny_model("llama", vocab=len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    torch.manual_seed(1)
    settings = peft.LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
    peft.get_peft_model(tiny.tiny_model("llama", vocab=len(tokenizer)), settings).save_pretrained(tmp_path / "late")
    models: dict = {}
    sampling = Sampling(max_new_tokens=4)
    plain = resolve(str(base), models=models, sampling=sampling, renderer=TABOO_BRIEF)
    late = resolve(f"{base}+{tmp_path / 'late'}", models=models, sampling=sampling, renderer=TABOO_BRIEF)
    assert isinstance(plain, ModelAgent)
    assert isinstance(late, ModelAgent)
    assert plain.model is late.model
    assert isinstance(late.model, LanguageModel)
    assert model_card(late.name) == model_card(str(base))
    game = AdversarialTaboo(max_turns=2, max_characters=10_000)
    match = Match("0", game, Task("0", "lemon", "lemon", 0), {"attacker": late, "defender": plain}, 0)
    episodes = play_all([match])[0]
    assert {s.adapter for s in episodes.segments["attacker"]} == {late.adapter} != {None}
    assert {s.adapter for s in episodes.segments["defender"]} <= {None}
    with pytest.raises(ValueError, match="through an adapter"):
        model_location(late.name)
    with pytest.raises(ValueError, match="is no adapter folder"):
        resolve(f"{base}+{base}", models=models)


def broken_adapter(folder: Path, how: str) -> Path:
    save_adapter("llama", folder, 0)
    weights = load_file(folder / "adapter_model.safetensors")
    first = next(iter(weights))
    if how == "lacks":
        weights.pop(first)
    elif how == "strange":
        weights["base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"] = torch.zeros(4, 32)
    elif how == "shape":
        weights[first] = torch.zeros(3, 3)
    elif how == "nan":
        weights[first][0, 0] = torch.nan
    save_file(weights, folder / "adapter_model.safetensors")
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings |= {"rank": {"r": "x"}, "targets": {"target_modules": ["nonesuch"]}, "head": {"target_modules": ["lm_head"]}}.get(how, {})
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("others", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("how", ["lacks", "strange", "shape", "nan", "rank", "targets", "head"])
def test_a_refused_adapter_leaves_nothing_behind(how: str, others: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    model = tiny.tiny_model("untied", vocab=366)
    playing = LanguageModel(model, tiny.tiny_tokenizer())
    good = save_adapter("untied", tmp_path / "good", 1)
    if others:
        playing.load_adapter(good)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    wanted = model(torch.arange(9)[None]).logits
    bad = broken_adapter(tmp_path / "bad", how)
    following = save_adapter("untied", tmp_path / "next", 2)
    capfd.readouterr()
    with pytest.raises(ValueError, match=r"the adapter in .* does not fit LlamaForCausalLM: ") as refusal:
        playing.load_adapter(bad)
    assert "\n" not in str(refusal.value)
    assert {name for name, _ in model.named_parameters()} == set(before)
    assert list(getattr(model, "peft_config", {})) == (["adapter0"] if others else [])
    assert torch.equal(model(torch.arange(9)[None]).logits, wanted)
    assert playing.load_adapter(following) == f"adapter{int(others)}"
    shown = capfd.readouterr().err
    assert "MISSING" not in shown and "Loading weights" not in shown
