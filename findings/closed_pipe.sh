#!/usr/bin/env bash
# Surprise: when the reader of a rich Console goes away, `print` raises SystemExit(1), which no `except
# Exception` catches, and first points the standard output of the whole process at /dev/null, even where the
# console writes to another file.
# Package: rich 15.0.0
# Why it matters: progress of a run is often shown on a second stream (standard error, a pipe to a log
# viewer). If its reader dies, the run ends with status 1 and no traceback, and what it would have printed
# about saving is thrown away.
# What we do: our console is a subclass whose `on_broken_pipe` raises the BrokenPipeError itself; the
# command's outermost function decides what it means.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q rich==15.0.0
venv/bin/python -c 'import importlib.metadata as m; print("rich", m.version("rich"))'
echo "expected: BrokenPipeError, and two lines on standard output"
venv/bin/python - > output <<'PYTHON'
import os
import sys

from rich.console import Console

reader, writer = os.pipe()
os.close(reader)
print("standard output, before", flush=True)
try:
    Console(file=os.fdopen(writer, "w")).print("one line of progress")
except Exception as error:
    sys.exit(f"the behaviour is gone: {error!r} can be caught")
except SystemExit as error:
    print(f"seen: {error!r}, which `except Exception` lets through", file=sys.stderr)
print("standard output, afterwards", flush=True)
PYTHON
echo "seen on standard output: $(cat output)"
[ "$(cat output)" = "standard output, before" ] || { echo "the behaviour is gone" >&2; exit 1; }
