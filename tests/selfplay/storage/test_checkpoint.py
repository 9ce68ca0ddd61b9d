"""Checkpoints: whole or absent whatever fails, refused when damaged, harmless to read."""

import hashlib
import json
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import checkpoint_folder, checkpoint_model, checkpoint_rounds, resolve
from sparring.agents.players.player_card import PlayerCard
from sparring.selfplay.storage import checkpoint
from sparring.selfplay.storage.export import export


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    tokenizer = tiny_tokenizer()
    return LanguageModel(tiny_model(vocab=len(tokenizer)), tokenizer)


def save(run: Path, number: int, model: LanguageModel) -> None:
    trainer = {"optimizer": {"state": {0: {"exp_avg": torch.full((100,), float(number))}}, "param_groups": []}}
    checkpoint.save(run, number, model, PlayerCard(), trainer, {"baselines": {"attacker": 0.1 * number}})


@pytest.fixture(scope="module")
def three_rounds(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for number in range(3):
        save(folder, number, model)
    return folder


@pytest.fixture
def run(three_rounds: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three_rounds, tmp_path / "run"))


def test_what_is_saved_is_read_again(run: Path):
    trainer, state = checkpoint.load(checkpoint_folder(run, 2))
    assert trainer["optimizer"]["state"][0]["exp_avg"].tolist() == [2.0] * 100
    assert state == {"round": 2, "baselines": {"attacker": 0.2}}
    assert checkpoint.newest(run) == (2, [])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("file", ["trainer.pt", "state.json", "manifest.json", "model/model.safetensors", "model/config.json"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(run: Path, file: str, damage):
    damage(checkpoint_folder(run, 2) / file)
    number, (said,) = checkpoint.newest(run)
    assert number == 1
    assert file.split("/")[-1] in said and "round 2 is done again" in said
    assert checkpoint_rounds(run) == (0, 1)
    assert (run / "checkpoints" / "damaged-round-002").is_dir(), "a person may want to look at it"


@pytest.mark.parametrize("text", ["[]", "{}", '{"trainer.pt": "0"}', '"', ""])
def test_a_manifest_that_is_none_is_refused(run: Path, text: str):
    (checkpoint_folder(run, 2) / "manifest.json").write_text(text)
    assert checkpoint.newest(run)[0] == 1


def test_a_manifest_that_names_no_model_is_refused(run: Path):
    folder = checkpoint_folder(run, 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    for gone, said in (("model/model.safetensors", "names no weights"), ("model/config.json", "names no model/config.json")):
        (folder / "manifest.json").write_text(json.dumps({name: of for name, of in manifest.items() if name != gone}))
        (folder / gone).rename(run / "away")
        with pytest.raises(ValueError, match=said):
            checkpoint.verify(folder)
        (run / "away").rename(folder / gone)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.verify(folder) == manifest


@pytest.mark.parametrize("name", ["model/adapter_config.json", "model/code/model.py", "optimizer.pt"])
def test_a_file_that_was_put_there_later_is_refused(run: Path, name: str):
    path = checkpoint_folder(run, 2) / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    with pytest.raises(ValueError, match="none of the checkpoint's files"):
        checkpoint.verify(checkpoint_folder(run, 2))
    assert checkpoint.newest(run)[0] == 1


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("note", False), ("notes.txt", False), ("model/README.md", False), ("model/my plan.json", False), ("state copy.json", False),
        ("trainer.pt.bak", False), ("model/config (1).json", False), ("model (copy)/code/model.py", False), ("model/Thumbs.db", False),
        ("model/vocab.txt", True), ("model/chat_template.jinja", True), ("model/tokenizer.model", True), ("model/pytorch_model.bin", True),
    ],
)  # fmt: skip
def test_notes_and_copies_are_left_alone_where_nothing_would_read_them(run: Path, name: str, harm: bool):
    path = checkpoint_folder(run, 2) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    assert checkpoint.newest(run)[0] == (1 if harm else 2)
    assert checkpoint.notes(run) == ([] if harm else [path])
    assert harm or (checkpoint_model(run, 2).is_dir() and path.is_file())


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000])
def test_a_damaged_manifest_of_an_earlier_round_is_no_end(run: Path, text: str):
    (checkpoint_folder(run, 1) / "manifest.json").write_text(text)
    assert checkpoint.newest(run) == (2, [])
    checkpoint.prune(run, 1)
    assert checkpoint_rounds(run) == (0, 1, 2)


