"""sparring judge: utterances and games judged again."""

import sys
from dataclasses import dataclass
from pathlib import Path

from .common import print_json
from .options import parse, positional


@dataclass(frozen=True)
class Judge:
    """Judges utterances, or lists the games whose outcome is another one under a rule.

    A file of lines {"target", "role", "text"}, compressed or not, gives a line {"reason", "winner", "span",
    "matched"} each. A file of games (games.jsonl.gz) gives a line for every game whose outcome changes. Lines
    that cannot be judged are named, the others judged.

    Examples:
      sparring judge utterances.jsonl --rule family
      sparring judge runs/x/rounds/001/games.jsonl.gz --rule spag
    """

    file: Path
    """JSON lines, of utterances or of games."""
    rule: str = "lemma"
    """lemma (inflections), family (derivations too), spag (the substring rule of the published code)."""
    json: bool = False
    """Taken as by every command; what is printed is JSON either way."""


def judge(arguments: list[str]) -> int:
    """Judges utterances, or lists the games whose outcome is another one under a rule."""
    options: Judge = parse(positional(Judge), "sparring judge", arguments)

    from sparring.envs.games import registered as _games  # noqa: F401  registers the games

    from ..data.rejudge import rejudge

    bad = 0

    def name(sentence: str) -> None:
        nonlocal bad
        bad += 1
        print(f"sparring judge: {sentence}", file=sys.stderr)

    for result in rejudge(options.file, options.rule, name):
        print_json(result)
    if bad:
        raise ValueError(f"{options.file}: {bad} {'line' if bad == 1 else 'lines'} could not be judged")
    return 0
