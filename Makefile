# Everything a person types. `make help` lists it. Needs bash, Python 3.11 or newer and, to install, the internet;
# make PYTHON=python3.12 repro chooses another interpreter.
SHELL := /bin/bash
PYTHON ?= python3
ARGS ?=
LADDER ?= demo
CLUSTER ?= infra/ray/on-prem.yaml
SHARED := /mnt/stylegan

# In two steps: what running needs, and beside it what tests need, which a user may never want.
INSTALLED := .venv/installed
INSTALLED_DEV := .venv/installed-dev
INSTALL := .venv/bin/python infra/install.py
# infra/install.py compares every file with its sha256 in infra/locks.
# The environment is the only place to install to, whatever a user has told pip to do elsewhere.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX
# Stages start `python`: it has to be the environment's. Not exported to all rules, because $(PYTHON) must stay outside it.
ACTIVATE := export PATH="$(CURDIR)/.venv/bin:$$PATH" DVC_NO_ANALYTICS=true MLFLOW_DISABLE_TELEMETRY=true &&
# DVC wants a Git repository unless it is told otherwise, and a downloaded archive is none.
WITH_GIT := $(shell git rev-parse --git-dir 2>/dev/null)
DVC := $(if $(WITH_GIT),,dvc config --quiet --local core.no_scm true &&) dvc

.PHONY: help repro sweep ablate stop test test-cluster lint ui bench weights-standard up fetch-report clean
.DELETE_ON_ERROR:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

repro: $(INSTALLED) ## assets, prepare, train, evaluate, render, and the run in MLflow; done work is not done again
	@$(ACTIVATE) $(DVC) repro $(ARGS)
	@$(ACTIVATE) python -m pipelines.tracking publish || \
		echo "Not everything reached the tracking server; nothing is lost, the next 'make repro' sends it." >&2
	@echo "Report: $(CURDIR)/reports/index.html (open it in a browser). Compare runs: make ui"

# Arguments are for one sweep; what `make sweep` alone runs stands in params.yaml, so DVC knows when it is done.
sweep: $(INSTALLED) ## try parameters of training and truncation, compare them in MLflow; ARGS="--kimg 200 --gpus 8"
	@$(ACTIVATE) $(DVC) repro $(if $(ARGS),prepare assets && python -m pipelines.sweep $(ARGS),sweep/dvc.yaml)
	@echo "Results: $(CURDIR)/reports/sweep/table.md. Compare trials: make ui"

# As with sweeps: without arguments DVC knows when a ladder is done.
ablate: $(INSTALLED) ## compare the rows of a ladder in pipelines/ladders/; LADDER=stylegan2 ARGS="--kimg 200 --gpus 8"
	@$(ACTIVATE) $(DVC) repro $(if $(ARGS),prepare assets && python -m pipelines.ablate --ladder $(LADDER) $(ARGS),ablate/dvc.yaml:ablate@$(LADDER))
	@echo "Results: $(CURDIR)/reports/ablate/$(LADDER)/index.html (open it in a browser). Compare rows: make ui"

# What is not installed trains nothing, so nothing is installed to say so.
stop: ## end what trains here, and Ray's processes that a killed trainer left; ARGS="--list" only shows them
	@if [ -e $(INSTALLED) ]; then $(ACTIVATE) python -m pipelines.stop $(ARGS); \
		else echo "Nothing trains here: .venv is not installed yet."; fi

test: $(INSTALLED_DEV) assets/manifest.json ## run the default tests; ARGS="-m long" runs those that take minutes, ARGS=tests/unit a part
	@$(ACTIVATE) pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

# One after the other: each starts machines, servers or several trainings, and needs the processors for itself.
test-cluster: $(INSTALLED_DEV) assets/manifest.json ## run the tests of clusters, servers and lost machines (root; CONTRIBUTING.md)
	@$(ACTIVATE) pytest -m "cluster or faults" --durations 0 tests/distributed tests/integration $(ARGS)

lint: $(INSTALLED_DEV) ## style, format, types and direction of imports
	@$(ACTIVATE) ruff check . && ruff format --check . && mypy && lint-imports

ui: $(INSTALLED) ## open the comparison of runs in MLflow
	@$(ACTIVATE) python -m pipelines.tracking ui

bench: $(INSTALLED) ## time one training step on this machine
	@$(ACTIVATE) python -m benchmarks.training_step $(ARGS)

weights-standard: $(INSTALLED) ## download the networks of published metrics (Inception, VGG16) into weights/
	@$(ACTIVATE) python -m pipelines.weights_standard

# Ray's own way of making a token leaves a file that others may read.
up: $(INSTALLED) ## start the cluster of CLUSTER=infra/ray/on-prem.yaml, guarded by a token in ~/.ray/auth_token; ends other Ray of its user there
	@umask 077 && mkdir -p ~/.ray && { [ -s ~/.ray/auth_token ] || $(PYTHON) -c 'import secrets; print(secrets.token_hex(32), end="")' > ~/.ray/auth_token; }
	@chmod 600 ~/.ray/auth_token
	@$(ACTIVATE) ray up $(CLUSTER) $(ARGS)

# No environment is built for it: `make up` needed one already.
fetch-report: ## bring reports/, models/ and dvc.lock from the head of CLUSTER=infra/ray/on-prem.yaml
	@mkdir -p reports models
	@$(ACTIVATE) for name in reports/ models/ dvc.lock; do \
		ray rsync-down $(CLUSTER) $(SHARED)/project/$$name $$name || exit 1; done
	@echo "Report: $(CURDIR)/reports/index.html (open it in a browser)."

clean: ## remove outputs that `make repro` restores from DVC's cache, and caches; runs and your files stay
	@if [ -e $(INSTALLED) ]; then $(ACTIVATE) python -m pipelines.clean; fi
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# Weights and pictures that some tests read.
assets/manifest.json: | $(INSTALLED)
	@$(ACTIVATE) $(DVC) repro assets

$(INSTALLED): pyproject.toml constraints.txt infra/install.py $(wildcard infra/locks/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there); Python 3.11 or newer is needed." \
		     "Name one that you have: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(INSTALL)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(INSTALL) --extra dev
	@touch $@
