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
DOCS_STAMP := $(VENV)/.installed-docs
LOWEST := .venv-lowest
LOWEST_TORCH := 2.13.0
LOWEST_SYMPY := 1.13.3
OTHER_VENV := .venv-python
JOBS ?= 2
PYTEST_ARGS ?=

# Nothing from outside the environment may leak in.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1
export MPLBACKEND := Agg

# What rounds: the files that see how BLAS and the vector units do it.
ROUNDING := tests/testing tests/adapters infgeo/testing infgeo/finite tests/numeric/test_geometry.py \
	tests/numeric/test_kernels.py tests/numeric/runtime/gram/test_fast.py tests/finite/test_pullback.py \
	tests/finite/test_sampled_network.py \
	tests/tracking/test_tracker.py tests/training/test_loop.py
# The kernels in force, by their own names (OpenBLAS has Katmai for Prescott).
KERNELS := import numpy, scipy.linalg, torch, threadpoolctl; \
	print('OpenBLAS of NumPy and SciPy:', *(p['architecture'] for p in threadpoolctl.threadpool_info() if 'architecture' in p), \
	'; torch:', torch.backends.cpu.get_cpu_capability())
# A little of everything, for other releases of the libraries and of Python.
SHORT := tests/test_public_api.py tests/validation/test_picture.py tests/adapters tests/symbolic/expectations/test_expectation.py \
	tests/symbolic/kernels/test_kernel.py tests/numeric/certificates/test_accuracy.py tests/numeric/test_kernels.py $(addprefix tests/finite/test_,pullback.py geometry_at_points.py sampled_network.py) \
	tests/tracking/test_store.py tests/training/test_perceptrons.py tests/training/test_loop.py tests/magnification/test_boundary.py \
	tests/reproduce/test_planar_figures.py

SHORT_WITHOUT_TORCH := infgeo/symbolic $(addprefix tests/symbolic/,$(addsuffix .py,expectations/test_expectation kernels/test_kernel \
	networks/test_network geometry/test_any_metric activations/test_parsing)) tests/magnification/test_seed_summary.py
WITHOUT_TORCH := mpmath numpy scipy sympy hypothesis pytest pytest-xdist
# Old libraries call what their own successors deprecate.
OLD_WARNINGS := -W ignore::FutureWarning -W ignore::DeprecationWarning

.PHONY: help demo test test-slow test-all test-processors test-lowest test-python run-other-python lint docs bench gallery \
	clean environment

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

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

$(DOCS_STAMP): $(STAMP)
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	$(RUN) -m pip check
	@touch $@

demo: $(STAMP) ## derive and validate erf and ReLU, also on real data; writes out/
	$(RUN) docs/demo.py

# Two processes with one thread each are faster here than one process with two threads.
PYTEST = OMP_NUM_THREADS=1 $(1) -m pytest -n $(JOBS) --dist worksteal

test: $(STAMP) ## run the tests and the examples in the docstrings, but for the slow ones
	$(call PYTEST,$(RUN)) -m 'not slow' $(PYTEST_ARGS)

test-slow: $(STAMP) ## run the slow ones too, of the longest one slow case each
	$(call PYTEST,$(RUN)) -m 'not sweep' $(PYTEST_ARGS)

test-all: $(STAMP) ## run every case, in about an hour
	$(call PYTEST,$(RUN)) $(PYTEST_ARGS)

# Prescott has no AVX and no FMA, Haswell both; `default` of torch is SSE. Elsewhere than on x86-64 there is no choice.
test-processors: $(STAMP) ## run a short selection as older processors round (x86-64)
	@if [ "$$(uname -m)" != x86_64 ]; then echo 'no x86-64: nothing to choose'; exit; fi; \
	for processor in Prescott:default Haswell:avx2; do \
		export OPENBLAS_CORETYPE=$${processor%:*} ATEN_CPU_CAPABILITY=$${processor#*:}; \
		$(RUN) -c "$(KERNELS)"; \
		$(call PYTEST,$(RUN)) -m 'not slow' $(ROUNDING); \
	done

test-lowest: $(LOWEST)/.installed ## run a short selection with the lowest releases of the libraries
	$(call PYTEST,$(LOWEST)/bin/python) -m 'not slow' $(OLD_WARNINGS) $(SHORT)

# See CONTRIBUTING.md for what torch 2.4, the floor, takes.
$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -c constraints-lowest.txt torch==$(LOWEST_TORCH) sympy==$(LOWEST_SYMPY) -e '.[test]'
	$(LOWEST)/bin/python -m pip check
	@touch $@

# Without torch, which has wheels of gigabytes there: what is derived, and what NumPy computes.
test-python: ## run a short selection under another Python, where there is one
	@ours=$$($(PYTHON) -c 'import sys; print(sys.version_info[:2])'); \
	for python in python3.13 python3.12 $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python $(HOME)/.pyenv/versions/3.12.*/bin/python); do \
		theirs=$$($$python -c 'import ensurepip, sys; print(sys.version_info[:2])' 2>/dev/null) || continue; \
		if [ "$$theirs" != "$$ours" ]; then $(MAKE) --no-print-directory OTHER=$$python run-other-python; exit; fi; \
	done; echo 'no Python 3.12 or 3.13 besides $(PYTHON): nothing is run'

run-other-python:
	$(OTHER) -m venv --clear $(OTHER_VENV)
	$(OTHER_VENV)/bin/python -m pip install --quiet -c constraints.txt $(WITHOUT_TORCH)
	$(call PYTEST,$(OTHER_VENV)/bin/python) -m 'not slow' $(SHORT_WITHOUT_TORCH)

lint: $(STAMP) ## check style, formatting, types and the direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# From nothing each time; -W makes an error of a warning. -j: that many processes read pages and run derivations.
docs: $(DOCS_STAMP) ## run derivations/NN_*.py and build the site, out/docs/index.html
	rm -rf out/docs
	OMP_NUM_THREADS=1 $(RUN) -m sphinx -W --keep-going -q -j $(JOBS) -d out/docs-doctrees -E docs out/docs

bench: $(STAMP) ## run every benchmark
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; OMP_NUM_THREADS=1 $(RUN) $$file; done

gallery: $(STAMP) ## run every figure of the paper at small scale and write docs/paper/gallery.md
	$(RUN) docs/make_gallery.py

clean: ## remove the environment, the outputs and the caches
	rm -rf $(VENV) $(LOWEST) $(OTHER_VENV) out docs/theory/[0-9]*.py build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find infgeo tests derivations benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
