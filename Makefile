# Every target sets up .venv by itself. `make demo` and `make test` are all that a newcomer needs.
#   make demo ARGS="--seconds 60"     the example factory
#   make test ARGS="-k log"           the tests
#   make nightly GROUPS="cuts rot"    the long tests; ARGS="--into DIR --seed 7"
# PYTHON=python3.12 chooses the interpreter (3.11 or newer).

.DEFAULT_GOAL := help
SHELL := /bin/sh
ARGS ?=
GROUPS ?=
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-ready
DEV := $(VENV)/.dev-ready
PEERS := $(VENV)/.peers-ready
# The first interpreter that is new enough and really runs (a version manager's shim may not).
FIND_PYTHON := for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done

.PHONY: help demo test lint types bench docs nightly wheel constraints clean

help:
	@echo "make demo     run the example factory          (ARGS=\"--seconds 60\")"
	@echo "make test     run the tests                    (ARGS=\"-k log\")"
	@echo "make lint     formatting, lint, import layers"
	@echo "make types    mypy --strict"
	@echo "make docs     check links, examples and figures of the documentation"
	@echo "make bench    run a benchmark                  (ARGS=\"mqtt\")"
	@echo "make wheel    build the wheel and try it outside the checkout"
	@echo "make nightly  the long versions of the tests, with a report (GROUPS=\"cuts rot\")"

$(BIN)/python:
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
	  echo "Mainstem needs Python 3.11 or newer. On Debian: apt-get install python3 python3-venv" >&2; exit 2; fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$$python cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 2; fi; \
	"$$python" -m venv $(VENV)

# Modules are compiled, as pip does with a wheel: a node that compiles what it imports holds 3 MB more.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) (the first time takes a minute or two)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable .
	@$(BIN)/python -m compileall -q common_engine sync node edge platform group
	@touch $@

$(DEV): $(RUNTIME)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group dev
	@touch $@

# What the engine is measured beside: 600 MB when installed. Without them (no network, no wheel for a
# platform) the benchmark runs, and names what is missing.
$(PEERS): $(RUNTIME)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group bench && touch $@ || \
	  echo "the peers of the engine's benchmark could not be installed" >&2

demo: $(RUNTIME)
	@$(BIN)/mainstem demo $(ARGS)

# Brokers and browsers come from the system; what is missing is skipped here and must not be in CI.
# In two processes; PROCESSES=0 runs everything in one, for a debugger.
PROCESSES ?= 2
test: $(DEV)
	$(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal -m "not slow and not bench and not nightly" $(ARGS)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(DEV)
	$(BIN)/mypy

bench: $(PEERS)
	$(BIN)/mainstem bench $(ARGS)

docs: $(DEV)
	$(BIN)/python -m pytest tests/docs $(ARGS)

wheel: $(DEV)
	$(BIN)/python tests/wheel_check.py $(ARGS)

nightly: $(DEV)
	$(BIN)/python tests/nightly.py $(if $(GROUPS),--groups $(GROUPS)) $(ARGS)

# Renews the pins: latest versions that pyproject.toml allows, no registry addresses.
constraints: $(BIN)/python
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --upgrade --editable . --group dev --group bench
	@sed -n '1,2p' constraints.txt > constraints.new
	@$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(pip|setuptools)=' >> constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
