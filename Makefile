# Needs Python 3.11 or later, make and git; everything else is installed into $(VENV).
# `make demo` installs what runs the platform, the other targets also what checks it.

VENV ?= .venv
FEEDBACK_HOME ?= data
export FEEDBACK_HOME

PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
DAGSTER_HOME_DIR = $(abspath $(FEEDBACK_HOME))/dagster
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup check format test test-faults test-powercut test-disk test-duckdb15 demo dev dagster-home bench clean

help:
	@echo "make demo           set up and compile datasets from the bundled sample, to the end"
	@echo "make dev            Dagster UI, daemon and intake together, on FEEDBACK_HOME ($(FEEDBACK_HOME))"
	@echo "make test           set up, lint, type-check and run the quick tests"
	@echo "make test-faults    the crash matrix at full size and the soaks (minutes)"
	@echo "make test-powercut  power cuts on a real file system (needs root, else skips)"
	@echo "make test-disk      a server whose disk is full, read-only or hangs (needs root, else skips)"
	@echo "make test-duckdb15  the golden results and the warehouse on DuckDB 1.5"
	@echo "make setup | check | format | bench | clean"

# --- installing -------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No python3 found. Install Python 3.11 or later, or run: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is `$(PYTHON) --version`; 3.11 or later is needed. Run: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps: an install is repeated when the declared dependencies or their pins change. A dev install is a runtime one too.
$(VENV)/.stamp-runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.stamp-runtime $@

setup: $(VENV)/.stamp-dev

# --- checking ---------------------------------------------------------------------------------------------------------

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: check
	$(BIN)/pytest -q -n $(WORKERS) --dist loadfile

# Runs the tests that carry marker $(1) in $(2) processes (0: this one). None carrying it is no failure; it is said and left at that.
define run_marked
	@$(BIN)/pytest -q --collect-only -m $(1) >/dev/null 2>&1; \
	if [ $$? -eq 5 ]; then echo "$@: no test is marked '$(1)'"; else $(BIN)/pytest -q -m $(1) -n $(2) --durations=10; fi
endef

test-faults: setup
	$(call run_marked,slow,$(WORKERS))

test-powercut: setup
ifeq ($(shell id -u),0)
	$(call run_marked,root,0)
else
	@echo "$@: skipped, cutting the power of a file system needs root"
endif

test-disk: setup
ifeq ($(shell id -u),0)
	$(call run_marked,disk,0)
else
	@echo "$@: skipped, a file system of its own needs root"
endif

# DuckDB 1.5 is supported beside the pinned 2.0: the golden results, one stage in full, and the files it must open.
DUCKDB15 := .venv-duckdb15
test-duckdb15: $(BIN)/python
	$(BIN)/python -m venv $(DUCKDB15)
	sed 's/^duckdb==[^ ]*/duckdb==1.5.5/' constraints.txt > $(DUCKDB15)/constraints.txt
	$(DUCKDB15)/bin/python -m pip install --quiet -c $(DUCKDB15)/constraints.txt -e '.[dev]'
	$(DUCKDB15)/bin/pytest -q -n $(WORKERS) feedback_platform_tests/test_semantics.py \
	  feedback_platform_tests/stages/test_resolution.py feedback_platform_tests/compile/test_warehouse.py feedback_platform_tests/engines

# Half an hour and 40 GB of disk at full size; `python benchmarks/bench_compile.py -h` tells how to make it smaller.
bench: setup
	$(BIN)/python benchmarks/intake.py single
	$(BIN)/python benchmarks/intake.py batch
	$(BIN)/python benchmarks/bench_door.py
	$(BIN)/python benchmarks/bench_client.py
	$(BIN)/python benchmarks/bench_privacy.py
	$(BIN)/python benchmarks/bench_guards.py
	$(BIN)/python benchmarks/bench_choices.py
	$(BIN)/python benchmarks/bench_compile.py first
	$(BIN)/python benchmarks/bench_compile.py increment

# --- running ----------------------------------------------------------------------------------------------------------

# Dagster keeps its history beside the rest of the state: dagster.yaml names that folder in one place only.
dagster-home:
	@mkdir -p "$(DAGSTER_HOME_DIR)"
	@sed 's|data/dagster|$(DAGSTER_HOME_DIR)|' dagster.yaml > "$(DAGSTER_HOME_DIR)/dagster.yaml"

demo: $(VENV)/.stamp-runtime dagster-home
	DAGSTER_HOME="$(DAGSTER_HOME_DIR)" $(BIN)/feedback demo

# Loopback only: the UI has no login, and the API asks for no key. Whichever way this ends, the API ends with it.
API_PORT ?= 8700
dev: $(VENV)/.stamp-runtime dagster-home
	@$(BIN)/feedback serve --dev --land --port $(API_PORT) & api=$$!; \
	trap 'kill $$api 2>/dev/null; wait $$api 2>/dev/null' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	DAGSTER_HOME="$(DAGSTER_HOME_DIR)" $(BIN)/dagster dev --host 127.0.0.1

# State in FEEDBACK_HOME is never touched.
clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
