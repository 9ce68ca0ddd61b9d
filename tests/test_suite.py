"""The rules of the suite itself, tried on suites made up here."""

from pathlib import Path

import pytest


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers = cuda: needs a GPU")
    return pytester


@pytest.mark.parametrize(
    "skip",
    [
        "@pytest.mark.skip\ndef test(): pass",
        "@pytest.mark.skip(reason='needs a GPU')\ndef test(): pass",
        "@pytest.mark.skipif(True, reason='needs a CUDA GPU of the newest kind')\ndef test(): pass",
        "def test(): pytest.skip('no time')",
        "def test(): pytest.importorskip('no_such_module')",
        "import unittest\nclass Test(unittest.TestCase):\n    def test(self): self.skipTest('no time')",
        "@pytest.fixture\ndef a(): pytest.skip('no time')\ndef test(a): pass",
        "@pytest.mark.parametrize('a', [])\ndef test(a): pass",
    ],
)
def test_a_skip_that_nobody_allowed_fails(suite: pytest.Pytester, skip: str):
    suite.makepyfile(f"import pytest\n{skip}\n")
    result = suite.runpytest_inprocess("-p", "no:xdist")
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1
    assert "skipped" not in outcomes
    result.stdout.fnmatch_lines("*skips fail unless*")


def test_a_skipped_module_fails(suite: pytest.Pytester):
    suite.makepyfile("import pytest\npytest.skip('no time', allow_module_level=True)\n")
    result = suite.runpytest_inprocess("-p", "no:xdist")
    assert result.parseoutcomes() == {"errors": 1}


@pytest.mark.parametrize("reason", ["needs a CUDA GPU", "needs the extra harness"])
def test_allowed_skips_are_skips(suite: pytest.Pytester, reason: str):
    suite.makepyfile(f"import pytest\ndef test(): pytest.skip({reason!r})\n")
    suite.runpytest_inprocess("-p", "no:xdist").assert_outcomes(skipped=1)


def test_expected_failures_are_no_skips(suite: pytest.Pytester):
    suite.makepyfile("import pytest\n@pytest.mark.xfail(strict=True)\ndef test(): assert False\n")
    suite.runpytest_inprocess("-p", "no:xdist").assert_outcomes(xfailed=1)
