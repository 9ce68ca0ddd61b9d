"""sparring data: public benchmark files, converted."""

from dataclasses import dataclass
from pathlib import Path

from .common import console, print_json
from .options import parse, positional


@dataclass(frozen=True)
class Convert:
    """Turns public benchmark files that lie on this machine into what the tasks of sparring bench read;
    counts and hashes them.

    Known are BIG-Bench-Hard, LLM-Adapters' ARC, PIQA, WinoGrande and OpenBookQA, grade-school-math,
    LogiQA2.0, MuTual and MMLU's csv.

    Examples:
      sparring data convert BIG-Bench-Hard --data data
    """

    source: str
    """The folder that holds the public files, at any depth."""
    data: str = "data"
    """The folder that bench --data takes; what is there already stays."""
    json: bool = False
    """Print one JSON object instead."""


def data(arguments: list[str]) -> int:
    """Converts public benchmark files into what bench reads."""
    if arguments[:1] in (["-h"], ["--help"]):
        arguments = ["convert", "--help"]
    if arguments[:1] != ["convert"]:
        given = " ".join(arguments[:1]) or "nothing"
        raise ValueError(f"data has one command, sparring data convert SOURCE --data DIR; got {given}")
    options: Convert = parse(positional(Convert), "sparring data convert", arguments[1:])

    from sparring.benchmarks.reasoning.convert import convert

    tasks, left_out = convert(Path(options.source), Path(options.data))
    if options.json:
        print_json({"tasks": tasks, "left_out": left_out})
        return 0
    shown = console()
    for task, entry in tasks.items():
        shown.print(f"{task}: {entry['questions']} questions, sha256 {entry['sha256']}")
    for task, reason in left_out.items():
        shown.print(f"left out: {task}: {reason}")
    return 0
