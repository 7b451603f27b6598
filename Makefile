# make demo: everything from a clone to two curl lines. make test: all tests. Needs git, make, Python >= 3.10 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PORT ?= 8000
WORKERS ?= logical
STAMPS := .stamps
export TORCH_INDEX ALLOW_CUDA

.DEFAULT_GOAL := help
.PHONY: help demo test clients machine check duplicates types bench lock clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

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
	rm -rf $(VENV) $(STAMPS) dist build .mypy_cache .ruff_cache .pytest_cache
