"""sparring collect."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import UNKNOWN

from sparring.selfplay.cli.main import main


def test_a_teachers_talk_is_collected_and_imitated(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["collect", str(tmp_path / "talk.json"), "--format", "spag-rows", "--prompts", "brief", "--games", "12", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["games"] == 12 and found["entries"] > 0 and found["void"] == 0
    train = ["train", "--model", str(model), "--sft.steps", "2", "--sft.data", str(tmp_path / "talk.json"), "--rounds", "0"]
    assert main([*train, "--sft.minibatch", "4", "--evaluation.games", "0", "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["sft_steps"] == 2
    assert "sft.data" in json.loads((tmp_path / "run" / "provenance.json").read_text())["inputs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "x.jsonl", "--teacher", "mini", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["collect", "x.jsonl", "--game", "textarena:TicTacToe-v0", "--words", "everyday"], "has no secret words"),
        (["collect", "x.jsonl", "--temperature", "-0.5"], "temperature must be at least 0"),
        (["collect", "x.jsonl", "--teacher", "nobody"], "unknown agent 'nobody'"),
        (["collect", "x.jsonl", "--teacher", "human"], "need no keyboard"),
        (["collect", "x.jsonl", "--role", "defender"], "against an --opponent"),
        (["collect", "x.jsonl", "--format", "preference", "--games", "2"], "play more games about each word"),
        (["collect", "README.md"], "choose a new file"),
        (["collect", "x.jsonl", "--top-p", "1.5"], "top_p must be above 0 and at most 1, got 1.5"),
        (["collect", "x.jsonl", "--words", "common"], UNKNOWN),
        (["collect", "x.jsonl", "--teacher", "mini", "--opponent", "scripted", "--role", "attacker", "--words", "common"], UNKNOWN),
        (["collect", "x.jsonl", "--game", "TwentyQuestions"], "scripted players know the roles attacker and defender, not 'asker'"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
