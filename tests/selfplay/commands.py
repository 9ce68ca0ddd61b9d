"""How tests call the command line."""

import os
import subprocess
import sys
from pathlib import Path

SMALL = ["--rounds", "1", "--games-per-round", "4", "--group-size", "2", "--max-new-tokens", "6", "--game-options", "max_turns=2"]
SMALL += ["--sft.steps", "0", "--sft-mix.source", "none", "--alarms.limits", "start=none", "--alarms.action", "warn"]
"""A run of one round of four games, by a model that plays at random."""
UNKNOWN = "scripted players know the nouns of the everyday world alone"


def sparring(*arguments: str | Path, cwd: Path | None = None, columns: int = 200) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("sparring"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": str(columns)})
