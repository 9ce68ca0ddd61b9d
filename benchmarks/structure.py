"""How the code is laid out, in numbers: folders, import chains, comparisons of method names, settings, help, start-up time.

    python -m sparring.benchmarks.structure
    python -m sparring.benchmarks.structure --root ../other-checkout --python ../other-checkout/.venv/bin/python

Folders and imports are read from the sources below `root`; settings, help and times come from the package that `python` imports.
"""

import ast
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from .command import command, say

TOP = ("envs", "agents", "selfplay", "benchmarks")
METHODS = {"group", "rae", "turns", "spag", "spag-corrected", "dpo", "ipo", "spin", "expert", "winning-expert", "policy", "sft"}
METHODS |= {"anchored-sft", "selfplay"}
"""Names of methods, and of the kinds of rows and runs that stood for them."""
COLUMNS = 100
RUNS = 3


@dataclass(frozen=True)
class StructureConfig:
    """What is measured."""

    root: Path = Path()
    """The checkout whose sources are read."""
    python: Path = Path(sys.executable)
    """An interpreter that has that checkout installed."""
    json: bool = False
    """Print the figures as JSON."""
    result: Path | None = None
    """Write them to a file too."""


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    files = [path for top in TOP for path in (root / top).glob("**/*.py") if "data" not in path.parent.name]
    return {".".join(("sparring", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__"): path for path in files}


def longest_chain(top: str, known: Mapping[str, Path]) -> int:
    """Modules in the longest chain of imports at the top of modules within one folder; circles are cut where they close."""
    names = {name for name in known if name.startswith(f"sparring.{top}.")}
    edges = {name: _at_top(name, known) & names for name in names}

    @cache
    def depth(name: str, above: frozenset[str] = frozenset()) -> int:
        return 1 + max((depth(other, above | {name}) for other in edges[name] if other not in above), default=0)

    return max(map(depth, names), default=0)


def _at_top(name: str, known: Mapping[str, Path]) -> set[str]:
    """Imports outside functions."""
    tree = ast.parse(known[name].read_text(encoding="utf-8"))
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    kept = [node for node in tree.body if id(node) not in inside and isinstance(node, ast.Import | ast.ImportFrom)]
    return _targets(name, known, kept)


def _targets(name: str, known: Mapping[str, Path], nodes: list[ast.Import | ast.ImportFrom]) -> set[str]:
    here = name.split(".") if known[name].name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = here[: len(here) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            members = {f"{target}.{alias.name}" for alias in node.names} & set(known)
            found |= members or {target}
    return {module for module in found if module in known and module != name}


def comparisons(known: Mapping[str, Path]) -> int:
    """Comparisons with a method's name (==, !=, in) outside the folder of methods."""
    return sum(1 for name, path in known.items() if ".methods" not in name for _ in _compared(path))


def _compared(path: Path) -> Iterator[ast.AST]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            plain = [o for operand in operands for o in (operand.elts if isinstance(operand, ast.Tuple | ast.List) else [operand])]
            if any(isinstance(o, ast.Constant) and o.value in METHODS for o in plain):
                yield node


def leaves(settings: Any) -> int:
    """Settings in a configuration; a mapping of free keys, or an empty one, counts as one."""
    return sum(leaves(value) for value in settings.values()) if isinstance(settings, dict) and settings else 1


def run(config: StructureConfig, *arguments: str) -> tuple[str, float]:
    """What a command prints, and the median of its user seconds."""
    seconds, text = [], ""
    command = [str(config.python.absolute()), *arguments]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "OMP_NUM_THREADS": "1"}
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        text = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=config.root, check=False).stdout
        seconds.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    return text, median(seconds)


def measure(config: StructureConfig) -> dict[str, Any]:
    known = modules(config.root)
    folders = Counter(str(path.parent.relative_to(config.root)) for path in known.values() if path.name != "__init__.py")
    main = ("-m", "sparring.selfplay.cli")
    text, _ = run(config, *main, "train", "--print-config")
    settings = yaml.safe_load(text)
    shown, train_seconds = run(config, *main, "train", "--help")
    _, play_seconds = run(config, *main, "play", "--help")
    _, envs_seconds = run(config, "-c", "import sparring.envs")
    return {
        "modules": len(known),
        "most_modules_in_a_folder": max(folders.values()),
        "that_folder": max(folders, key=lambda name: folders[name]),
        "longest_import_chain_in_selfplay": longest_chain("selfplay", known),
        "comparisons_of_method_names_outside_methods": comparisons(known),
        "configuration_fields": leaves(settings) if settings else None,
        f"lines_of_train_help_at_{COLUMNS}_columns": len(shown.splitlines()),
        "user_seconds_of_train_help": round(train_seconds, 2),
        "user_seconds_of_play_help": round(play_seconds, 2),
        "user_seconds_of_import_envs": round(envs_seconds, 2),
        "readme_lines": len((config.root / "README.md").read_text(encoding="utf-8").splitlines()),
        "lines_over_110_characters": sum(len(line) > 110 for path in known.values() for line in path.read_text().splitlines()),
    }


def show(found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        print(f"{name.replace('_', ' '):<48} {value}")


def main(config: StructureConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.result)


if __name__ == "__main__":
    command("structure", StructureConfig, main, __doc__)
