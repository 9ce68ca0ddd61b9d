"""What the packages import, as far as import-linter cannot say it."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS: list[str] = list(PROJECT["tool"]["setuptools"]["package-dir"].values())

OTHERS_IN_ENVS = {"frequency", "pettingzoo_env", "textarena_env", "textarena"}
"""Modules of envs that import a third-party library beyond numpy and gymnasium, as the contract of import-linter names them."""
MODULE_OF = {"pillow": "PIL", "pyyaml": "yaml", "llama-cpp-python": "llama_cpp"}
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


def test_every_import_is_declared():
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [
        *PROJECT["project"]["dependencies"],
        *(one for name in extras if name != "dev" for one in extras[name]),
    ]
    names = [requirement.partition(">")[0].partition("<")[0] for requirement in needed]
    declared = {MODULE_OF.get(name, name.replace("-", "_")) for name in names} | BROUGHT_BY_TRANSFORMERS
    for folder in FOLDERS:
        for path in (ROOT / folder).glob("**/*.py"):
            undeclared = set(third_party(path)) - declared
            assert not undeclared, f"{path.relative_to(ROOT)} imports {undeclared}, which pyproject.toml does not declare"


def test_importing_envs_brings_no_torch():
    paths = [path for path in (ROOT / "envs").glob("**/[!_]*.py") if path.stem not in OTHERS_IN_ENVS and path.parent.name != "data"]
    modules = [".".join(("sparring", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths]
    code = "; ".join(["import sys", *(f"import {module}" for module in modules)])
    code += "; sys.exit(' '.join({'torch', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)
