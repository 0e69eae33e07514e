# make help says what there is. Everything is installed by this file's own steps.
SHELL := /bin/bash
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11) python3.11)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## ?/  \1\t/' | expand -t 14

.PHONY: run
run: system-run venv ## install what is needed, start the PBX on this machine, make a real call, show it
	@$(BIN)/python -m tools.demo

.PHONY: test
test: system venv engines ## every test but the long ones; needs root
	@$(MAKE) --no-print-directory -j2 lint unit
	tools/run-tests -m "not long" -n 3 --dist loadfile tests/contract tests/integration
	tools/run-tests -m "not long" tests/cluster

.PHONY: cluster
cluster: system venv engines ## every test of the cluster, and the long ones of the rest; needs root
	$(BIN)/pytest -m long -n 2 --dist loadfile tests/integration
	$(BIN)/pytest tests/cluster

.PHONY: engines
engines: ## Consul and Nomad for tests and labs, built once
	@tools/engines/build consul
	@tools/engines/build nomad

.PHONY: check
check: venv ## the quick one: lint, types, unit tests
	@$(MAKE) --no-print-directory -j2 lint unit

.PHONY: unit
unit: venv
	tools/run-tests -q -n 2 tests/unit

.PHONY: lint
lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --level error
	$(BIN)/lint-imports
	$(BIN)/deptry pbxctl services

.PHONY: lab
lab: system venv engines ## the cluster of examples/ha-cluster.yaml on hosts in network namespaces; needs root
	@$(BIN)/python -m tools.lab

.PHONY: chaos
chaos: system venv engines ## fail things while calls are up, 30 times each, and print what it cost; needs root
	$(BIN)/python -m tests.cluster.chaos $(CHAOS)

.PHONY: bench
bench: system venv ## benchmarks, each a ratio against a peer measured in the same run
	@$(BIN)/pip install -q --disable-pip-version-check -r bench/requirements.txt
	$(BIN)/python -m bench

.PHONY: system
system: ## Debian packages
	@tools/install-system packages.txt packages-test.txt

.PHONY: system-run
system-run:
	@tools/install-system packages.txt

.PHONY: venv
venv: $(VENV)/.installed ## virtual environment with pinned requirements

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -m venv $(VENV) || { echo "make: no virtual environment from $(PYTHON): run 'make system' as root first" >&2; exit 1; }
	@$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt || { echo "make: pip could not install requirements.txt; is the package index reachable?" >&2; exit 1; }
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -e . || { echo "make: the project itself did not install" >&2; exit 1; }
	@touch $@

.PHONY: clean
clean: ## remove what was built here
	rm -rf $(VENV) .cache out build *.egg-info .pytest_cache .ruff_cache .hypothesis
