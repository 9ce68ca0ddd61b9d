#!/usr/bin/env bash
# Surprise: PyYAML's manual shows `except yaml.YAMLError` around a load, but `safe_load` of a wrong scalar
# with a standard tag lets out whatever Python raised inside: IndexError, AttributeError, KeyError,
# ValueError, without line or column.
# Package: PyYAML 6.0.3
# Why it matters: configurations and recorded games are read from files that others wrote. `except
# yaml.YAMLError` looks complete; a single `!!int ""` in a sweep's tenth file still ends the sweep with a
# traceback, and the file is not named.
# What we do: the reader of settings catches these kinds beside YAMLError and makes one sentence of them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q pyyaml==6.0.3
venv/bin/python - <<'PYTHON'
import yaml

print("PyYAML", yaml.__version__, "- expected: YAMLError for every text")
seen = []
for text in ("rate: [1", "rate: !!binary é", "rate: !!int ''", "rate: !!int x", "rate: !!timestamp x", "rate: !!bool x"):
    try:
        print(yaml.safe_load(text))
    except Exception as error:
        seen.append(type(error))
        kind = "a YAMLError" if isinstance(error, yaml.YAMLError) else "no YAMLError"
        print(f"{text:20} {type(error).__name__}, {kind}: {str(error).splitlines()[0]}")
assert issubclass(seen[0], yaml.YAMLError) and issubclass(seen[1], yaml.YAMLError)
assert seen[2:] == [IndexError, ValueError, AttributeError, KeyError], "the behaviour is gone"
PYTHON
