"""Errors and output of commands."""

import json

import pytest

from sparring.selfplay.cli.common import guarded, print_json


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
