# Two commands do everything, set-up included, on a machine with Python 3.10 or newer:
#   make demo    train the network on handwritten digits and look at what it learned
#   make test    everything that must be true of this package
PYTHON ?= python3
LOWEST_PYTHON ?= python3.10
BIN := .venv/bin

.PHONY: demo test lint format lower-bounds benchmark-input clean

demo: .venv/installed
	$(BIN)/dynaconv train --recipe digits

test: lint
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tests with the lowest versions that pyproject.toml admits, in an environment of their own.
lower-bounds:
	$(LOWEST_PYTHON) -m venv .venv-lower-bounds
	.venv-lower-bounds/bin/python -m pip install --quiet --editable '.[dev]' --constraint tests/lower-bounds.txt
	.venv-lower-bounds/bin/python -m pytest

benchmark-input: .venv/installed-dev
	$(BIN)/python benchmarks/input_pipeline.py

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/installed

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "dynaconv needs Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .venv-lower-bounds .mypy_cache .pytest_cache .ruff_cache .hypothesis
