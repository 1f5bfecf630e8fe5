# Every target makes its own environment first; only `setup` needs the network.
PYTHON ?= $(shell for v in 3.12 3.11; do p=$$(command -v python$$v) && $$p -c '' 2>/dev/null && echo $$p && break; done || echo python3)
RUN = .venv/bin/python

.PHONY: setup demo check test test-all bench

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "paretovit needs Python 3.11 or newer: make PYTHON=/path/to/python")'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch .venv/ready

demo: setup
	$(RUN) demo/demo.py

check: setup
	$(RUN) -m ruff format --check . && $(RUN) -m ruff check . && $(RUN) -m mypy

test: setup
	$(RUN) -m pytest -n auto --maxprocesses 8 -m 'not slow and not gpu'

test-all: setup
	$(RUN) -m pytest -n auto --maxprocesses 8 -m 'not gpu'

bench: setup
	for benchmark in benchmarks/bm_*.py; do $(RUN) $$benchmark || exit 1; done
