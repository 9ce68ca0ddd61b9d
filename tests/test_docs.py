"""Code in docs/: what is quoted stands in its source, everything else runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ["games.md"])
def test_quoted_code_stands_in_its_source_and_the_rest_runs(name: str):
    space: dict[str, object] = {}
    for block in blocks(name):
        first, _, rest = block.partition("\n")
        if quoted := re.fullmatch(r"# (\w+/\w+\.py)", first):
            assert rest in (ROOT / quoted[1]).read_text(encoding="utf-8")
        else:
            exec(compile(block, name, "exec"), space)
    assert space
