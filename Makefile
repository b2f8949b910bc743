# Each target is a plain command that can be typed by hand as well. The first call builds an environment and takes minutes
# (PyTorch is large); later calls find it ready. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
DOCS_VENV ?= .venv-docs
OUT ?= demo
ARGS ?=

BIN = $(VENV)/bin

# Python compiles what it imports; compiling all of PyTorch beforehand costs a minute.
INSTALL = -m pip --disable-pip-version-check install --no-compile

# torchattacks asks for requests 2.25, which has known holes, and never imports it: it is installed without its
# requirements. Those that it does import (numpy, scipy, tqdm) come with ART.
TORCHATTACKS = $(BIN)/python $(INSTALL) --no-deps "torchattacks>=3.5.1"

.PHONY: help demo test check fix docs hosts bench recipes clean

help:   ## list the targets
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(VENV)/.demo   ## draw a world, train, attack and write one page to demo/ (OUT=...)
	$(BIN)/interp-plugins demo --out "$(OUT)"

test: $(VENV)/.test   ## the tests (ARGS="tests/attacks -q")
	$(BIN)/python -m pytest $(ARGS)

hosts: $(VENV)/.test   ## the adapters against the hosts' own tests, in a process of their own
	$(BIN)/python -m pytest tests/hosts $(ARGS)

check: $(VENV)/.lint   ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.lint   ## repair what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_VENV)/.docs   ## the pages, to docs/_build (no PyTorch needed); any warning fails
	$(DOCS_VENV)/bin/python -m sphinx -W --keep-going -q docs docs/_build

bench: $(VENV)/.bench   ## the numbers of docs/results, timed against other libraries
	$(BIN)/python -m benchmarks $(ARGS)

recipes: $(VENV)/.demo   ## the examples at full size
	for script in examples/*.py; do $(BIN)/python "$$script" || exit 1; done

clean:   ## remove the environments and what was built
	rm -rf .venv .venv-docs build dist docs/_build docs/api .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One stamp for each set of requirements: made anew when pyproject.toml changes.
%/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is none. Name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 3; }
	@$(PYTHON) -m venv "$(@D)" || { \
	  echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv" >&2; exit 3; }
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml
	$(BIN)/python $(INSTALL) -e ".[vision,art,captum]"
	$(TORCHATTACKS)
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python $(INSTALL) -e ".[vision,art,captum,wordnet,test]"
	@touch $@

$(VENV)/.lint: $(VENV)/.demo
	$(BIN)/python $(INSTALL) -e ".[vision,art,captum,lint]"
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	$(BIN)/python $(INSTALL) -e ".[wordnet]" "foolbox>=3.3.4"
	@touch $@

# The docs need their tools alone, not the package and its PyTorch: the extra's names are read, not installed as an extra.
$(DOCS_VENV)/.docs: $(DOCS_VENV)/.python pyproject.toml
	@$(DOCS_VENV)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
	  > "$(DOCS_VENV)/requirements.txt"
	$(DOCS_VENV)/bin/python $(INSTALL) -r "$(DOCS_VENV)/requirements.txt"
	@touch $@
