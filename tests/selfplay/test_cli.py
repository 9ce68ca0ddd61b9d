"""The command line, as a person calls it."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.language_model import ModelAgent
from sparring.agents.player_card import PlayerCard
from sparring.envs.views import TABOO_BRIEF
from sparring.envs.words import band_words, curriculum, word_list
from sparring.selfplay import cli
from sparring.selfplay.cli import COMMANDS, main
from sparring.selfplay.cli_games import show_game
from sparring.selfplay.cli_matches import agents_of
from sparring.selfplay.progress import Quiet

SMALL = ["--rounds", "1", "--games-per-round", "4", "--group-size", "2", "--max-turns", "2", "--max-new-tokens", "6", "--replay-pool", "4"]


def sparring(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("sparring"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer("chatml")
    tiny_model(vocab=len(tokenizer), length=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    PlayerCard(TABOO_BRIEF, 6).save(folder)
    return folder


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the shipped command on a random model and a user's words."""
    root = tmp_path_factory.mktemp("cli")
    (root / "words.txt").write_text("river\nmountain\nwindow\ngarden\nbridge\ncastle\n")
    done = sparring(
        "train", "--model", model, "--words", root / "words.txt", *SMALL, "--evaluation.games", "2", "--out", root / "run", "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["folder"] == str(root / "run")
    assert summary["run"]["rounds"] == 1
    return root / "run"


def test_help_lists_every_command_and_is_quick_to_import():
    done = sparring("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    code = "import sys, sparring.selfplay.cli; sys.exit(' '.join({'torch', 'transformers', 'tyro', 'rich'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str):
    done = sparring(name, "--help")
    assert done.returncode == 0
    assert f"sparring {name}" in done.stdout


def test_the_help_of_train_shows_switches_as_they_are_given():
    shown = sparring("train", "--help").stdout
    assert "--compile {True,False}" in shown and "--no-compile" not in shown
    assert "compile: true" in sparring("train", "--compile", "True", "--print-config").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "--preset", "quik"], "did you mean 'quick'"),
        (["train", "--model", "./nowhere"], "no such model folder"),
        (["train", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["play", "--player", "silent", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["tournament", "silent", "mini", "--device", "gpu"], "unknown device 'gpu'"),
        (["bench", "mini", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["collect", "x.jsonl", "--teacher", "mini", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["train", "--resume", "nowhere"], "no such run folder"),
        (["train", "--resume", "nowhere", "--rounds", "3"], "leave the other options out"),
        (["train", "--rounds", "-1"], "rounds cannot be negative"),
        (["train", "--objective", "ppo"], "objective"),
        (["train", "--spag.token-ratio", "False"], "switches of objective spag"),
        (["train", "--objective", "spag", "--spag.detached-kl", "False"], "set learner.kl_form reward"),
        (["train", "--learner.anchor", "played", "--learner.kl-form", "exact"], "whole distributions"),
        (["train", "--objective", "dpo", "--group-size", "1"], "objective dpo compares games about the same word"),
        (["train", "--objective", "dpo", "--learner.beta", "0"], "learner.beta must be above 0"),
        (["train", "--objective", "spin", "--words", "common", "--evaluation.scripted", "False"], "spin needs experts"),
        (["train", "--seat", "defnder", "--opponent", "scripted"], "did you mean 'defender'"),
        (["train", "--seat", "defender"], "needs an opponent"),
        (["train", "--opponent", "scripted"], "plays against one seat"),
        (["train", "--drop", "tie"], "no outcome 'tie'"),
        (["train", "--rule", "lema"], "did you mean 'lemma'"),
        (["train", "--game", "TwentyQuestions"], "evaluation.scripted needs"),
        (["train", "--config", "nowhere.yaml"], "no such configuration file"),
        (["play", "--opponent", "nobody"], "unknown agent 'nobody'"),
        (["play", "--opponent", "scripted", "--words", "nonsense"], "unknown word list"),
        (["play", "--opponent", "scripted", "--games", "0"], "--games must be at least 1"),
        (["play", "--opponent", "scripted", "--show", "-1"], "--show at least 0"),
        (
            ["play", "--opponent", "scripted", "--role", "asker"],
            "unknown role 'asker'; the roles of AdversarialTaboo are attacker, defender",
        ),
        (["play", "--opponent", "silent", "--game", "Chess"], "unknown game 'Chess'"),
        (["play", "--opponent", "silent", "--game", "textarena:TicTacToe"], "'TicTacToe'"),
        (
            ["play", "--opponent", "silent", "--game", "textarena:TicTacToe-v0", "--words", "common"],
            "has no secret words; leave out --words",
        ),
        (["tournament", "silent", "random", "--game", "textarena:TicTacToe-v0", "--words", "everyday"], "has no secret words"),
        (["collect", "x.jsonl", "--game", "textarena:TicTacToe-v0", "--words", "everyday"], "has no secret words"),
        (
            [
                "train",
                "--game",
                "textarena:TicTacToe-v0",
                "--words",
                "common",
                "--imitation.steps",
                "0",
                "--evaluation.scripted",
                "False",
                "--evaluation.control",
                "False",
            ],
            "has no secret words",
        ),
        (["tournament", "silent", "random", "--game", "textarena:Mastermind-v0"], "Mastermind-v0"),
        (["play", "--opponent", "scripted", "--game", "TwentyQuestions"], "know the roles attacker and defender, not 'answerer'"),
        (["play", "--opponent", "silent", "--game", "TwentyQuestions", "--words", "common"], "take words from the list everyday"),
        (["tournament", "scripted"], "at least two players"),
        (["words", "--words", "nonsense"], "unknown word list 'nonsense'"),
        (["words", "--band", "5000-1000"], "got 5000-1000"),
        (["words", "--band", "1-60000"], "within 1-50000; got 1-60000"),
        (["words", "--split", "dev"], "unknown split 'dev'"),
        (["words", "--words", "everyday", "--band", "1-9"], "give one of them"),
        (["words", "--part", "verb"], "are for a --band"),
        (["bench", "scripted"], "no model"),
        (["train", "--temperature", "nan"], "temperature must be a finite number, got nan"),
        (["train", "--learner.lr", "nan"], "learner.lr must be a finite number, got nan"),
        (["train", "--learner.betas", "0.9", "inf"], "learner.betas must be a finite number, got inf"),
        (["train", "--learner.betas", "0.9", "1"], "learner.betas must be in [0, 1)"),
        (["train", "--learner.grad-clip", "0"], "learner.grad_clip must be above 0"),
        (["train", "--imitation.lr", "-1"], "imitation.lr cannot be negative"),
        (["train", "--alarms.ties", "nan"], "alarms.ties must be a finite number"),
        (["play", "--player", "silent", "--temperature", "nan"], "temperature must be a finite number, got nan"),
        (["play", "--player", "silent", "--temperature", "-1"], "temperature cannot be negative, got -1"),
        (["collect", "x.jsonl", "--temperature", "-0.5"], "temperature cannot be negative"),
        (["tournament", "silent", "random", "--temperature", "inf"], "temperature must be a finite number"),
        (["games", "nowhere"], "no such run folder"),
        (["report", "nowhere"], "nowhere: no such run folder"),
        (["bench", "mini", "--items", "0"], "--items must be at least 1"),
        (["bench", "mini", "mini@imitation", "--items", "3"], "--items must be at least 4 to compare two models"),
        (["train", "--model", "scripted"], "only language models can be trained"),
        (["export", "scripted", "x"], "no weights to export"),
        (["collect", "x.jsonl", "--teacher", "nobody"], "unknown agent 'nobody'"),
        (["collect", "x.jsonl", "--teacher", "human"], "need no keyboard"),
        (["collect", "x.jsonl", "--seat", "defender"], "against an --opponent"),
        (["collect", "x.jsonl", "--format", "preference", "--games", "2"], "play more games about each word"),
        (["collect", "README.md"], "choose a new file"),
        (["train", "--imitation.data", "nowhere.json", "--imitation.steps", "3"], "no such file of conversations"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    before = set(Path.cwd().iterdir())
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert set(Path.cwd().iterdir()) == before


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("damage", "arguments", "message"),
    [
        (without_tokenizer, [], "tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), [], "model.safetensors"),
        (None, ["--max-new-tokens", "5000"], "context holds 512 tokens"),
        (None, ["--out", "RUN"], "holds another run"),
        (None, ["--learner.lr", "1e-3", "--evaluation.gmes", "3"], "--evaluation.games"),
    ],
)
def test_what_a_run_cannot_begin_with_is_status_two(
    model: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage, arguments: list[str], message: str
):
    folder = shutil.copytree(model, tmp_path / "model")
    if damage is not None:
        damage(folder)
    before = sorted(path.stat().st_mtime_ns for path in run.rglob("*"))
    own = [str(run) if word == "RUN" else word for word in arguments]
    assert main(["train", "--model", str(folder), *SMALL[:-4], "--out", str(tmp_path / "new"), *own]) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert not (tmp_path / "new").exists()
    assert sorted(path.stat().st_mtime_ns for path in run.rglob("*")) == before


def test_a_full_disk_is_status_two(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert main(["train", "--model", str(model), *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert "disk has" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_that_says_nothing_is_reported_at_the_end_of_its_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    # Whatever it samples ends its reply.
    monkeypatch.setattr("sparring.agents.language_model._end_ids", lambda model: range(model.config.vocab_size))
    assert main(["train", "--model", str(model), *SMALL, "--evaluation.games", "2", "--out", str(tmp_path / "run")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing was said: the model does not play this game yet" in shown
    assert "How games against the frozen model ended" in shown and "silent 1.000 1.000" in shown


def test_games_are_printed_as_they_were_played(run: Path):
    done = sparring("games", run, "--count", "2")
    assert done.returncode == 0
    assert done.stdout.count("secret word:") == 2
    lines = sparring("games", run, "--json").stdout.splitlines()
    assert [json.loads(line)["schema"] for line in lines] == [1, 1, 1]


def test_a_report_can_be_written_anew(run: Path):
    (run / "report.html").unlink()
    done = sparring("report", run, "--json")
    assert json.loads(done.stdout) == {"report": str(run / "report.html")}
    assert (run / "report.html").is_file()


def test_an_exported_model_is_a_plain_transformers_folder(run: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = sparring("export", f"{run}@latest", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.vocab_size >= len(tokenizer)
    assert "sparring" in (tmp_path / "out" / "README.md").read_text()
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert len(set(modes.values())) == 1, f"whoever may read one may read all: {modes}"
    assert sparring("export", f"{run}@1", tmp_path / "out").returncode == 2


def test_players_meet_in_games_and_tournaments(run: Path):
    done = sparring(
        "play",
        "--player",
        f"{run}@0",
        "--role",
        "attacker",
        "--opponent",
        "scripted",
        "--games",
        "2",
        "--show",
        "1",
        "--max-turns",
        "2",
        "--json",
    )
    found = json.loads(done.stdout)
    assert len(found["games"]) == 2, "JSON holds all, whatever is shown"
    assert {cell["seat"] for cell in found["cells"]} == {"attacker", "defender"}
    done = sparring("tournament", "scripted", "silent", f"{run}@latest", "--games", "2", "--max-turns", "2", "--json")
    found = json.loads(done.stdout)
    assert len(found["pairs"]) == 12
    assert {p["player"] for p in found["players"]} == {"scripted", "silent", f"{run}@latest"}


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """What a person sees who plays a game and types some lines."""

    def play(text: str, *arguments: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(["play", "--games", "1", *arguments]) == 0
        return capsys.readouterr().out

    return play


def test_a_person_can_play_either_seat(typed):
    shown = typed("It is sour.\n", "--role", "attacker", "--opponent", "silent")
    assert "You are the attacker." in shown
    assert "  attacker: It is sour." in shown
    assert "silent, the attacker wins" in shown
    shown = typed("I know the word! It is a zebra.\n", "--opponent", "scripted:hinter")
    assert "You are the defender." in shown
    assert "declared_wrong, the attacker wins: [I know the word! It is a zebra.]" in shown


def test_a_person_can_play_the_other_game(typed):
    shown = typed("Hm.\n", "--game", "TwentyQuestions", "--role", "answerer", "--opponent", "random")
    assert "You are the answerer." in shown
    assert "foul, the asker wins: [Hm.]" in shown


def test_what_decided_a_game_is_highlighted():
    console = Console(force_terminal=True, color_system="standard", width=200, record=True, file=io.StringIO())
    said = [{"role": "attacker", "text": "Tea\x1b[2J?"}, {"role": "defender", "text": "I like a lemon in it."}]
    evidence = {"turn": 1, "start": 9, "end": 14, "matched": "lemon"}
    outcome = {"winner": "attacker", "reason": "uttered", "evidence": evidence}
    show_game(console, {"task": {"secret": "lemon"}, "utterances": said, "outcome": outcome})
    written = console.export_text(styles=True)
    assert "I like a \x1b[1;7mlemon\x1b[0m in it." in written
    assert "uttered, the attacker wins: [lemon]" in written
    assert "\x1b[2J" not in written and "Tea\ufffd[2J?" in written


def test_a_person_plays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Is it a fruit?\nI know the word! It is a zebra.\n"))
    assert main(["play", "--role", "defender", "--opponent", "scripted", "--games", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Play the game of Adversarial Taboo.")
    assert told.count("defender (you): ") == 2
    assert "-- declared_wrong, the attacker wins: [I know the word! It is a zebra.]" in told
    assert told.endswith("attacker won 1, defender won 0, ties 0\n")


def test_word_lists_are_printed(capsys: pytest.CaptureFixture[str]):
    assert main(["words", "--band", "1000-5000", "--split", "heldout"]) == 0
    printed = capsys.readouterr().out.split("\n")[:-1]
    assert tuple(printed) == word_list("band:1000-5000@heldout")
    assert main(["words", "--words", "everyday,band:1-2000", "--json"]) == 0
    lists = json.loads(capsys.readouterr().out)["lists"]
    assert [tuple(entry["words"]) for entry in lists] == list(curriculum("everyday,band:1-2000"))
    assert main(["words", "--band", "1000-5000", "--profane", "--count"]) == 0
    assert int(capsys.readouterr().out) == len(band_words(1000, 5000, profane=True))


def test_a_teachers_talk_is_collected_and_imitated(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["collect", str(tmp_path / "talk.json"), "--format", "spag-rows", "--prompts", "brief", "--games", "12", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["games"] == 12 and found["entries"] > 0 and found["void"] == 0
    train = ["train", "--model", str(model), "--imitation.steps", "2", "--imitation.data", str(tmp_path / "talk.json"), "--rounds", "0"]
    assert main([*train, "--imitation.minibatch", "4", "--evaluation.games", "0", "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["imitation_steps"] == 2
    assert "imitation.data" in json.loads((tmp_path / "run" / "provenance.json").read_text())["inputs"]


@pytest.mark.parametrize("command", ["play", "tournament", "collect"])
def test_commands_that_play_say_how_far_they_are_and_how_full_batches(
    command: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = []

    class Bar(Quiet):
        @contextmanager
        def phase(self, title: str, total: int, unit: str = "games"):
            yield lambda steps=1, tokens=0, occupancy=None: told.append((title, total, steps, tokens, occupancy))

    monkeypatch.setattr("sparring.selfplay.progress.Shown", Bar)
    who = {
        "play": ["--player", str(model), "--opponent", "scripted"],
        "tournament": [str(model), "scripted"],
        "collect": [str(tmp_path / "x.jsonl"), "--teacher", str(model), "--opponent", "scripted"],
    }[command]
    assert main([command, *who, "--games", "4", "--max-turns", "2", "--temperature", "1"]) == 0
    total = 4 if command == "play" else 8
    assert [(title, of, steps) for title, of, steps, _, _ in told] == [(command, total, 1)] * total
    assert sum(tokens for *_, tokens, _ in told) > 0
    assert all(0 < filled <= 1 for *_, filled in told[-3:])


def test_the_memory_of_caches_is_bounded_and_shared_by_the_models_that_play(model: Path, tmp_path: Path):
    other = str(shutil.copytree(model, tmp_path / "other"))
    whole = agents_of({"attacker": str(model)}, 1.0, "cpu")["attacker"].model.loop.memory_bound()
    gib = whole / 4 / 2**30
    for names, share in (((str(model), "scripted"), 1), ((str(model), str(model)), 1), ((str(model), other), 2)):
        agents = agents_of(dict(zip(("attacker", "defender"), names, strict=True)), 1.0, "cpu", gib)
        bounds = [agent.model.loop.memory_bound() for agent in agents.values() if isinstance(agent, ModelAgent)]
        assert all(whole / 16 / share < bound <= whole / 4 / share for bound in bounds)


@pytest.mark.parametrize("command", [["play", "--player"], ["tournament", "scripted"], ["collect", "x.jsonl", "--teacher"]])
def test_too_little_memory_is_said(command: list[str], model: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*command, str(model), "--max-memory", "0.000001"]) == 2
    assert "are the least" in capsys.readouterr().err
    assert main([*command, str(model), "--max-memory", "-1"]) == 2
    assert "max_memory cannot be negative, got -1" in capsys.readouterr().err


def test_a_reader_may_stop_early():
    command = [sys.executable, "-c", "from sparring.selfplay.cli import entry; entry()", "words", "--band", "1-50000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "time\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_config_file_is_taken_and_can_be_overridden(run: Path, tmp_path: Path):
    done = sparring("train", "--config", run / "config.yaml", "--seed", "3", "--out", tmp_path / "again", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["seed"] == 3


def test_the_everyday_test_compares_two_models(model: Path):
    done = sparring("bench", model, model, "--items", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(d["mean"] == 0 for d in found["difference"].values())


def test_settings_can_be_printed_and_taken_back(model: Path, tmp_path: Path):
    printed = sparring("train", "--model", model, "--rounds", "3", "--learner.lr", "2e-4", "--print-config")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    again = sparring("train", "--config", tmp_path / "mine.yaml", "--print-config")
    assert again.stdout == printed.stdout
    assert "rounds: 3\n" in printed.stdout
    assert "  lr: 0.0002\n" in printed.stdout


def test_a_dry_run_says_what_a_run_would_need_and_writes_nothing(model: Path, tmp_path: Path):
    out = tmp_path / "run"
    done = sparring("train", "--model", model, "--rounds", "1", "--games-per-round", "16", "--out", out, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["round"]["utterances_at_most"] == 16 * 10
    assert found["memory_bytes"]["weights"] == 2 * 4 * found["model"]["parameters"]
    assert found["memory_bytes"]["training"] == 12 * found["model"]["parameters"], "float32: gradients and Adam's two averages"
    assert not out.exists()
    whole = found["memory_bytes"]["cache_at_most"]
    gib = whole / 2 / 2**30
    bounded = sparring("train", "--model", model, "--rounds", "1", "--max-memory", str(gib), "--out", out, "--dry-run", "--json")
    assert bounded.returncode == 0, bounded.stderr
    assert 0 < json.loads(bounded.stdout)["memory_bytes"]["cache_at_most"] <= gib * 2**30
    small = sparring("train", "--model", model, "--rounds", "1", "--max-memory", "0.000001", "--out", out, "--dry-run")
    assert small.returncode == 2
    assert "max_memory 1e-06 GiB is shared by two models" in small.stderr
    assert "are the least" in small.stderr


def test_bytes_that_are_no_text_are_read_as_the_character_for_such(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9?\n"), encoding="utf-8"))
    heard: list[str] = []
    monkeypatch.setattr(cli, "main", lambda: heard.append(input()) or 0)
    with pytest.raises(SystemExit):
        cli.entry()
    assert heard == ["caf\ufffd?"]
