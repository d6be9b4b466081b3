# Two commands on a fresh machine: `make demo` and `make test`.
# Packages are installed into .venv on first use, and only those that the target needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.10 || command -v python3)
VENV ?= .venv
# More arguments for pip, for example another index for the CPU build of torch.
PIP_ARGS ?=
# More arguments for the command behind a target: make demo ARGS="--ticks 600 --seed 7"
ARGS ?=

BIN := $(VENV)/bin
DEMO := $(VENV)/.sim2street-demo
DEV := $(VENV)/.sim2street-dev
INSTALL = "$(BIN)/python" -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow test-carla lint format docs clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(DEMO) ## Drive the town and film it: out/demo/demo.mp4 and a contact sheet
	"$(BIN)/sim2street" demo $(ARGS)

setup: $(DEV) ## Install everything for development into .venv (other targets do it when needed)

test: lint ## Lint, types and the fast tests
	"$(BIN)/python" -m pytest $(ARGS)

slow: $(DEV) ## The tests that take minutes
	"$(BIN)/python" -m pytest -m slow --timeout 900 $(ARGS)

test-carla: $(DEV) ## The bridge against a real CARLA server: make test-carla HOST=localhost:2000
	SIM2STREET_CARLA="$(HOST)" "$(BIN)/python" -m pytest --timeout 600 tests/bridge/carla/test_carla_real_server.py $(ARGS)

lint: $(DEV) ## Style, types and dead code
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/vulture"

format: $(DEV) ## Rewrite the sources in the project's style
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

docs: $(DEV) ## Build the documentation site: out/site/index.html
	"$(BIN)/mkdocs" build --strict $(ARGS)

clean: ## Remove what the targets above made
	rm -rf "$(VENV)" out build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(DEMO): pyproject.toml constraints.txt $(BIN)/pip
	@echo "Installing what the demo needs into $(VENV), once: about 1.2 GB, most of it torch"
	@$(INSTALL) -e '.[demo]'
	@touch "$@"

$(DEV): pyproject.toml constraints.txt $(BIN)/pip
	@echo "Installing everything for development into $(VENV), once: about 2 GB, a few minutes"
	@$(INSTALL) -e '.[dev]'
	@touch "$@" "$(DEMO)"

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "No python3 found: install Python 3.10 or newer, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is older than Python 3.10: run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear "$(VENV)" || { \
	  echo "Cannot make a virtual environment: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
	@touch "$@"
