# What people and CI run. Every target first makes what it needs; a machine has to bring Python 3.11 and make.

# The first of these that is new enough makes .venv.
PYTHON ?= python3 python3.13 python3.12 python3.11
BIN := .venv/bin
SET_UP := .venv/.set-up
BROWSER := .venv/.browser
# Containers often forbid it, and then every program that is started compiles the whole package again.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip -qq --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all browser judges check format lint types imports budget sizes fix docs bench clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(SET_UP) ## See the product at work on a simulated Test IO account
	@$(BIN)/testio-mcp demo

test: $(SET_UP) ## Run the tests that take three minutes (ARGS="-k name" passes options to pytest)
	@$(BIN)/python -m pytest -q -m "not slow and not judges" $(ARGS)

test-slow: $(SET_UP) $(BROWSER) ## Run the tests that are slow for a reason
	@$(BIN)/python -m pytest -q -m "slow and not judges" $(ARGS)

test-all: test test-slow ## Run all tests but those of the judges

browser: $(BROWSER) ## See to a Chromium for the tests of pages; CHROMIUM names one that is elsewhere

judges: $(SET_UP) ## Let the protocol's conformance suite and other people's clients judge the server (needs Node)
	@$(BIN)/python -m pytest -q -m judges tests/surfaces/test_conformance.py tests/surfaces/test_clients.py

check: format lint types imports budget ## Check format, lint, types, layers and size

format: $(SET_UP)
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make fix'." >&2; exit 1; }

lint: $(SET_UP)
	@$(BIN)/ruff check --quiet .

types: $(SET_UP)
	@$(BIN)/mypy

imports: $(SET_UP)
	@$(BIN)/lint-imports --no-logo

budget: $(SET_UP)
	@$(BIN)/python -m pytest -q -n 0 tests/test_budget.py

fix: $(SET_UP) ## Format, and correct what the linter can
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

sizes: $(SET_UP) ## Report how large the code is, and what of it is hard to read
	@$(BIN)/python -m tools.sizes

docs: $(SET_UP) ## Write the generated pages of docs/
	@$(BIN)/python -m tools.docs

bench: $(SET_UP) ## Measure, and write docs/architecture/PERFORMANCE.md
	@$(BIN)/python -m benchmarks

clean: ## Remove everything that is not in the repository's care, .venv included
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .bench
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Old pips do not know dependency groups.
$(SET_UP): pyproject.toml constraints.txt
	@echo "Setting up .venv ..." >&2
	@for python in $(PYTHON); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exec $$python -m venv .venv; \
	done; echo "Python 3.11 or newer is needed: name it with PYTHON=..." >&2; exit 1
	@$(PIP) install 'pip>=25.1'
	@$(PIP) install -c constraints.txt -e '.[demo,postgres]' --group dev
	@touch $@

# Tests of pages are skipped without one; only root can install it, and only where apt-get knows it.
$(BROWSER): | $(SET_UP)
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v "$$name" >/dev/null && exit 0; \
	done; test -n "$$CHROMIUM" && exit 0; \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "Installing Chromium ..." >&2 && \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; } \
		>/dev/null || echo "There is no Chromium: the tests of pages will be skipped." >&2
	@touch $@
