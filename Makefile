# Everything runs in .venv, which is made from nothing with the pinned packages of constraints.txt.
# Needs: make, bash and Python 3.11 or later (another interpreter: make PYTHON=python3.12 test).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
JOBS ?= 2
PYTEST_ARGS ?=

# Nothing from outside the environment may leak in.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1
export MPLBACKEND := Agg

.PHONY: help demo test lint derivations bench gallery clean environment

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  \1\t\2/' | expand -t 16

environment: $(STAMP) ## create .venv and install the package with everything it needs

# --clear only when the environment at hand would see the packages of the system, or does not start.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"infgeo needs Python 3.11 or later, and {sys.executable} is {v.major}.{v.minor}: make PYTHON=... names another")'
	@if ! grep -qs 'include-system-site-packages = false' $(VENV)/pyvenv.cfg || ! $(RUN) -m pip --version >/dev/null 2>&1; then \
		echo '$(PYTHON) -m venv --clear $(VENV)'; $(PYTHON) -m venv --clear $(VENV); \
	fi
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(RUN) -m pip check
	@touch $@

demo: $(STAMP) ## derive and validate erf and ReLU, also on real data; writes out/
	$(RUN) -m infgeo.demo

# Two processes with one thread each are faster here than one process with two threads.
test: $(STAMP) ## run the tests and the examples in the docstrings
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

lint: $(STAMP) ## check style, formatting, types and the direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

derivations: $(STAMP) ## run derivations/NN_*.py and render them to out/derivations/
	$(RUN) derivations/render.py derivations/[0-9][0-9]_*.py --output out/derivations

bench: $(STAMP) ## run every benchmark
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; OMP_NUM_THREADS=1 $(RUN) $$file; done

gallery: $(STAMP) ## run every figure of the paper at small scale and write docs/gallery.md
	$(RUN) -m infgeo.reproduce.gallery

clean: ## remove the environment, the outputs and the caches
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find infgeo tests derivations benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
