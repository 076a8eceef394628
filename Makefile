# Everything is installed in .venv; nothing outside this folder changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MLFLOW := build/mlflow
UPGRADE ?= --upgrade

.DEFAULT_GOAL := help
.PHONY: help install demo demo-sweep test test-all suite lint api bench bench-inheritance bench-sweeps chaos chaos-sweep bench-control-plane bench-growth bench-dispatching bench-detectors bench-shared-teacher bench-autoscaling requirements clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 24

install: $(READY)  ## Create .venv with every pinned package

# uv reads the same pinned file as pip and downloads in parallel; bytecode is compiled here once, not in the first job.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fgd needs Python 3.11 or later; name one with make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY)  ## Train a teacher, distil a student on this machine, and write a report
	$(BIN)/fgd demo

demo-sweep: $(READY)  ## Search the distillation weights of a pair in twelve trials, and write a report
	$(BIN)/fgd demo-sweep

# Three processes more than cores: one has a Ray and mostly waits, as do those that look at pages.
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min(8, 3 + len(os.sched_getaffinity(0))))')

# The checks use the cores that the first tests leave free while they start their processes.
test: $(READY)  ## Run all checks, and a test of everything; needs no network once installed
	$(MAKE) --no-print-directory --jobs 2 lint suite

test-all: $(READY)  ## Run all checks and all tests, with the slow variants too
	$(MAKE) --no-print-directory --jobs 2 lint suite TIER=

TIER ?= -m "not slow"

# A thread of PyTorch that waits for the others must not keep a core busy, which other tests could use.
suite: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -rsfE --processes $(PROCESSES) $(TIER)

lint: $(READY)  ## Run ruff and mypy, and check the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

api: $(READY)  ## Update the stored outline of the API after an intended change
	$(BIN)/python -m tests.service.api_outline

# Each takes at most some minutes; together they take 15 on 2 cores. They follow each other: times need a quiet machine.
SHORT := fgd_loss waiting demo_seeds comparison diagnosing dispatching

bench: $(READY)  ## Run the short benchmarks one after another (about 15 minutes on 2 cores)
	set -e; for name in $(SHORT); do echo "-- $$name"; $(BIN)/python -m benchmarks.$$name; done

bench-inheritance: $(READY)  ## Measure gain apart from inheritance: four students, three seeds (about 40 minutes on 2 cores)
	$(BIN)/python -m benchmarks.inheritance

bench-sweeps: $(READY)  ## Compare searchers with random search, ASHA with no scheduler, a sweep with plain Ray Tune
	$(BIN)/python -m benchmarks.searching
	$(BIN)/python -m benchmarks.tuning_overhead
	$(BIN)/python -m benchmarks.sweep_verdicts

chaos: $(READY)  ## Kill every part while 30 jobs run, and check that each job ends once, with the right result
	$(BIN)/python -m tests.chaos

chaos-sweep: $(READY)  ## Kill the driver of a sweep five times, and check that the result equals an undisturbed sweep
	$(BIN)/python tests/end_to_end/killed_sweep.py

bench-growth: $(READY)  ## Measure how the control plane slows down with what is stored: jobs, files, trials (about 10 minutes)
	$(BIN)/python -m benchmarks.control_plane.growth

bench-control-plane: $(READY) $(MLFLOW)/.ready  ## Compare the control plane with MLflow's tracking server (needs the network once)
	$(BIN)/python -m benchmarks.control_plane --mlflow $(MLFLOW)/bin/mlflow

bench-dispatching: $(READY)  ## Measure a tick of the dispatcher with a simulated Ray of 1,000 nodes and 2,000 runs
	$(BIN)/python -m benchmarks.dispatching

bench-detectors: $(READY)  ## Overfit every detector, distil every pair, learn masks of nuclei (about an hour; needs ../shared/data)
	$(BIN)/python -m benchmarks.pairs
	$(BIN)/python -m benchmarks.nuclei

bench-shared-teacher: $(READY)  ## Measure what sharing a teacher among four trials saves (about 8 minutes on 2 cores)
	$(BIN)/python -m benchmarks.shared_teacher

bench-autoscaling: $(READY)  ## Measure how a single job brings up the node it needs, and how the node goes again
	$(BIN)/python -m benchmarks.autoscaling

# MLflow has its own environment, because its requirements would conflict with our pins.
$(MLFLOW)/.ready: $(READY)
	$(PYTHON) -m venv $(MLFLOW)
	$(MLFLOW)/bin/python -m pip install --quiet --disable-pip-version-check mlflow==3.17.2 psycopg2-binary==2.9.13
	touch $@

PIN := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links
# The files for the images also have hashes: an image gets the pinned packages, or its build fails.
PIN_IMAGE := $(PIN) --generate-hashes --no-annotate --constraint requirements.txt

requirements: $(READY)  ## Update the pins from pyproject.toml; UPGRADE= keeps the pins that still fit
	$(PIN) --all-extras --group dev --output-file requirements.txt $(UPGRADE) pyproject.toml
	$(PIN_IMAGE) --extra service --extra loggers --output-file deploy/requirements-service.txt pyproject.toml
	$(PIN_IMAGE) --extra workers --output-file deploy/requirements-workers.txt pyproject.toml
	echo 'setuptools>=80' | $(PIN_IMAGE) --output-file deploy/requirements-build.txt -

clean:  ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build ./*.egg-info
