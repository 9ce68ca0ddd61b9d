"""sparring report."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import sparring


def test_a_report_can_be_written_anew(run: Path):
    (run / "report.html").unlink()
    done = sparring("report", run, "--json")
    assert json.loads(done.stdout) == {"report": str(run / "report.html"), "unreadable": 0}
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere"], "nowhere: no such run folder"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
