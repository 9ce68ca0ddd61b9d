"""The command line, as a person calls it."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from handmade import make_episode
from rich.console import Console
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.core import Sampling
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.player_card import PlayerCard
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.words.lists import band_words, curriculum, word_list
from sparring.selfplay.cli import main as cli
from sparring.selfplay.cli.common import guarded, print_json
from sparring.selfplay.cli.games import show_game
from sparring.selfplay.cli.main import COMMANDS, main
from sparring.selfplay.cli.matches import agents_of
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.config.yaml_io import flat
from sparring.selfplay.runtime.progress import Quiet
from sparring.selfplay.storage.episodes import write_episodes

SMALL = ["--rounds", "1", "--games-per-round", "4", "--group-size", "2", "--max-new-tokens", "6", "--game-options", "max_turns=2"]

AGAINST = [
    "train",
    "--role",
    "defender",
    "--opponent",
    "scripted",
    "--rounds",
    "1",
    "--evaluation.games",
    "0",
    "--evaluation.scripted",
    "False",
]
AGAINST += ["--evaluation.control", "False", "--sft-mix.source", "none"]
UNKNOWN = "scripted players know the nouns of the everyday world alone"


def sparring(*arguments: str | Path, cwd: Path | None = None, columns: int = 200) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("sparring"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": str(columns)})


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
    code = (
        "import sys, sparring.selfplay.cli.main\nsys.exit(' '.join({'torch', 'transformers', 'tyro', 'rich'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at once at the end", "line by line"])
@pytest.mark.parametrize("arguments", ["words --words everyday", "games {run}", "--version"])
def test_who_reads_the_output_may_have_seen_enough(arguments: str, unbuffered: str, few_games: Path):
    command = [Path(sys.executable).with_name("sparring"), *arguments.format(run=few_games).split()]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.fixture
def few_games(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "rounds" / "001").mkdir(parents=True)
    games = [make_episode(f"{i}", "Hm.\n  attacker: Hm.\x1b[2J", "I know the word! It is a pear.") for i in range(3)]
    write_episodes(tmp_path / "rounds" / "001" / "games.jsonl.gz", games)
    return tmp_path


def test_a_terminal_need_not_have_every_character(few_games: Path):
    command = [Path(sys.executable).with_name("sparring"), "games", few_games, "--count", "1"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"") and b"attacker: Hm.\\ufffd[2J" in done.stdout


def test_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        command = [Path(sys.executable).with_name("sparring"), "words", "--count", "--words", "everyday"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "sparring: [Errno 28] No space left on device\n"


def test_errors_are_in_plain_characters_and_never_endless(capsys: pytest.CaptureFixture[str]):
    def fail(text: str) -> int:
        raise ValueError(text)

    assert guarded("sparring", lambda: fail("a\x1b[2J\ud800" + "x" * 10**6)) == 2
    assert capsys.readouterr().err == f"sparring: a\ufffd[2J\ufffd{'x' * 3984}...\n"


def test_json_is_the_same_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]):
    data = {"text": 'naïve 犬 👩 "\\ \x00\x1b[2J\x7f\x9b\u202e\u2028\ud800\U000e0001\n'}
    print_json(data)
    shown = capsys.readouterr().out
    assert json.loads(shown) == data and "naïve 犬 👩" in shown
    assert shown.removesuffix("\n").isprintable()


def test_games_are_shown_inset(few_games: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["games", str(few_games), "--count", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "game 0 of round 1",
        "secret word: lemon",
        "  attacker: Hm.",
        "          attacker: Hm.\ufffd[2J",
        "  defender: I know the word! It is a pear.",
        "  -- declared_wrong, the attacker wins: [I know the word! It is a pear.]",
        "",
    ]


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    for switch in ("--version", "-V"):
        assert main([switch]) == 0
        assert capsys.readouterr().out == f"sparring {version('sparring')}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str):
    done = sparring(name, "--help")
    assert done.returncode == 0
    assert f"sparring {name}" in done.stdout


def test_the_help_of_train_fits_two_screens_and_help_all_has_the_rest():
    both = [sparring("train", switch, columns=100).stdout for switch in ("--help", "--help-all")]
    short, every = (set(re.findall(r"--[a-z0-9._-]+", text.split("options ─", 1)[1])) for text in both)
    assert len(both[0].splitlines()) <= 60
    assert {"--model", "--rounds", "--learner.lr", "--resume", "--dry-run", "--help-all"} <= short
    assert short < every and {f"--{name.replace('_', '-')}" for name in flat(TrainConfig()) if name != "out"} <= every


def test_the_help_of_train_shows_switches_as_they_are_given():
    shown = sparring("train", "--help-all").stdout
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
        (["train", "--resume", "nowhere", "--seed", "3"], "leave the other options out"),
        (["train", "--rounds", "-1"], "rounds must be at least 0, got -1"),
        (["train", "--method", "goup"], "unknown method 'goup'; did you mean 'group'?"),
        (["train", "--method", "nowhere.py:make"], "nowhere.py: no such file"),
        (["train", "--method", "shuffled(ppo)"], "unknown method 'ppo'"),
        (["train", "--method-options", "corrections=token-ratio"], "method group has no option 'corrections'"),
        (["train", "--method", "turns", "--method-options", "discount=2"], "must be a number above 0 and at most 1"),
        (["train", "--method", "spag", "--method-options", "corrections=all"], "unknown correction of SPAG 'all'"),
        (["train", "--method", "spag", "--learner.kl-form", "sampled"], "set learner.kl_form reward"),
        (["train", "--learner.reference", "behaviour", "--learner.kl-form", "exact"], "whole distributions"),
        (["train", "--method", "dpo", "--group-size", "1"], "method dpo compares games about the same word"),
        (["train", "--method", "dpo", "--method-options", "beta=0"], "method option beta must be a number above 0, got '0'"),
        (["train", "--method", "spin", "--words", "common", "--evaluation.scripted", "False"], "spin learns from experts"),
        (["train", "--role", "defnder", "--opponent", "scripted"], "did you mean 'defender'"),
        (["train", "--role", "defender"], "needs an opponent"),
        (["train", "--opponent", "scripted"], "plays against one role"),
        (["train", "--method-options", "drop_reasons=fowl"], "has no outcome 'fowl'; did you mean 'foul'"),
        (["train", "--game-options", "rule=lema"], "known rules: lemma, family, spag"),
        (["play", "--game-options", "turns=3"], "AdversarialTaboo has no option 'turns'; did you mean 'max_turns'?"),
        (["train", "--game-options", "rule"], "--game-options: give NAME=VALUE, got 'rule'"),
        (["train", "--rounds", "x"], "--rounds must be a whole number, got 'x'"),
        (["train", "--rounds"], "Missing value for argument '--rounds'"),
        (["train", "--rond", "3"], "Unrecognized options: --rond, 3; perhaps you meant --rounds (sparring train --help)"),
        (["train", "--learner.schedule", "x"], "invalid choice 'x' for argument '--learner.schedule'. Expected one of"),
        (["train", "--alarms.limits", "tie=0.5"], "there is no alarm 'tie'; did you mean 'ties'?"),
        (["train", "--alarms.limits", "ties=many"], "ties must be a number or none, got 'many'"),
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
                "--sft.steps",
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
        (["train", "--sft.lr", "-1"], "sft.lr must be at least 0"),
        (["train", "--alarms.limits", "ties=nan"], "alarms.limits must be a finite number"),
        (["play", "--player", "silent", "--temperature", "nan"], "temperature must be a finite number, got nan"),
        (["play", "--player", "silent", "--temperature", "-1"], "temperature must be at least 0, got -1"),
        (["collect", "x.jsonl", "--temperature", "-0.5"], "temperature must be at least 0"),
        (["tournament", "silent", "random", "--temperature", "inf"], "temperature must be a finite number"),
        (["games", "nowhere"], "no such run folder"),
        (["report", "nowhere"], "nowhere: no such run folder"),
        (["bench", "mini", "--items", "0"], "--items must be at least 1"),
        (["bench"], "at least one model"),
        (["bench", "mini", "--control", "mini"], "--control needs --against"),
        (["bench", "mini", "--against", "mini", "mini@imitation"], "--against takes one model, got 2"),
        (["bench", "mini", "--suite", "piqa"], "need --data DIR"),
        (["bench", "mini", "--suite", "piqa", "--data", "nowhere"], "nowhere has no task 'piqa'"),
        (["bench", "mini", "--suite", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["bench", "--compare", "a.json"], "two files of answers"),
        (["bench", "--compare", "a.json", "b.json"], "a.json holds no answers"),
        (["data", "convert", "nowhere"], "nowhere is no folder"),
        (["data"], "data has one command"),
        (["bench", "mini", "--against", "mini@imitation", "--items", "3"], "--items must be at least 4 to compare two models"),
        (["train", "--model", "scripted"], "only language models can be trained"),
        (["export", "scripted", "x"], "no weights to export"),
        (["collect", "x.jsonl", "--teacher", "nobody"], "unknown agent 'nobody'"),
        (["collect", "x.jsonl", "--teacher", "human"], "need no keyboard"),
        (["collect", "x.jsonl", "--role", "defender"], "against an --opponent"),
        (["collect", "x.jsonl", "--format", "preference", "--games", "2"], "play more games about each word"),
        (["collect", "README.md"], "choose a new file"),
        (["train", "--sft.data", "nowhere.json", "--sft.steps", "3"], "no such file of conversations"),
        (["play", "--opponent", "silent", "--top-p", "0"], "top_p must be above 0 and at most 1, got 0"),
        (["collect", "x.jsonl", "--top-p", "1.5"], "top_p must be above 0 and at most 1, got 1.5"),
        (["tournament", "silent", "random", "--top-p", "nan"], "top_p must be a finite number, got nan"),
        (["play", "--opponent", "silent", "--max-new-tokens", "0"], "max_new_tokens must be at least 1, got 0"),
        (["play", "--player", "scripted", "--opponent", "random", "--role", "attacker", "--words", "common"], UNKNOWN),
        (["play", "--player", "random", "--opponent", "scripted", "--role", "attacker", "--words", "common"], UNKNOWN),
        (["play", "--player", "mini", "--opponent", "scripted:hinter", "--words", "WORDS"], "not 'zeppelin': take words from"),
        (["tournament", "random", "scripted", "--words", "everyday,WORDS"], "not 'zeppelin': take words from"),
        (["tournament", "mini", "scripted", "--words", "common@train"], UNKNOWN),
        (["tournament", "mini", "silent", "--game", "TwentyQuestions", "--words", "WORDS"], "'zeppelin' is none; take words from"),
        (["collect", "x.jsonl", "--words", "common"], UNKNOWN),
        (["collect", "x.jsonl", "--teacher", "mini", "--opponent", "scripted", "--role", "attacker", "--words", "common"], UNKNOWN),
        (["collect", "x.jsonl", "--game", "TwentyQuestions"], "scripted players know the roles attacker and defender, not 'asker'"),
        ([*AGAINST, "--words", "common"], UNKNOWN),
        ([*AGAINST, "--words", "common", "--dry-run"], UNKNOWN),
        ([*AGAINST, "--words", "everyday,WORDS"], "not 'zeppelin': take words from"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    words = tmp_path / "words.txt"
    words.write_text("lemon\nzeppelin\n")
    before = set(Path.cwd().iterdir())
    assert main([part.replace("WORDS", str(words)) for part in arguments]) == 2
    captured = capsys.readouterr()
    *_, sentence = captured.err.splitlines()
    assert sentence.startswith("sparring: ") and message in sentence and "Traceback" not in captured.err
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
    assert main(["train", "--model", str(folder), *SMALL, "--out", str(tmp_path / "new"), *own]) == 2
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
    monkeypatch.setattr("sparring.agents.models.language_model._end_ids", lambda model: range(model.config.vocab_size))
    assert main(["train", "--model", str(model), *SMALL, "--evaluation.games", "2", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    shown = " ".join(captured.out.split())
    assert "nothing was said: the model does not play this game yet" in shown
    assert "no reasoning is measured" in captured.err, "at the beginning"
    assert "Note: no reasoning was measured" in shown and f"sparring bench {tmp_path}/run@latest --against {tmp_path}/run@0" in shown
    assert "initial: the frozen model of round 0" in shown
    assert "How games against the frozen model ended" in shown and "silent 1.000 1.000" in shown


def test_games_are_printed_as_they_were_played(run: Path):
    done = sparring("games", run, "--count", "2")
    assert done.returncode == 0
    assert done.stdout.count("secret word:") == 2
    lines = sparring("games", run, "--json").stdout.splitlines()
    assert [json.loads(line)["schema"] for line in lines] == [2, 2, 2]


def test_a_report_can_be_written_anew(run: Path):
    (run / "report.html").unlink()
    done = sparring("report", run, "--json")
    assert json.loads(done.stdout) == {"report": str(run / "report.html"), "unreadable": 0}
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
        "--game-options",
        "max_turns=2",
        "--json",
    )
    found = json.loads(done.stdout)
    assert len(found["games"]) == 2, "JSON holds all, whatever is shown"
    assert {cell["role"] for cell in found["cells"]} == {"attacker", "defender"}
    done = sparring("tournament", "scripted", "silent", f"{run}@latest", "--games", "2", "--game-options", "max_turns=2", "--json")
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


def test_a_person_can_play_either_role(typed):
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


def test_json_stays_json_where_a_person_plays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("/help\nIs it a fruit?\nI know the word! It is a zebra.\n"))
    assert main(["play", "--role", "defender", "--opponent", "scripted", "--games", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert [game["outcome"]["reason"] for game in json.loads(captured.out)["games"]] == ["declared_wrong"]
    for shown in ("Play the game of Adversarial Taboo.", "defender (you): ", "/quit or Ctrl-D leaves", "-- declared_wrong"):
        assert shown in captured.err


def test_a_person_who_leaves_has_played_the_games_that_ended(typed):
    said = "I know the word! It is a zebra.\n/quit\n"
    shown = typed(said, "--role", "defender", "--opponent", "scripted:hinter", "--games", "3")
    assert shown.endswith("1 game: attacker won 1, defender won 0, ties 0\n")


def test_games_are_printed_when_they_have_ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Every game that is shown is on the screen before the last one has ended, and rates are said at the end."""
    shown: list[int] = []
    monkeypatch.setattr("sparring.selfplay.evaluation.win_rates.Tally.add", lambda self, make_episode: shown.append(screen()))

    def screen() -> int:
        shown_so_far.append(capsys.readouterr())
        return sum(part.out.count("secret word:") for part in shown_so_far)

    shown_so_far: list = []
    assert main(["play", "--player", "random", "--opponent", "silent", "--role", "attacker", "--games", "4", "--show", "3"]) == 0
    assert shown[::2] == [1, 2, 3, 3]
    said = "".join(part.err for part in [*shown_so_far, capsys.readouterr()])
    assert said.startswith("play\n") and "play: 4 games, " in said and "games/s" in said


