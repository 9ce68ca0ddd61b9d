"""The speed benchmark, in very small: all loops play whole games by the same rules."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.engine import kernels
from sparring.agents.models.gguf import load_gguf
from sparring.agents.players.player_card import PlayerCard
from sparring.benchmarks.reliability.gguf_files import byte_level, write
from sparring.benchmarks.speed import generation as speed
from sparring.benchmarks.speed import roofline
from sparring.benchmarks.speed.common import Work
from sparring.benchmarks.speed.llama_cpp import interleaved, named
from sparring.benchmarks.speed.llama_server import as_kind
from sparring.benchmarks.speed.loops import ENGINES, LOOPS, USUAL
from sparring.benchmarks.speed.processes import Team, highest_memory, together
from sparring.benchmarks.speed.profile import by_kind
from sparring.benchmarks.speed.random_models import MEAN_REPLY, random_model
from sparring.envs.games.prompts import TABOO_BRIEF


@pytest.fixture
def config(tmp_path: Path) -> speed.SpeedConfig:
    tokenizer = tiny_tokenizer("chatml", pad_token="<|endoftext|>")
    tiny_model(vocab=len(tokenizer), length=512).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    PlayerCard(TABOO_BRIEF, 6, True).save(tmp_path)
    return speed.SpeedConfig(model=str(tmp_path), games=4, runs=1, batches=(2, 4), device="cpu")


class Here(Team):
    """A team whose members are this process, one after the other: starting processes takes seconds."""

    def __init__(self, processes, prepare):
        self.processes = processes
        self.settings = [replace(prepare(), share=(number, processes)) for number in range(processes)]

    def ask(self, function, *args, **kwargs):
        return [function(setting, *args, **kwargs) for setting in self.settings]

    def close(self):
        pass


def test_all_loops_are_measured_on_whole_games(config: speed.SpeedConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "Team", Here)
    found = speed.measure(replace(config, many=5, processes=(1, 2)))
    assert set(found["ratios"]) == {"spag_loop", "continuous_batching"}
    assert found["ratios"]["spag_loop"] == found["tokens_per_second"]["ours"] / found["tokens_per_second"]["spag_loop"]
    for name, runs in found["runs"].items():
        way = found["ways"][name]
        assert way["batch"] in (2, 4) and way["processes"] in (1, 2) and way["tokens_per_second"] > 0
        assert way["peak_mib"] >= way["loaded_mib"] > 0
        assert len(runs) == 1
        assert runs[0]["games"] == 4
        assert runs[0]["utterances"] >= 4
        assert 0 < runs[0]["tokens"] <= 6 * runs[0]["utterances"]
        assert min(found["phases"][name].values()) > 0
    least = found["limit"]
    assert least["total_seconds"] == pytest.approx(least["products_seconds"] + least["keys_values_seconds"])
    assert least["share"] == pytest.approx(least["total_seconds"] / least["seconds"])
    spent = found["profile"]
    assert min(seconds for kind, seconds in spent.items() if kind != "layers") > 0 or spent["layers"] > 0
    assert sum(seconds for kind, seconds in spent.items() if kind != "profiled") == pytest.approx(spent["profiled"])
    assert abs(found["mismatch_kl"]) < 1e-6
    assert set(found["seconds_per_game"]) == {"500", "5"}


def test_operations_count_by_their_kind():
    times = [("aten::mm", 1.0), ("aten::addmm", 2.0), ("aten::bmm", 4.0), ("aten::copy_", 8.0), ("aten::mul", 16.0)]
    times += [("kernels.attend", 32.0), ("kernels.copy", 64.0), ("kernels.body", 128.0), ("kernels.linear", 256.0)]
    assert by_kind(times) == {"products": 259.0, "layers": 128.0, "attention": 36.0, "moving": 72.0, "others": 16.0}


def test_what_our_loop_computed_is_counted(config: speed.SpeedConfig):
    setting = speed.prepare(config)
    run = LOOPS["ours"](setting, 3, 3)
    assert run.work is not None
    assert run.work.drawn == run.tokens
    assert run.work.rows < run.tokens <= run.work.rows + run.utterances, "the first token of a reply comes with its prompt"
    assert run.work.attended > run.tokens
    assert run.work.prefilled > run.utterances


def test_all_engines_answer_and_say_how_long_it_took(config: speed.SpeedConfig):
    setting = speed.prepare(config)
    for name in USUAL:
        assert ENGINES[name](setting, [[5, 6, 7], [8, 9]], 3) > 0, name


def test_processes_play_shares_of_the_same_games(config: speed.SpeedConfig):
    team = Team(2, partial(speed.prepare, config))
    try:
        shares = team.play("ours", 3, 2, 7)
        assert [run.games for run in shares] == [2, 1]
        assert shares[0].seconds == shares[1].seconds
        assert min(team.ask(highest_memory)) > 0
    finally:
        team.close()
    alone = Here(1, partial(speed.prepare, config)).play("ours", 3, 2, 7)
    assert [together(shares).tokens, together(shares).utterances] == [alone[0].tokens, alone[0].utterances]
    assert together(shares).games == 3 and together(shares).work != shares[0].work


def test_random_models_speak_known_tokens_and_end(monkeypatch: pytest.MonkeyPatch):
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    monkeypatch.setitem(random_model.__globals__["SHAPES"], "small", small)
    monkeypatch.setitem(random_model.__globals__["VOCABULARY"], "small", 2000)
    model, card = random_model("small", torch.device("cpu"))
    probs = model.model(input_ids=torch.tensor([[1, 2]])).logits[0, -1].detach().softmax(-1)
    assert float(probs[model.tokenizer.eos_token_id]) == pytest.approx(1 / MEAN_REPLY, rel=0.3)
    assert float(probs[len(model.tokenizer) :].sum()) == 0
    assert card.max_new_tokens == 4 * MEAN_REPLY
    with pytest.raises(ValueError, match="unknown size '3M'; known: 15M"):
        random_model("3M", torch.device("cpu"))


def test_the_limit_grows_with_the_work(config: speed.SpeedConfig):
    model = speed.prepare(config).model.model
    for dtype in (torch.float32, torch.bfloat16):
        one = roofline.seconds(model, Work(steps=10, rows=40, prefilled=40, drawn=45, attended=1000), 64, dtype)
        ten = roofline.seconds(model, Work(steps=10_000, rows=40_000, prefilled=40_000, drawn=45_000, attended=1_000_000), 64, dtype)
        assert ten["products"] > 10 * one["products"] > 0
        assert one["total"] == one["products"] + one["keys_values"]


def test_a_measurement_ends_in_its_time():
    calls: list[int] = []
    device = torch.device("cpu")
    assert roofline.timed(lambda: calls.append(1), device) < 0.1
    assert len(calls) == 23
    calls.clear()
    roofline.timed(lambda: calls.append(1), device, most=0.0)
    assert len(calls) == 6, "three that are not counted, and three that are"


def test_large_models_are_played_without_long_trials(config: speed.SpeedConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "Team", Here)
    monkeypatch.setattr(speed, "LARGE", 1000)
    played: list[tuple[str, int, int]] = []
    play = Here.play
    monkeypatch.setattr(Here, "play", lambda self, *given: (played.append(given[:3]), play(self, *given))[1])
    found = speed.measure(replace(config, batches=(), loops=("ours", "spag_loop"), max_new_tokens=3, dtype="bfloat16"))
    assert played == [(name, 4, 4) for name in ("ours", "spag_loop")] * 2, "once to warm up, and one run"
    assert found["phases"] == {} and found["products"] == ("bfloat16" if kernels.AVAILABLE else "float32")
    assert all(run["tokens"] <= 3 * run["utterances"] for runs in found["runs"].values() for run in runs)
    speed.show(found)


def test_a_file_s_weights_are_rewritten_in_another_type(tmp_path: Path):
    path = write(tmp_path / "whole.gguf", "llama", byte_level())
    model, other = load_gguf(path, dtype="float32"), load_gguf(as_kind(path, "BF16"), dtype="float32")
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(two, one.bfloat16().float() if one.ndim > 1 else one), name
    assert as_kind(path.rename(tmp_path / "named.Q8_0.gguf"), "Q8_0") == tmp_path / "named.Q8_0.gguf"


@pytest.mark.parametrize(
    "bad", [{"loops": ("ours", "theirs")}, {"loops": ("spag_loop",)}, {"games": 0}, {"model": "random:3M"}, {"batches": (0,)}]
)
def test_settings_without_sense_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        speed.SpeedConfig(**bad)


def test_weights_are_turned_and_named_for_llama_cpp():
    model = tiny_model()
    weights = named(model.state_dict(), tied=True)
    layers = model.config.num_hidden_layers
    assert len(weights) == 9 * layers + 2 and "output.weight" not in weights
    assert torch.equal(weights["blk.1.ffn_down.weight"], model.model.layers[1].mlp.down_proj.weight)
    assert interleaved(torch.arange(8.0)[:, None], 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
