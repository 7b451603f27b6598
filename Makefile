# make demo: everything from a clone to two curl lines. make test: all tests. Needs git, make, Python >= 3.11 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PORT ?= 8000
WORKERS ?= logical
# In the environment, so that they go with what they say is installed.
STAMPS := $(VENV)/stamps
export TORCH_INDEX ALLOW_CUDA

.DEFAULT_GOAL := help
.PHONY: help demo test gpu clients machine check duplicates types bench lock clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The pins of constraints.txt have no release for an older Python. Of a venv that failed half-way, as Debian's does without
# its package python3-venv, nothing may stay: it has a python, which make would take for the whole.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or later is needed, and \
	$(PYTHON) is `$(PYTHON) -V 2>&1`; name a newer one: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# What the server needs; constraints.txt pins all of it.
$(STAMPS)/run: pyproject.toml constraints.txt hatch_build.py $(wildcard kernels/loraplex_kernels/csrc/*) | $(BIN)/python
	@COMMAND="make $(firstword $(MAKECMDGOALS))" $(BIN)/python tools/install_torch.py constraints.txt
	$(PIP) install -q -c constraints.txt -e .
	@mkdir -p $(STAMPS) && touch $@

# What the checks and the tests need besides.
$(STAMPS)/dev: $(STAMPS)/run
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@mkdir -p $(STAMPS) && touch $@

demo: $(STAMPS)/run  ## install, serve the bundled base model and adapters on 127.0.0.1:8000
	$(BIN)/loraplex demo --port $(PORT)

test: $(STAMPS)/dev  ## all the tests
	$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 4 $(PYTEST_ARGS)

gpu:  ## the tests that need a GPU, with the Python that has its PyTorch: make gpu PYTHON=python3
	cd tests && $(PYTHON) -m pytest -q -c gpu.ini -m gpu -rs $(PYTEST_ARGS)

clients: | $(BIN)/python  ## install the programs that the tests drive, each in a folder of its own (2 GB)
	$(BIN)/python tools/clients.py

machine: | $(BIN)/python  ## install, as root on Debian, the programs that tests of deploy/ drive
	$(BIN)/python tools/machine.py

check: $(STAMPS)/dev  ## ruff, mypy strict, import-linter, duplicates, docs/api.md, the dashboard, the chart
	@$(MAKE) --no-print-directory -j 2 duplicates types

# The search for duplicates takes as long as all the rest.
duplicates: $(STAMPS)/dev
	$(BIN)/pylint --disable=all --enable=duplicate-code --min-similarity-lines=10 server adapters kernels

types: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/api_doc.py --check
	$(BIN)/python tools/dashboard.py --check
	$(BIN)/python tools/chart.py --check

bench: $(STAMPS)/dev  ## what LoRA costs on this machine: base, one adapter, 32 adapters
	$(BIN)/python benchmarks/adapter_tax.py

lock: $(STAMPS)/dev  ## write constraints.txt anew from what is installed
	$(BIN)/python tools/lock.py > constraints.txt

clean:  ## remove what make made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