def test_lengths_and_top_p_reach_the_models_that_play(model: Path):
    agents = agents_of({"attacker": str(model), "defender": "silent"}, 0.7, "cpu", top_p=0.9, max_new_tokens=3)
    assert agents["attacker"].sampling == Sampling(0.7, top_p=0.9, max_new_tokens=3)
    assert agents_of({"a": str(model)}, 1.0, "cpu")["a"].sampling == Sampling(1.0, max_new_tokens=6), "the card's own length"


WITHOUT_TORCH = [
    ["play", "--opponent", "nobody"],
    ["play", "--player", "mini", "--opponent", "scripted", "--words", "common"],
    ["play", "--opponent", "mini", "--games", "0"],
    ["play", "--opponent", "mini", "--temperature", "-1"],
    ["play", "--opponent", "mini", "--words", "nonsense"],
    ["play", "--opponent", "mini", "--role", "nobody"],
    ["play", "--opponent", "./nowhere"],
    ["play", "--opponent", "openai:m"],
    ["tournament", "mini", "mini"],
    ["tournament", "mini", "minni"],
    ["tournament", "mini"],
    ["collect", "x.jsonl", "--teacher", "nobody"],
    ["collect", "README.md", "--teacher", "mini"],
    ["collect", "x.jsonl", "--teacher", "mini", "--games", "3", "--group-size", "2"],
    ["collect", "x.jsonl", "--teacher", "mini", "--prompts", "nowhere"],
    ["bench", "scripted"],
    ["bench", "mini", "--against", "./nowhere"],
    ["bench", "mini", "--items", "0"],
    ["train", "--model", "./nowhere"],
    ["train", "--resume", "nowhere"],
    ["games", "nowhere"],
    ["report", "nowhere"],
    ["words", "--words", "nonsense"],
    ["export", "./nowhere", "x"],
]


