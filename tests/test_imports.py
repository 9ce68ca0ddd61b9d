"""What the packages import: the contracts that import-linter cannot say, and a trial of those that it can."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS: list[str] = list(PROJECT["tool"]["setuptools"]["package-dir"].values())

IN_ENVS = {
    "frequency": {"wordfreq"},
    "pettingzoo_env": {"pettingzoo"},
    "textarena_env": {"textarena"},
    "textarena_game": {"textarena"},
}
"""Modules of envs that may import a third-party library beyond numpy and gymnasium, and which."""

MODULE_OF = {"pyyaml": "yaml", "llama-cpp-python": "llama_cpp"}
BROUGHT_BY_TRANSFORMERS = {"huggingface_hub", "safetensors", "tokenizers"}


def third_party(path: Path) -> Iterator[str]:
    """The top-level names of other distributions that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        yield from {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"sparring"}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.py")), ids=lambda path: path.stem)
def test_envs_import_numpy_and_gymnasium_only(path: Path):
    assert set(third_party(path)) <= {"numpy", "gymnasium"} | IN_ENVS.get(path.stem, set())


def test_every_import_is_declared():
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [
        *PROJECT["project"]["dependencies"],
        *(one for name in extras if name != "dev" for one in extras[name]),
    ]
    names = [requirement.partition(">")[0].partition("<")[0] for requirement in needed]
    declared = {MODULE_OF.get(name, name.replace("-", "_")) for name in names} | BROUGHT_BY_TRANSFORMERS
    for folder in FOLDERS:
        for path in (ROOT / folder).glob("*.py"):
            undeclared = set(third_party(path)) - declared
            assert not undeclared, f"{path.relative_to(ROOT)} imports {undeclared}, which pyproject.toml does not declare"


def test_importing_envs_brings_no_torch():
    modules = [path.stem for path in (ROOT / "envs").glob("[!_]*.py") if path.stem not in IN_ENVS]
    code = "; ".join(["import sys", *(f"import sparring.envs.{module}" for module in modules)])
    code += "; sys.exit(' '.join({'torch', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("module", "line", "kept"),
    [
        ("envs/core.py", "", True),
        ("envs/core.py", "import torch", False),
        ("envs/core.py", "def late():\n    from transformers import AutoTokenizer", False),
        ("envs/core.py", "import wordfreq", False),
        ("envs/frequency.py", "import wordfreq", True),
        ("envs/core.py", "from sparring.agents import core", False),
        ("envs/core.py", "from ..agents import core", False),
        ("agents/core.py", "import sparring.selfplay", False),
        ("selfplay/other.py", "import sparring.benchmarks", False),
        ("selfplay/cli_bench.py", "import sparring.benchmarks", True),
    ],
)
def test_the_import_contracts_hold_what_they_say(module: str, line: str, kept: bool, tmp_path: Path):
    """On a small copy of the layout, with one line added to one module."""
    for folder in FOLDERS:
        (tmp_path / "sparring" / folder).mkdir(parents=True)
        (tmp_path / "sparring" / folder / "__init__.py").touch()
        (tmp_path / "sparring" / folder / "core.py").touch()
    (tmp_path / "sparring" / module).write_text(line + "\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True)
    assert (done.returncode == 0) is kept, done.stdout
    assert ("BROKEN" in done.stdout) is not kept
