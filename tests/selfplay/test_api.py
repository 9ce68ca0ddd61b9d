"""The public Python API: every name is there, and importing the package costs nothing."""

import subprocess
import sys
from importlib.metadata import version

import sparring.selfplay


def test_every_public_name_is_there():
    for name in sparring.selfplay.__all__:
        assert getattr(sparring.selfplay, name).__doc__, name
        assert name in dir(sparring.selfplay)
    assert not hasattr(sparring.selfplay, "nothing")
    assert sparring.selfplay.__version__ == version("sparring")


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, sparring.selfplay; sys.exit(' '.join({'torch', 'transformers', 'numpy'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)