def test_bad_values_are_answered_before_torch_is_imported():
    """All in one process: whichever imports it is named."""
    code = f"""
import sys
from sparring.selfplay.cli.main import main
for arguments in {WITHOUT_TORCH!r}:
    assert main(arguments) == 2, arguments
    assert "torch" not in sys.modules, arguments
assert main(["play", "--player", "scripted", "--opponent", "random", "--games", "2", "--role", "attacker"]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


def test_scripted_players_play_about_any_words_that_they_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "some.txt").write_text("piano\nlemon\n")
    for words in (str(tmp_path / "some.txt"), "everyday@heldout"):
        assert main(["play", "--player", "scripted", "--opponent", "scripted", "--games", "3", "--words", words]) == 0
        assert "3 games: attacker won" in capsys.readouterr().out


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
    train = ["train", "--model", str(model), "--sft.steps", "2", "--sft.data", str(tmp_path / "talk.json"), "--rounds", "0"]
    assert main([*train, "--sft.minibatch", "4", "--evaluation.games", "0", "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["sft_steps"] == 2
    assert "sft.data" in json.loads((tmp_path / "run" / "provenance.json").read_text())["inputs"]


@pytest.mark.parametrize("command", ["play", "tournament", "collect"])
def test_commands_that_play_say_how_far_they_are_and_how_full_batches(
    command: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = []

    class Bar(Quiet):
        @contextmanager
        def phase(self, title: str, total: int, unit: str = "games"):
            yield lambda steps=1, tokens=0, occupancy=None: told.append((title, total, steps, tokens, occupancy))

    monkeypatch.setattr("sparring.selfplay.runtime.progress.Shown", Bar)
    who = {
        "play": ["--player", str(model), "--opponent", "scripted"],
        "tournament": [str(model), "scripted"],
        "collect": [str(tmp_path / "x.jsonl"), "--teacher", str(model), "--opponent", "scripted"],
    }[command]
    assert main([command, *who, "--games", "4", "--game-options", "max_turns=2", "--temperature", "1"]) == 0
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
    for wrong, shown in (("-1", "-1.0"), ("1e300", "1e+300"), ("1e7", "10000000.0")):
        assert main([*command, str(model), "--max-memory", wrong]) == 2
        assert f"max_memory must be 0 to 1,048,576, got {shown}" in capsys.readouterr().err


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.mark.parametrize("error", [RuntimeError(NO_MEMORY), MemoryError(), OSError(12, "Cannot allocate memory")], ids=repr)
def test_running_out_of_memory_is_said_with_what_helps(error: Exception, model: Path, tmp_path: Path, capsys, monkeypatch):
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sparring.selfplay.learner.learner.Learner.update", raises)
    out = str(tmp_path / "run")
    assert main(["train", "--model", str(model), *SMALL, "--evaluation.games", "0", "--evaluation.control", "False", "--out", out]) == 2
    said = capsys.readouterr().err
    assert "sparring: out of memory (" in said and "--learner.token-budget" in said and "--max-memory" in said
    assert f"continue with: sparring train --resume {out}" in said and "Traceback" not in said
    monkeypatch.setattr("sparring.agents.engine.attention.PackedModel.forward", raises)
    assert main(["play", "--player", "random", "--opponent", "mini", "--games", "2"]) == 2
    said = capsys.readouterr().err
    assert "sparring: out of memory (" in said and "--max-memory" in said and "--games" in said


def test_other_errors_are_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch):
    def raises(arguments: list[str]) -> int:
        raise RuntimeError("a tensor has the wrong shape")

    monkeypatch.setitem(COMMANDS, "words", raises)
    with pytest.raises(RuntimeError, match="wrong shape"):
        main(["words"])


def test_a_reader_may_stop_early():
    command = [sys.executable, "-c", "from sparring.selfplay.cli.main import entry; entry()", "words", "--band", "1-50000"]
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
    done = sparring("bench", model, "--against", model, "--items", "4", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) > 10 and all(row["difference"] == 0 for row in rows)


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
