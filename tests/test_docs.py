"""The docs name what is there; code that they quote stands in its source, and the rest of it runs."""

import json
import re
import runpy
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin

from sparring.benchmarks.studies import tables

ROOT = Path(__file__).parent.parent
DATA = {"envs": {"data"}, "agents": set(), "selfplay": set(), "benchmarks": set()}
"""Folders of data and of the scripts that make it."""


@pytest.mark.parametrize("folder", ["envs", "agents", "selfplay", "benchmarks"])
def test_every_package_has_its_line_in_the_architecture(folder: str):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = next(part for part in re.split(r"^## ", page, flags=re.MULTILINE) if part.startswith(folder))
    named = set(re.findall(r"^\|([^|]+)\|", table, flags=re.MULTILINE))
    rooms = {name for cell in named for name in re.findall(r"`(\w+)/`", cell)}
    assert rooms == {path.name for path in (ROOT / folder).iterdir() if any(path.glob("*.py")) or path.name == "mini"} - DATA[folder]


def test_files_that_the_architecture_names_are_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    known = {path.name for folder in ("envs", "agents", "selfplay", "benchmarks") for path in (ROOT / folder).glob("**/*.py")}
    assert set(re.findall(r"(\w+\.py)`", page)) <= known


def test_no_folder_has_more_than_twenty_modules():
    for folder in ("envs", "agents", "selfplay", "benchmarks"):
        counts = Counter(path.parent for path in (ROOT / folder).glob("**/*.py") if path.name != "__init__.py")
        assert max(counts.values()) <= 20, counts.most_common(1)


@pytest.mark.parametrize("page", sorted(["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]))
def test_links_between_pages_lead_somewhere(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert all(((ROOT / page).parent / link).exists() for link in links), links


@pytest.mark.parametrize("name", ["study", "study_drawing_out", "study_corrections"])
def test_the_pages_hold_what_the_studies_measured(name: str):
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == tables.page(result)


def test_the_results_hold_the_tables_of_the_study_and_the_readme_its_brief_one():
    result = json.loads((ROOT / "benchmarks" / "results" / "study.json").read_text(encoding="utf-8"))
    results, readme = ((ROOT / page).read_text(encoding="utf-8") for page in ("docs/results.md", "README.md"))
    assert all(table in results for table in tables.tables(result))
    assert tables.brief_table(result) in readme
    assert len(readme.splitlines()) <= 130


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("sparring-mini", "speed"),
        ("15 M random parameters", "speed_15M"),
        ("100 M random parameters", "speed_100M"),
    ],
)
def test_the_readme_holds_the_speeds_that_were_measured(model: str, name: str):
    found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    slower = [f"{found['ratios'][way]:.1f} times slower" if way in found["ratios"] else "" for way in ("spag_loop", "continuous_batching")]
    cells = [f"{model}, {found['settings']['games']} games", f"{found['tokens_per_second']['ours']:,.0f}", *slower]
    assert f"| {' | '.join(cells)} |".replace("|  |", "| |") in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "docs" / "examples").glob("*.yaml")))
def test_example_configurations_are_accelerates(name: str):
    path = ROOT / "docs" / "examples" / f"{name}.yaml"
    found = load_config_from_file(str(path))  # refuses what it does not know
    assert found.num_processes == 8 * found.num_machines and found.mixed_precision == "no"
    assert found.distributed_type == ("FSDP" if name == "fsdp2" else "MULTI_GPU")
    known = set(signature(FullyShardedDataParallelPlugin).parameters)
    assert {key if key in known else key.removeprefix("fsdp_") for key in found.fsdp_config} <= known


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["games.md", "environment.md"])
def test_quoted_code_stands_in_its_source_and_the_rest_runs(name: str):
    space: dict[str, object] = {}
    for block in blocks(name):
        first, _, rest = block.partition("\n")
        if quoted := re.fullmatch(r"# ((?:\w+/)+\w+\.py)", first):
            assert rest in (ROOT / quoted[1]).read_text(encoding="utf-8")
        else:
            exec(compile(block, name, "exec"), space)
    assert space


def test_the_gymnasium_example_plays_its_episodes(capsys: pytest.CaptureFixture[str]):
    found = runpy.run_path(str(ROOT / "docs" / "examples" / "gymnasium_loop.py"))["main"](5)
    assert -1 <= found <= 1
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_pettingzoo_example_ends_with_a_wrong_guess():
    assert runpy.run_path(str(ROOT / "docs" / "examples" / "pettingzoo_loop.py"))["main"]() == {"attacker": 1.0, "defender": -1.0}


def test_the_trl_example_trains_on_whole_games():
    """In a process of its own: TRL warns of what it will change, and reads its settings from the environment."""
    if find_spec("trl") is None:
        pytest.skip("needs the extra trl")
    command = [sys.executable, str(ROOT / "docs" / "examples" / "trl_grpo.py"), "1", "1", "2"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("step ")]
    assert re.fullmatch(r"step 1: reward [+-]\d\.\d\d, completion tokens [1-9]\d*", line)
