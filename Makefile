# Everything a newcomer needs. Only Python 3.11+ and make are assumed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test setup setup-dev check test-slow bench dev lock format

run: setup  ## review the sample organisation, then serve it
	@$(BIN)/bursar demo

setup: $(VENV)/.base  ## virtual environment with the locked base set

setup-dev: $(VENV)/.dev

$(VENV)/.base: requirements/build.txt requirements/base.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Bursar needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 " ) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Bursar into $(VENV) (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@$(BIN)/python requirements/install.py requirements/base.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@$(BIN)/python requirements/install.py requirements/dev.txt
	@touch $@

test: setup-dev  ## what must always pass
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-slow: setup-dev  ## faults, load and long runs
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m "not slow and not browser" --without-tenant-filter -n 2 --dist loadgroup

check: setup-dev  ## lint, types, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-dev  ## every figure the README claims, quick form
	@$(BIN)/python benchmarks/run_all.py --quick

dev: setup-dev  ## the API with reload
	$(BIN)/bursar up --reload

format: setup-dev
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock:
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh
