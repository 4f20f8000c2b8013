# Every target works on a fresh machine with Python 3.11 to 3.13 and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
PIP := $(BIN)/python -m pip install --disable-pip-version-check
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed

.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with all that runs, at the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into $(VENV): 1.6 GB, some minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt --editable '.[embedded,s3]'
	touch $@

develop: $(DEVELOPED) ## Into it, what tests and checks need

$(DEVELOPED): $(INSTALLED) tests/clients/requirements.txt
	$(PIP) --quiet --constraint constraints.txt --editable '.[dev]'
	$(PIP) --quiet --no-deps --requirement tests/clients/requirements.txt
	touch $@

demo: install ## Start everything, draw a picture, receive its callback, stop
	$(BIN)/darkroom demo

up: install ## Start everything on this machine and stay (PORT=8080)
	$(BIN)/darkroom up --port $(PORT)

test: develop ## All tests, on embedded PostgreSQL and Redis
	$(BIN)/pytest

# Both are in `make test` too, with less left to chance. DARKROOM_FUZZ_SEED=2 makes other ones.
fuzz: develop ## Thousands of generated requests and spoiled bodies (minutes)
	DARKROOM_FUZZ_EXAMPLES=100 DARKROOM_FUZZ_BODIES=20000 \
		$(BIN)/pytest --timeout 3600 tests/orchestrator/test_schemathesis.py tests/orchestrator/test_mutations.py

chaos: develop ## Kill every part a hundred times under load, and the dispatcher a thousand times (a quarter of an hour)
	DARKROOM_ROUNDS=12 $(BIN)/pytest -s tests/chaos
	DARKROOM_KILLS=1000 $(BIN)/pytest -s --timeout 14400 tests/webhooks/test_kills.py

check: develop lint types imports test ## What CI runs: format, lint, types, import contracts, tests

lint: develop ## Format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: develop ## mypy, strict
	$(BIN)/mypy

imports: develop ## Which package may import which
	$(BIN)/lint-imports

format: develop ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: develop ## Speed against bare aiohttp and stock diffusers, side by side
	$(BIN)/python -m benchmarks

crowd: develop ## GET with its rank, a million jobs waiting against a thousand (minutes)
	$(BIN)/python -m benchmarks.crowd

likeness: develop ## Each stage against the stock diffusers pipelines, in 8-bit units (minutes)
	$(BIN)/python -W ignore -m benchmarks.likeness

forecasts: develop ## How true what clients are told of starts is, with a real worker (minutes)
	$(BIN)/python -m benchmarks.forecasts

simulate: develop ## The queue's order against others, on made-up traffic (SIMULATE='--load 0.9 --workers 40')
	$(BIN)/python -m benchmarks.simulation $(SIMULATE)

model: develop ## Train the bundled model again (hours; goes on where it was cut)
	$(BIN)/python -m training

clean: ## Remove .venv, caches and the local installation's data
	rm -rf $(VENV) .darkroom .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.PHONY: help install develop demo up test fuzz chaos check lint types imports format bench crowd forecasts likeness simulate model clean
