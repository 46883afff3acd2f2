# What people and CI type. Every target sets up what it needs.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then command -v $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate

.PHONY: run run-distributed test check format bench openapi lock clean

run: $(VENV)/.run  ## everything in one place, on the embedded PostgreSQL
	@exec $(BIN)/orderlog serve

run-distributed: $(VENV)/.dev  ## the distributed topology as separate processes, with a real broker
	@exec $(BIN)/python -m tests.services.distributed

test: $(VENV)/.dev  ## all tests; PostgreSQL and Kafka are started where no address is given
	$(BIN)/pytest

check: $(VENV)/.dev  ## format, lint, types, import rules, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## the benchmarks: one table of ratios
	$(BIN)/python -m tests.benchmarks

openapi: $(VENV)/.dev  ## docs/openapi.json anew, unless that would break clients
	@$(BIN)/python -m tests.contract

lock:  ## anew, from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra build $(LOCK) -o requirements.lock
	uv pip compile pyproject.toml --all-extras $(LOCK) -o requirements-dev.lock

clean:
	rm -rf $(VENV) .cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "orderlog needs Python 3.11, 3.12 or 3.13 (the embedded PostgreSQL has wheels for these); none was found on the PATH"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
