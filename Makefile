# Two commands on a fresh machine: `make demo` and `make test`.
# Everything is installed into .venv from package registries, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.10 || command -v python3)
VENV ?= .venv
# More arguments for pip, for example another index for the CPU build of torch.
PIP_ARGS ?=
# More arguments for the command behind a target: make demo ARGS="--ticks 600 --seed 7"
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.sim2street-ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow test-carla lint format clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Install everything into .venv (the other targets do it when needed)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.10, 3.11 or 3.12, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "$(PYTHON) is not Python 3.10, 3.11 or 3.12: run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(BIN)/python" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(VENV)" || { \
	  echo "Cannot make a virtual environment: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV), once: some 2 GB, a few minutes"
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch "$@"

demo: $(READY) ## Drive the town and film it: out/demo/demo.mp4 and a contact sheet
	"$(BIN)/sim2street" demo $(ARGS)

test: lint ## Lint, types and the fast tests
	"$(BIN)/python" -m pytest $(ARGS)

slow: $(READY) ## The tests that take minutes
	"$(BIN)/python" -m pytest -m slow --timeout 900 $(ARGS)

test-carla: $(READY) ## The bridge against a real CARLA server: make test-carla HOST=localhost:2000
	SIM2STREET_CARLA="$(HOST)" "$(BIN)/python" -m pytest --timeout 600 tests/bridge/carla/test_carla_real_server.py $(ARGS)

lint: $(READY) ## Style and types
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

format: $(READY) ## Rewrite the sources in the project's style
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

clean: ## Remove what the targets above made
	rm -rf "$(VENV)" out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
