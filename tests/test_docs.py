"""The docs name what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("folder", ["envs", "agents", "selfplay", "benchmarks"])
def test_every_module_has_its_line_in_the_architecture(folder: str):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page, flags=re.MULTILINE)
    own = next(part for part in section if part.startswith(folder))
    named = set(re.findall(r"`(\w+\.py)`", own))
    assert named == {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}


@pytest.mark.parametrize("page", sorted(["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]))
def test_links_between_pages_lead_somewhere(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert all(((ROOT / page).parent / link).exists() for link in links), links
