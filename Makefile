# `make help` lists the targets. Needs python3 (3.11 or 3.12) with venv, pip and make; no more.
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
GPU_VENV ?= .venv-gpu
BIN := $(VENV)/bin
CANDIDATES := $(or $(PYTHON),python3 python3.12 python3.11)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The locks are complete and hashed, so pip neither resolves nor builds anything. Byte code is
# written for what is imported, at the first import: a third of the installation time saved.
# Tests start many interpreters, and a user may have forbidden that, so theirs is written here.
WARM := jax, flax.linen, optax, orbax.checkpoint, mujoco.batch, gymnasium, scipy.stats
PIP_INSTALL := $(BIN)/python -m pip install -qq --no-input --no-deps --no-compile
PIP_LOCKED := $(PIP_INSTALL) --require-hashes --only-binary :all:

DEMO_TASK ?= cartpole-swingup
DEMO_DIR ?= runs/demo
# 25 decisions a second (four frames each): about two minutes of learning on two cores.
DEMO_FLAGS ?= --recipe demo
DEMO_SEED ?= 0
LOCK_FLAGS ?=
TESTS ?= tests
# Each worker needs about 2 GB; tests of one file share trained models, so they stay together.
# Files are handed out as they are named, with those that train first and short ones at the end.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup setup-dev demo test test-slow soak check format docs bench bench-cycle bench-gpu lock build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.setup ## Make .venv with the latentmpc command, from requirements.lock

setup-dev: $(VENV)/.setup-dev ## The same, with the test and lint tools

demo: setup ## Train cartpole-swingup, evaluate it closed-loop, write runs/demo/
	@$(BIN)/latentmpc train $(DEMO_TASK) --run-dir $(DEMO_DIR) --seed $(DEMO_SEED) $(DEMO_FLAGS)
	@echo "Report: $(DEMO_DIR)/report.html   Figures: $(DEMO_DIR)/result.json"

test: setup-dev ## Run the tests (TESTS=tests/wm for some of them, WORKERS=4 for more processes)
	@$(PYTEST) $(TESTS)

test-slow: setup-dev ## Run the tests marked slow, and those of equal bits with full optimisation
	@XLA_FLAGS= $(PYTEST) -m "slow or exact" --timeout 1800 $(TESTS)

SOAKS := configs safety controller messages rate mutations resealed frames transport realtime
soak: setup-dev ## Run the long trials of safety, bundles, serving and real time at full count
	@failed=0; for name in $(SOAKS); do $(BIN)/python -m tests.soak $$name || failed=$$?; done; exit $$failed

check: setup-dev ## Lint, format check, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pyright

format: setup-dev ## Fix what the linter and the formatter can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup-dev ## Build the documentation into build/site; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Documentation: build/site/index.html (python3 -m http.server -d build/site: with search)"

bench: setup ## Time simulators, planner and learner; print the ratios
	@$(BIN)/python -m tests.speed.bench_quick

bench-cycle: setup ## Time fused loop, many simulators in a call and populations; print the ratios
	@$(BIN)/python -m tests.speed.bench_cycle

bench-gpu: ## Headline figures in 9 minutes on a GPU machine without a network (WHEELS=DIR)
	@test -d "$(WHEELS)" || { echo "which wheels? make bench-gpu WHEELS=DIR; DIR is what" \
	  "\`pip wheel --wheel-dir DIR '.[gpu]'\` makes on a machine with a network" >&2; exit 2; }
	@test -d $(GPU_VENV) || $(firstword $(CANDIDATES)) -m venv $(GPU_VENV)
	@$(GPU_VENV)/bin/python -m pip install -qq --no-index --find-links "$(WHEELS)" "latentmpc[gpu]"
	@$(GPU_VENV)/bin/python -m tests.speed.bench_gpu

lock: setup-dev ## Resolve into the two lock files again (LOCK_FLAGS=--upgrade)
	@$(BIN)/python .ci/lock.py $(LOCK_FLAGS)

build: setup-dev ## Build sdist and wheel, smoke-test the wheel from another folder
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	@$(BIN)/python .ci/smoke_wheel.py dist/*.whl

clean: ## Remove the environment, caches and builds (runs/ stays)
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .jax_cache MUJOCO_LOG.TXT
	@find agents envs planning scripts tests wm -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2> /dev/null; then \
	    echo "Making $(VENV) with $$("$$python" -V)"; \
	    "$$python" -m venv $(VENV) && exit 0; \
	    echo "make: $$python cannot make a virtual environment: install its venv module (Debian: python3-venv)" >&2; \
	    rm -rf $(VENV); exit 2; \
	  fi; \
	done; \
	echo "make: no Python 3.11 or 3.12 among: $(CANDIDATES). Say where one is: make PYTHON=/path/to/python3.12" >&2; exit 2

$(VENV)/.setup: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages into $(VENV) (a few hundred MB the first time)"
	@$(PIP_LOCKED) -r requirements.lock
	@$(PIP_INSTALL) --no-build-isolation --editable .
	@PYTHONDONTWRITEBYTECODE= $(BIN)/latentmpc train --help-all > /dev/null
	@touch $@

$(VENV)/.setup-dev: requirements-dev.lock $(VENV)/.setup
	@echo "Installing the test and lint tools into $(VENV)"
	@$(PIP_LOCKED) -r requirements-dev.lock
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -W ignore -c "import $(WARM)"
	@touch $@
