"""The package list, the wheel, and the names it installs under beside a user's own envs and agents."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sparring.agents.engine import kernels

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]

PROBE = """
import importlib, json
names = ["envs", "agents", "sparring.envs", "sparring.agents", "sparring.selfplay", "sparring.benchmarks"]
found = {name: importlib.import_module(name).__file__ for name in names}
from sparring.envs.world.facts import everyday
print(json.dumps({**found, "nouns": len(everyday().nouns)}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    # A PYTHONPATH of the developer's would hide what is wrong.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, text=True, capture_output=True)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shipped(folder: Path) -> set[str]:
    """What the wheel should hold of a package's folder: no results, no scripts that make data, no sources of what is compiled."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {
        path.as_posix()
        for path in files
        if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
        and path.parts[0] != "results"
        and not (path.suffix == ".py" and not (folder / path).with_name("__init__.py").exists())
        and path.suffix not in (".cpp", ".h", ".so")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that a build folder left in the checkout cannot add to it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in PACKAGES.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "_kernels.*"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "sparring", source / "sparring", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    run(sys.executable, "-c", build, out, cwd=source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its dependencies lent by the running one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", "--no-deps", "--no-compile", wheel, cwd=folder)
    lent = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # Folders named in a .pth file are searched, their .pth files not run: no editable install comes along.
    (Path(own.strip()) / "lent.pth").write_text(lent)
    return python


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder with packages of a user's own."""
    for name in ("envs", "agents"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    return tmp_path


def test_the_package_list_is_the_folders():
    folders = {path.parent.name for path in ROOT.glob("[!.]*/__init__.py")}
    assert {f"sparring.{folder}": folder for folder in folders} == PACKAGES
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for folder in folders for path in (ROOT / folder).glob("**/__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == {"sparring", *(f"sparring.{room}" for room in rooms)}
    assert set(PROJECT["tool"]["mypy"]["packages"]) == set(PACKAGES)
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == set(PACKAGES)


@pytest.mark.parametrize("folder", PACKAGES.values())
def test_type_checkers_find_the_package(folder: str):
    link = ROOT / ".typing" / "sparring" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / folder


@pytest.mark.parametrize("folder", PACKAGES.values())
def test_every_folder_of_modules_is_a_package(folder: str):
    scripts = ROOT / "envs" / "data"
    rooms = {path.parent for path in (ROOT / folder).glob("**/*.py")} - {scripts}
    assert all((room / "__init__.py").is_file() for room in rooms)


def test_the_wheel_holds_everything(wheel: Path):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    compiled = {name for name in names if name.startswith("sparring/agents/engine/_kernels.")}
    assert len(compiled) == kernels.AVAILABLE, "what was compiled for this checkout is for a wheel, too"
    names -= compiled
    expected = {f"sparring/{folder}/{path}" for folder in PACKAGES.values() for path in shipped(ROOT / folder)}
    assert names == {"sparring/__main__.py", *expected}
    assert "sparring/envs/data/everyday.tsv" in names


def test_the_wheel_names_its_license(wheel: Path):
    with zipfile.ZipFile(wheel) as opened:
        names = {Path(name).name for name in opened.namelist() if "/licenses/" in name}
        metadata = opened.read(next(name for name in opened.namelist() if name.endswith("/METADATA"))).decode()
    assert names == {"LICENSE", "NOTICE"}
    assert "License-Expression: Apache-2.0" in metadata


def test_the_installed_wheel_leaves_the_users_names_alone(installed: Path, users: Path):
    found = json.loads(run(installed, "-c", PROBE, cwd=users))
    assert found.pop("nouns") > 0
    theirs = {name: Path(found.pop(name)) for name in ("envs", "agents")}
    assert theirs == {name: users / name / "__init__.py" for name in ("envs", "agents")}
    assert all(Path(path).is_relative_to(installed.parents[1]) for path in found.values())


def test_the_installed_command_says_how_it_is_used(installed: Path, users: Path):
    assert "train" in run(installed.with_name("sparring"), "--help", cwd=users)


@pytest.mark.parametrize("kind", ["wheel", "checkout"])
def test_python_runs_the_command_by_its_name(kind: str, installed: Path, users: Path):
    python = installed if kind == "wheel" else sys.executable
    assert run(python, "-m", "sparring", "--version", cwd=users) == f"sparring {PROJECT['project']['version']}\n"
    assert "train" in run(python, "-m", "sparring", "--help", cwd=users)


def test_the_installed_command_trains_the_embedded_model(installed: Path, users: Path):
    few = "--rounds 1 --games-per-round 8 --group-size 4 --evaluation.games 2 --evaluation.control False --out run".split()
    assert "run/report.html" in run(installed.with_name("sparring"), "train", *few, cwd=users)
    assert (users / "run" / "report.html").is_file()


def test_the_checkout_leaves_the_users_names_alone(users: Path):
    found = json.loads(run(sys.executable, "-c", PROBE, cwd=users))
    assert found.pop("nouns") > 0
    assert {found["envs"], found["agents"]} == {str(users / name / "__init__.py") for name in ("envs", "agents")}
    assert all(Path(found[package]).parent == ROOT / folder for package, folder in PACKAGES.items())


def test_every_dependency_is_pinned_within_its_range():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[a-z0-9.]+", line) for line in lines), "no local versions, hosts or paths"
    pins = dict(line.split("==") for line in lines)
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["peft"], *extras["pettingzoo"]]
    for requirement in map(Requirement, needed):
        if requirement.name != "sparring":
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"constraints.txt has no {requirement.name}"
            assert pin in requirement.specifier, f"constraints.txt has {requirement.name} {pin}, not {requirement}"