def test_what_a_kill_may_leave_is_no_damage(run: Path):
    (checkpoint_folder(run, 2) / ".manifest.json.part").write_text("{")
    manifest = json.loads((checkpoint_folder(run, 2) / "manifest.json").read_text())
    del manifest["trainer.pt"]  # pruned, but the file is still there
    (checkpoint_folder(run, 2) / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.newest(run) == (2, [])


def put(path: Path) -> None:
    (path.parent / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize("damage", [flip, put])
def test_nobody_plays_with_or_exports_a_damaged_checkpoint(run: Path, tmp_path: Path, damage):
    assert load_language_model(checkpoint_model(run, 1), device="cpu")
    damage(checkpoint_model(run, 1) / "model.safetensors")
    for use in (
        lambda: resolve(f"{run}@1", device="cpu"),
        lambda: load_language_model(checkpoint_model(run, 1), device="cpu"),
        lambda: export(f"{run}@1", tmp_path / "exported"),
    ):
        with pytest.raises(ValueError, match=r"damaged or missing|none of the checkpoint's files"):
            use()
    assert resolve(f"{run}@2", device="cpu")


def test_without_its_first_model_a_run_cannot_go_on(run: Path):
    flip(checkpoint_folder(run, 0) / "model" / "model.safetensors")
    with pytest.raises(ValueError, match="cannot go on without its first model"):
        checkpoint.newest(run)
    assert checkpoint_rounds(run) == (0, 1, 2)


def test_a_run_whose_only_checkpoint_is_damaged_begins_anew(run: Path):
    for number in (1, 2):
        shutil.rmtree(checkpoint_folder(run, number))
    cut(checkpoint_folder(run, 0) / "state.json")
    number, said = checkpoint.newest(run)
    assert number is None and len(said) == 1


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_a_hostile_optimiser_is_not_executed(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run)
    folder = checkpoint_folder(run, 2)
    torch.save({"optimizer": Hostile()}, folder / "trainer.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["trainer.pt"] = hashlib.sha256((folder / "trainer.pt").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="holds what no checkpoint does"):
        checkpoint.load(folder)
    assert not (run / "hacked").exists()


def whole(run: Path) -> None:
    """Every checkpoint that a run would read is whole."""
    for number in checkpoint_rounds(run):
        checkpoint.verify(checkpoint_folder(run, number))


STEPS = [(os, "fsync"), (os, "rename"), (os, "replace"), (torch, "save"), (Path, "write_text"), (Path, "unlink"), (Path, "mkdir")]


def test_whatever_write_fails_nothing_that_was_safe_is_lost(run: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    before = (checkpoint_folder(run, 2) / "manifest.json").read_bytes()
    left = 0

    def failing(call):
        def attempt(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(28, "No space left on device")
            return call(*args, **kwargs)

        return attempt

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    failures = 0
    for nth in range(1, 100):
        left = nth
        try:
            save(run, 3, model)
            checkpoint.prune(run, 1)
        except OSError:
            failures += 1
        reached = left > 0
        left = 0
        whole(run)
        assert (checkpoint_folder(run, 2) / "manifest.json").read_bytes() == before
        assert checkpoint.newest(run) == (checkpoint_rounds(run)[-1], [])
        if reached:
            break
    assert failures > 20 and checkpoint_rounds(run) == (0, 2, 3)


def test_a_disk_that_is_full_in_the_middle_of_a_file(run: Path, model: LanguageModel):
    """Files can grow to a limit, wherever it falls: in the weights, the optimiser, the tokenizer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sizes = sorted(p.stat().st_size for p in checkpoint_folder(run, 2).rglob("*") if p.is_file())
    for limit in (0, *(size - 1 for size in sizes)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match=r"cannot be written|File too large"):
                save(run, 3, model)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        whole(run)
        assert checkpoint.newest(run) == (2, [])
        assert not list((run / "checkpoints").glob(".*")), "what was half written is gone"


def test_pruning_keeps_the_last_two_optimisers(run: Path, model: LanguageModel):
    save(run, 3, model)
    checkpoint.prune(run, 0)
    assert checkpoint_rounds(run) == (0, 1, 2, 3)
    assert [bool(checkpoint.load(checkpoint_folder(run, n))[0]) for n in range(4)] == [False, False, True, True]
    checkpoint.prune(run, 1)
    assert checkpoint_rounds(run) == (0, 2, 3)
