# Every target works on a fresh machine with Python 3.11 to 3.13 and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything, at the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt tests/clients/requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/clients/requirements.txt
	touch $@

demo: install ## Start everything, draw a picture, receive its callback, stop
	$(BIN)/darkroom demo

up: install ## Start everything on this machine and stay (PORT=8080)
	$(BIN)/darkroom up --port $(PORT)

test: install ## All tests, on embedded PostgreSQL and Redis
	$(BIN)/pytest

# Both are in `make test` too, with less left to chance. DARKROOM_FUZZ_SEED=2 makes other ones.
fuzz: install ## Thousands of generated requests and spoiled bodies (minutes)
	DARKROOM_FUZZ_EXAMPLES=100 DARKROOM_FUZZ_BODIES=20000 \
		$(BIN)/pytest --timeout 3600 tests/orchestrator/test_schemathesis.py tests/orchestrator/test_mutations.py

chaos: install ## Kill every part a hundred times under load, and the dispatcher a thousand times (hours)
	DARKROOM_ROUNDS=12 $(BIN)/pytest -s tests/chaos
	DARKROOM_KILLS=1000 $(BIN)/pytest -s --timeout 14400 tests/webhooks/test_kills.py

check: install lint types imports test ## What CI runs: format, lint, types, import contracts, tests

lint: install ## Format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install ## mypy, strict
	$(BIN)/mypy

imports: install ## Which package may import which
	$(BIN)/lint-imports

format: install ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## Speed against bare aiohttp and stock diffusers, side by side
	$(BIN)/python -m benchmarks

crowd: install ## GET with its rank, a million jobs waiting against a thousand (minutes)
	$(BIN)/python -m benchmarks.crowd

likeness: install ## Each stage against the stock diffusers pipelines, in 8-bit units (minutes)
	$(BIN)/python -W ignore -m benchmarks.likeness

simulate: install ## The queue's order against others, on made-up traffic (SIMULATE='--load 0.9 --workers 40')
	$(BIN)/python -m benchmarks.simulation $(SIMULATE)

model: install ## Train the bundled model again (hours; goes on where it was cut)
	$(BIN)/python -m training

clean: ## Remove .venv, caches and the local installation's data
	rm -rf $(VENV) .darkroom .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.PHONY: help install demo up test fuzz chaos check lint types imports format bench crowd likeness simulate model clean
