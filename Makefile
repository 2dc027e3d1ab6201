# Everything the project does, from nothing but Python 3.11+, git and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
REPO ?= .
QUERIES ?=
# How many processes run tests side by side. The fault tests start hundreds of processes, which a tracer would slow down.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo check format lint types contracts unit test recording soak mutants bench quality model clients version \
	release clean

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## Create the environment

$(STAMP): pyproject.toml
	@echo "Creating the environment in $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "codebase-mcp needs Python 3.11 to 3.14: make PYTHON=/path/to/python3.11 …")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@# The name of the distribution until 0.1.0: left in place, both would own the command.
	@$(BIN)/python -m pip uninstall --quiet --quiet --yes codebase-mcp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $(STAMP)

demo: $(STAMP) ## Index REPO (default: this checkout) in a background job and run a few searches
	@BIN=$(BIN) sh scripts/demo.sh "$(REPO)" "$(QUERIES)"

check: lint types contracts unit ## The fast subset of `make test`

lint: $(STAMP)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(STAMP) ## Rewrite the sources in the project's format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: $(STAMP)
	@$(BIN)/mypy

contracts: $(STAMP)
	@$(BIN)/lint-imports --no-cache

unit: $(STAMP)
	@$(BIN)/pytest -q tests/unit

# Whole servers and command lines: tracing them costs minutes, and what they run is covered without them.
PROCESS_TESTS = tests/conformance $(addprefix tests/contract/test_,$(addsuffix .py,broken_requests handshake output \
	processes real_server search_quality shell stdio_product))

test: $(STAMP) lint types contracts ## Lint, types, contracts and every test against a real PostgreSQL, with coverage
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(JOBS) --dist worksteal --ignore=tests/faults $(PROCESS_TESTS:%=--ignore=%)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --fail-under=85
	@$(BIN)/coverage report --include='src/codebase_mcp/jobs/*,src/codebase_mcp/storage/*' --skip-covered --fail-under=95
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(PROCESS_TESTS) tests/faults

recording: $(STAMP) ## Record anew what the server says in a handshake, after a change of tools or of FastMCP
	@$(BIN)/python -m tests.support.handshake_recorder

soak: $(STAMP) ## The long form of the fault tests: hours of kills, outages and races (CYCLES=500, KILLS=200)
	@$(BIN)/pytest -q --soak -m soak --timeout=0 tests
	@$(BIN)/python -m tests.faults.soak --cycles $(or $(CYCLES),500) --kills $(or $(KILLS),200)

mutants: $(STAMP) ## Take the engine's guards out one at a time and see the tests turn red
	@$(BIN)/python -m tests.faults.mutants --write-docs

bench: $(STAMP) ## Measure speed and memory (REPO=/path, else Django, SciPy and the standard library)
	@$(BIN)/python -m benchmarks.speed $(if $(filter-out .,$(REPO)),--repo "$(REPO)")

quality: $(STAMP) ## Judge the answers by annotated queries over pinned packages (MORE="--whole --ablate")
	@$(BIN)/python -m benchmarks.checkouts --out benchmarks/.cache/checkouts
	@$(BIN)/python -m benchmarks.quality --queries benchmarks/annotated --checkouts benchmarks/.cache/checkouts $(MORE)

model: $(STAMP) ## Train the shipped embedding model again, from published weights and pinned packages
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement training/requirements.txt
	@$(BIN)/python training/fetch.py
	@$(BIN)/python training/mine.py
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python training/train.py

clients: $(STAMP) ## Run real assistants from npm against a scripted model and tell what they show it of the server
	@$(BIN)/python -m benchmarks.clients

version: $(STAMP) ## Write VERSION=… everywhere it stands and give the CHANGELOG its heading
	@$(BIN)/python -m scripts.release --set-version "$(VERSION)"
	@$(BIN)/python -m tests.support.handshake_recorder

release: $(STAMP) ## Build and check wheel, source distribution and plugins for URL=https://<host>/<owner>/<repository>
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group release
	@$(BIN)/python -m scripts.release "$(URL)"

clean: ## Remove the environment and all caches; indexed data stay
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
