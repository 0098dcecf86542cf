# Every command a user or a developer types. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
export DATA_DIR ?= ../shared/data
export KILLS BROKER_KILLS CONFORMANCE_JSON
WORKER ?=
SOAK_SECONDS ?= 3600
HOSTILE_RECORDS ?= 1000000
BENCH ?= stream
# Tests wait for brokers most of the time. Each process has a broker of its own, so more of them would cost memory.
SIDE_BY_SIDE := -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder

##@ Use it
.PHONY: demo
demo: $(VENV)/installed ## Kafka, federated training, export, two workers and a live view. ARGS="--help" lists the options
	@$(BIN)/python -m deploy.local demo $(ARGS)

.PHONY: setup
setup: $(VENV)/installed ## Create .venv from the locked, hashed packages (the other targets do it themselves)

##@ Work on it
.PHONY: test
test: $(VENV)/installed ## Every tier this machine can run; prints what it skipped and why
	$(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-fast
test-fast: $(VENV)/installed ## The tier without Kafka and TensorFlow, in seconds, on all cores
	$(BIN)/pytest -m fast -n auto $(ARGS)

.PHONY: hostile
hostile: $(VENV)/installed ## HOSTILE_RECORDS damaged records, a million, over a broker in memory: is each answered or refused, once?
	HOSTILE_RECORDS=$(HOSTILE_RECORDS) $(BIN)/pytest tests/worker/test_hostile_records.py

# Hostile records are for Limelight's own worker; and who chooses some of the cases does not ask for a million of them.
.PHONY: conformance
conformance: $(VENV)/installed $(if $(strip $(WORKER)$(ARGS)),,hostile) ## Exactly once under every fault. KILLS=200 BROKER_KILLS=20 prolong it, WORKER="..." tries another worker
	CONFORMANCE=whole CONFORMANCE_WORKER="$(WORKER)" $(BIN)/pytest tests/conformance $(ARGS)

.PHONY: soak
soak: $(VENV)/installed ## One worker at 80 % of its capacity for SOAK_SECONDS: is its memory flat, and its latency?
	CONFORMANCE_WORKER="$(WORKER)" $(BIN)/python tests/conformance/soak.py --seconds $(SOAK_SECONDS) $(ARGS)

.PHONY: bench
bench: $(VENV)/installed ## What each layer of the worker costs, on a broker of its own. BENCH=delivery measures one thing more closely
	PYTHONPATH=.:tests/conformance:tests/bench $(BIN)/python tests/bench/$(BENCH).py $(ARGS)

.PHONY: lint
lint: $(VENV)/installed ## ruff, mypy --strict on worker and export, and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: audit
audit: $(VENV)/installed ## Known vulnerabilities in the locked packages. Fails, and says so, where not all could be checked
	$(BIN)/python -m deploy.audit requirements/worker.lock requirements/full.lock requirements/bootstrap.lock tests/bench/peers/peers.lock

.PHONY: format
format: $(VENV)/installed ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: schemas
schemas: $(VENV)/installed ## Generate worker/schemas/*.json from the message types, and the list of metrics
	$(BIN)/python -m worker.schemas
	$(BIN)/python -m worker.metrics

.PHONY: lock
lock: $(VENV)/installed ## Resolve the dependencies again and write requirements/*.lock
	@# Full first, then the worker constrained by it: the other order has no solution.
	$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --generate-hashes --no-header \
	  --all-extras --group dev pyproject.toml -o requirements/full.lock
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-header \
	  -c requirements/full.lock pyproject.toml -o requirements/worker.lock
	$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --generate-hashes --no-header \
	  tests/bench/peers/pyproject.toml -o tests/bench/peers/peers.lock

.PHONY: clean
clean: ## Remove what the targets above created in this directory
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv comes from a hashed lock of its own; it is never asked to `sync` or `lock`, which would write addresses.
$(VENV)/installed: requirements/bootstrap.lock requirements/full.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "limelight needs Python 3.11: '$(PYTHON)' was not found. Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --compile-bytecode -r requirements/full.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
