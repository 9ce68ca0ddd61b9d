"""The loop on a random model: equal runs, resumed runs, controls, and what it refuses."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import LEARNER, NO_EVALUATION, Heard, Interrupting, files, small_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import save_tiny

from sparring.agents.engine import kernels
from sparring.agents.models import precision
from sparring.agents.names import checkpoint_folder, checkpoint_model
from sparring.selfplay.config.config import EvaluationConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.config.presets import preset
from sparring.selfplay.config.yaml_io import load
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.interrupts import Stopped
from sparring.selfplay.storage import checkpoint
from sparring.selfplay.storage.episodes import read_episodes
from sparring.selfplay.storage.folder import read_lines


@pytest.fixture(scope="module")
def run(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    train(small_run(model, folder))
    return folder


def test_a_run_leaves_what_it_promises(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    assert [r["round"] for r in summary["rounds"]] == [1, 2]
    assert {e["round"] for e in summary["win_rates"]} == {0, 2}
    assert {e["opponent"] for e in summary["win_rates"]} == {"initial", "scripted"}
    assert {e["words"] for e in summary["win_rates"]} == {"sft", "rl", "heldout", "all"}
    assert len(list(read_episodes(run / "rounds" / "001" / "games.jsonl.gz"))) == 8
    assert (run / "report.html").stat().st_size > 1000
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("kl")] == [event.step for event in board.Tensors("games/text_summary")] == [1, 2]
    times = read_lines(run / "timings.jsonl")
    assert len(times) == 2
    assert [t["games_per_second"] * t["play_seconds"] for t in times] == [pytest.approx(8)] * 2
    assert board.Scalars("tokens_per_second")[1].value == pytest.approx(times[1]["sampled_tokens"] / times[1]["play_seconds"])
    assert summary["rounds"][0]["mismatch_kl"] == pytest.approx(0, abs=1e-6)
    assert all(0 < r["occupancy"] <= 1 for r in summary["rounds"])
    for number in (0, 1, 2):
        assert (checkpoint_model(run, number) / "model.safetensors").is_file()


def test_every_metric_is_explained(run: Path):
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([^`]+)`", page))
    records = read_lines(run / "metrics.jsonl") + read_lines(run / "timings.jsonl")
    names = {re.sub(r"^(attacker|defender)/", "ROLE/", name) for r in records for name in r}
    assert {name for name in names if name not in explained and name.removeprefix("ROLE/") not in explained} == {"round"}


def test_equal_runs_are_equal_bytes(run: Path, model: str, tmp_path: Path):
    train(small_run(model, tmp_path / "again"))
    assert files(run) == files(tmp_path / "again")


def test_another_seed_is_another_run(run: Path, model: str, tmp_path: Path):
    train(small_run(model, tmp_path / "other", seed=1))
    assert files(run)["rounds/001/games.jsonl.gz"] != files(tmp_path / "other")["rounds/001/games.jsonl.gz"]


@pytest.mark.parametrize("stop", ["play", "learn"])
def test_a_stopped_run_resumes_to_the_same_bytes(run: Path, model: str, tmp_path: Path, stop: str):
    folder = tmp_path / "stopped"

    with pytest.raises(Stopped, match="--resume"):
        train(small_run(model, folder), progress=Interrupting(f"round 2/2: {stop}"))
    assert not (folder / "summary.json").exists()
    resume(folder)
    assert files(folder) == files(run)


@pytest.mark.skipif(kernels.instructions() == kernels.WIDENED, reason="needs a CPU with AVX512_BF16")
def test_a_run_that_plays_in_bfloat16_keeps_float32_weights_and_resumes_to_the_same_bytes(
    run: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What a trial decided when it began holds for the run."""
    monkeypatch.setattr(precision, "LARGE", 0)
    monkeypatch.setattr(precision, "gain", lambda: 2.0)
    train(small_run(model, tmp_path / "whole", evaluation=NO_EVALUATION))
    with pytest.raises(Stopped, match="--resume"):
        train(small_run(model, tmp_path / "stopped", evaluation=NO_EVALUATION), progress=Interrupting("round 2/2: learn"))
    monkeypatch.setattr(precision, "gain", lambda: 1.0)
    resume(tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    config = (tmp_path / "whole" / "config.yaml").read_text()
    assert "dtype: bfloat16" in config and "dtype: auto" in (run / "config.yaml").read_text()
    weights = load_file(checkpoint_model(tmp_path / "whole", 2) / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert 1e-9 < read_lines(tmp_path / "whole" / "metrics.jsonl")[0]["mismatch_kl"] < 1e-3


def test_a_damaged_round_is_done_again_to_the_same_bytes(run: Path, tmp_path: Path):
    folder, heard = Path(shutil.copytree(run, tmp_path / "run")), Heard()
    path = checkpoint_model(folder, 2) / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    resume(folder, progress=heard)
    assert "model.safetensors is damaged or missing: round 2 is done again" in heard.said[0]
    assert {name: data for name, data in files(folder).items() if "damaged" not in name} == files(run)


def test_what_a_pruning_that_was_killed_left_behind_is_pruned(run: Path, tmp_path: Path):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (checkpoint_folder(folder, 0) / "trainer.pt").write_bytes(b"no longer in the manifest")
    resume(folder)
    assert files(folder) == files(run)


def test_a_run_from_the_latest_round_of_another_resumes_from_that_round(run: Path, tmp_path: Path):
    source = Path(shutil.copytree(run, tmp_path / "source"))
    latest = {"model": f"{source}@latest", "role": "defender", "opponent": f"{source}@latest", "evaluation": NO_EVALUATION}
    train(small_run(out=tmp_path / "whole", **latest))
    with pytest.raises(Stopped):
        train(small_run(out=tmp_path / "stopped", **latest), progress=Interrupting("round 2/2: play"))
    shutil.copytree(checkpoint_folder(source, 0), checkpoint_folder(source, 3))  # it has gone on
    resume(tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")
    made = load(tmp_path / "stopped" / "config.yaml", TrainConfig)
    assert made.model == made.opponent == f"{source}@2"


def test_what_a_run_came_from_is_needed_until_its_first_checkpoint(run: Path, tmp_path: Path):
    source = Path(shutil.copytree(run, tmp_path / "source"))
    made = small_run(f"{source}@2", tmp_path / "run", evaluation=NO_EVALUATION)
    train(replace(made, out=tmp_path / "whole"))
    early = replace(made, sft=SFTConfig(steps=1, minibatch=4, games=4), out=tmp_path / "early")
    against = replace(made, role="defender", opponent=f"{source}@2", out=tmp_path / "against")
    for one, phase in ((made, "round 1/2: play"), (early, "sft"), (against, "round 1/2: play")):
        with pytest.raises(Stopped):
            train(one, progress=Interrupting(phase))
    shutil.rmtree(source)
    resume(tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"early has no checkpoint yet and needs the model .* begin with: .*source: no such run folder"):
        resume(tmp_path / "early")
    with pytest.raises(ValueError, match=r"there is no opponent to play against: .*source: no such run folder"):
        resume(tmp_path / "against")


def test_an_interrupted_update_plays_no_game_again(run: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "run"

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "update", interrupt)
        with pytest.raises(Stopped):
            train(small_run(model, folder))
    assert (folder / "rounds" / "001" / "streams.npz").is_file()
    with monkeypatch.context() as patched:
        patched.setattr("sparring.selfplay.run.rollouts.play_all", interrupt)
        with pytest.raises(Stopped):
            resume(folder)
    assert checkpoint_model(folder, 1).is_dir(), "learnt from the games that were there, and was stopped when it played round 2"
    assert not list(folder.rglob("streams.npz")), "dropped once the update is safe"
    resume(folder)
    assert files(folder) == files(run)


def test_damaged_streams_are_played_again(run: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, heard = tmp_path / "run", Heard()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", full_from_round(1))
        with pytest.raises(OSError, match="what was saved before is whole, continue with: sparring train --resume"):
            train(small_run(model, folder))
    streams = folder / "rounds" / "001" / "streams.npz"
    streams.write_bytes(streams.read_bytes()[:-100])
    resume(folder, progress=heard)
    assert any("the games of round 1 are played anew" in text for text in heard.said)
    assert files(folder) == files(run)


def full_from_round(first: int):
    """Saves until the disk is full."""
    save = checkpoint.save

    def saved(run: Path, number: int, *rest) -> None:
        if number >= first:
            raise OSError(28, "No space left on device")
        save(run, number, *rest)

    return saved


@pytest.mark.parametrize(
    "file", ["games.jsonl.gz", "streams.npz", "metrics.jsonl", "trainer.pt", "round-002.json", "summary.json", "report.html"]
)
def test_a_run_goes_on_after_a_full_disk_to_the_same_bytes(
    run: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
):
    """The second time that the file comes to the disk, where there is one, there is no room."""
    left = 1 if file in ("round-002.json", "summary.json", "report.html") else 2

    def fsync(descriptor: int, flush=os.fsync) -> None:
        nonlocal left
        left -= file in os.readlink(f"/proc/self/fd/{descriptor}")
        if left == 0:
            left = -1
            raise OSError(28, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="what was saved before is whole, continue with: sparring train --resume"):
        train(small_run(model, tmp_path / "run"))
    resume(tmp_path / "run")
    assert files(tmp_path / "run") == files(run)


@pytest.mark.parametrize("method", ["spag-corrected", "rae", "turns", "shuffled(group)", "winning-expert"])
def test_other_methods_run(model: str, tmp_path: Path, method: str, dealt: None):
    options = {} if method == "winning-expert" else {"drop_reasons": "none"}
    summary = train(
        small_run(model, tmp_path / "run", rounds=1, evaluation=EvaluationConfig(games=0), method=method, method_options=options)
    )
    (record,) = summary.data["rounds"]
    assert record["steps"] > 0 and record["grad_norm"] > 0, "something is learnt"
    assert summary.data["run"]["method"] == method


@pytest.mark.parametrize("name", ["spag-faithful", "spag-corrected", "rae"])
def test_presets_of_objectives_run(model: str, tmp_path: Path, name: str, dealt: None):
    made = preset(name, model)
    learner = replace(made.learner, minibatch=4)
    small = {"games_per_round": 8, "game_options": {**made.game_options, "max_turns": "2"}, "max_new_tokens": 8, "rounds": 2}
    options = {} if name == "rae" else {"drop_reasons": "none"}
    given = replace(made, **small, method_options=options, learner=learner, evaluation=NO_EVALUATION, out=tmp_path / "run")
    rounds = train(given).data["rounds"]
    assert len(rounds) == 2
    for record in rounds:
        assert record["steps"] >= 1
        if name == "spag-faithful":
            assert "mismatch_kl" not in record, "compared with its own scores, the learner cannot differ from the sampler"
        else:
            assert record["mismatch_kl"] == pytest.approx(0, abs=1e-6), "the ratio is 1 right after sampling"


@pytest.mark.parametrize(("method", "reference"), [("dpo", "initial"), ("ipo", "behaviour"), ("spin", "initial")])
def test_methods_of_pairs_run_and_explain_their_metrics(model: str, tmp_path: Path, method: str, reference: str, dealt: None):
    made = small_run(model, tmp_path / "run", method=method, evaluation=NO_EVALUATION)
    rounds = train(replace(made, learner=replace(made.learner, reference=reference))).data["rounds"]
    assert all(record["pairs"] > 0 and record["entropy"] > 0 for record in rounds)
    assert not {"sampling/importance_sampling_ratio/max", "mismatch_kl"} & rounds[0].keys(), "there is no ratio to a sampler"
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([^`]+)`", page)) | {"round"}
    names = {re.sub(r"^(attacker|defender)/", "ROLE/", name) for record in rounds for name in record}
    assert all(name in explained or name.removeprefix("ROLE/") in explained for name in names)


@pytest.mark.parametrize("role", ["attacker", "defender"])
def test_one_role_is_trained_against_a_fixed_opponent(model: str, tmp_path: Path, role: str):
    other, opponent = ("defender", model) if role == "attacker" else ("attacker", "scripted:hinter")
    made = small_run(model, tmp_path / "run", rounds=1, role=role, opponent=opponent, evaluation=NO_EVALUATION)
    (record,) = train(made).data["rounds"]
    assert f"{role}/kl" in record and f"{other}/kl" not in record
    games = list(read_episodes(tmp_path / "run" / "rounds" / "001" / "games.jsonl.gz"))
    assert {game.players[other]["agent"] for game in games} == {opponent}


def test_imitation_comes_before_round_one_and_the_control_after(model: str, tmp_path: Path):
    summary = train(
        small_run(
            model,
            tmp_path / "run",
            rounds=1,
            sft=SFTConfig(steps=3, minibatch=8, games=20),
            evaluation=EvaluationConfig(games=2, control=True, scripted=False),
        )
    )
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[0]["sft_steps"] == 3
    assert len(summary.data["control"]["win_rates"]) == 8
    measured = tmp_path / "run" / "evaluation" / "control.json"
    whole = measured.read_bytes()
    measured.write_text(json.dumps({**json.loads(whole), "rounds": 7}))
    resume(tmp_path / "run")
    assert measured.read_bytes() == whole, "one of as many rounds as the run has"


def test_a_control_arm_takes_as_many_tokens_as_the_run_it_is_like(run: Path, model: str, tmp_path: Path):
    summary = train(
        small_run(model, tmp_path / "run", method="expert", method_options={"like": str(run)}, evaluation=EvaluationConfig(games=0))
    )
    like = [r["trained_tokens"] for r in read_lines(run / "metrics.jsonl")]
    own = [r["trained_tokens"] for r in summary.data["rounds"]]
    assert all(0 <= mine - theirs < 200 for mine, theirs in zip(own, like, strict=True))


TALKS = (("Begin.", "It is red."), ("It is red.", "I know the word! It is apple."), ("It is red.", "Do you know what it is?"))
"""Demonstrations of a user, so that a random model first speaks at all."""


@pytest.mark.parametrize(("kind", "template"), [("llama", "llama3"), ("qwen3", "gemma"), ("gpt2", None), ("qwen2", "llama2")])
def test_any_causal_model_runs_on_a_users_words(kind: str, template: str | None, tmp_path: Path):
    place = save_tiny(tmp_path / "model", kind, template, length=512, everyday=False)
    words = tmp_path / "words.txt"
    words.write_text("river\nmountain\nwindow\ngarden\n")
    mix = tmp_path / "chats.jsonl"
    chats = [[{"role": "user", "content": said}, {"role": "assistant", "content": reply}] for said, reply in TALKS]
    mix.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    summary = train(
        small_run(
            place,
            tmp_path / "run",
            rounds=1,
            words=str(words),
            heldout=0.25,
            sft_mix=SFTMixConfig(source=str(mix)),
            max_new_tokens=24,
            games_per_round=16,
            sft=SFTConfig(steps=100, minibatch=8, lr=1e-2),
        )
    )
    assert summary.data["run"]["word_counts"] == {"sft": 3, "rl": 0, "heldout": 1}
    record = summary.data["rounds"][0]
    assert record["truth"] is None
    unended = sum(record["reasons"].get(reason, 0) for reason in ("overlong", "silent"))
    assert unended <= record["games"] / 2, "it has learnt to play games to an end"
    assert record["grad_norm"] > 0 and record["policy_loss"] != 0, "there is something to learn from"


def test_a_run_that_cannot_be_resumed_loses_nothing(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    good = config.read_text()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and path != config}
    config.write_text(good.replace("device: auto", "device: nonsense"))
    with pytest.raises(ValueError, match="device is 'nonsense' and was 'auto'"):
        resume(tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_a_curriculum_brings_in_its_lists_one_by_one(model: str, tmp_path: Path):
    lists = {"one.txt": {"lemon", "piano"}, "two.txt": {"horse", "chair"}}
    for name, words in lists.items():
        (tmp_path / name).write_text("\n".join(words))
    names = ",".join(str(tmp_path / name) for name in lists)
    made = small_run(
        model,
        tmp_path / "run",
        words=names,
        heldout=0.0,
        sft_mix=SFTMixConfig(source="none"),
        evaluation=EvaluationConfig(games=1, control=False),
    )
    summary = train(replace(made, group_size=2))
    played = [{game.task.secret for game in read_episodes(tmp_path / "run" / "rounds" / f"00{n}" / "games.jsonl.gz")} for n in (1, 2)]
    assert played == [lists["one.txt"], lists["one.txt"] | lists["two.txt"]]
    assert {entry["words"] for entry in summary.data["win_rates"]} == {"list-1", "list-2", "all"}
    (tmp_path / "two.txt").write_text("horse\nchair\ntable")
    with pytest.raises(ValueError, match="the file of words, is gone or has changed"):
        resume(tmp_path / "run")


def test_a_game_of_textarena_can_be_trained_on(tmp_path: Path):
    pytest.importorskip("textarena", reason="needs the extra textarena")
    model = save_tiny(tmp_path / "model", length=2048, everyday=False)
    evaluation = EvaluationConfig(games=0, control=False, scripted=False)
    made = small_run(
        model, tmp_path / "run", game="textarena:KuhnPoker-v0-short", rounds=1, sft_mix=SFTMixConfig(source="none"), evaluation=evaluation
    )
    summary = train(replace(made, games_per_round=4, group_size=2, game_options={"max_turns": "1"}))
    games = list(read_episodes(tmp_path / "run" / "rounds" / "001" / "games.jsonl.gz"))
    assert len(games) == 4 and len({game.task.seed for game in games}) == 2
    assert [game.replayed().outcome for game in games] == [game.outcome for game in games]
    assert summary.data["rounds"][0]["games"] == 4


def test_a_model_that_says_nothing_ends_its_run_and_is_reported(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Whatever it samples ends its reply.
    monkeypatch.setattr("sparring.agents.models.language_model._end_ids", lambda model: range(model.config.vocab_size))
    summary = train(small_run(model, tmp_path / "run", rounds=1))
    assert summary.data["rounds"][0]["reasons"] == {"silent": 8}
    assert any("nothing was said" in note for note in summary.data["notes"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "./nowhere"}, "no such model folder"),
        ({"words": "nonsense"}, "unknown word list"),
        ({"prompts": "nonsense"}, "unknown prompts"),
        ({"game": "Chess"}, "unknown game"),
        ({"max_new_tokens": 5000}, "context holds 512 tokens"),
        ({"sft_mix": SFTMixConfig(source="nowhere.jsonl")}, "no such file of conversations"),
        ({"role": "defender", "opponent": "nobody"}, "unknown agent 'nobody'"),
        ({"role": "defender", "opponent": "scripted:blunt"}, "unknown style"),
        ({"role": "defender", "opponent": "human"}, "plays by itself"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(model: str, tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        train(small_run(changes.pop("model", model), tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_an_opponent_whose_context_is_too_short_is_named_and_nothing_is_written(model: str, tmp_path: Path):
    short = save_tiny(tmp_path / "short", length=24)
    with pytest.raises(ValueError, match=r"short: the context holds 24 tokens, but the rules take \d+ and an utterance up to 8"):
        train(small_run(model, tmp_path / "run", role="defender", opponent=short))
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused(run: Path, model: str):
    before = files(run)
    with pytest.raises(ValueError, match="holds another run"):
        train(small_run(model, run))
    assert files(run) == before


def test_a_full_disk_is_seen_before_the_run(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ValueError, match="disk has"):
        train(small_run(model, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"learner": replace(LEARNER, kl=0.0)}, {"learner": replace(LEARNER, reference="behaviour")}])
def test_no_second_model_is_loaded_where_nobody_asks_for_it(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict):
    monkeypatch.setattr("sparring.selfplay.run.session.Session.first_model", lambda *_: pytest.fail("it was loaded"))
    train(small_run(model, tmp_path / "run", rounds=1, evaluation=NO_EVALUATION, **changes))
    assert read_lines(tmp_path / "run" / "metrics.jsonl")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_going_on_without_an_optimiser_says_what_is_lost(model: str, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "AVAILABLE", False)  # with which weights on a CPU stay float32
    train(small_run(model, tmp_path / "run", rounds=1, dtype=dtype, evaluation=NO_EVALUATION))
    folder, config = checkpoint_folder(tmp_path / "run", 1), tmp_path / "run" / "config.yaml"
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["trainer.pt"]  # as pruning does
    (folder / "manifest.json").write_text(json.dumps(manifest))
    config.write_text(config.read_text().replace("rounds: 1\n", "rounds: 2\n"))
    heard = Heard()
    resume(tmp_path / "run", progress=heard)
    (said,) = [text for text in heard.said if text.startswith("the optimiser of round 1 was not kept")]
    assert ("the float32 weights that were trained are made from the model's rounded ones" in said) == (dtype == "bfloat16")
