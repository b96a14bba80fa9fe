# Two commands matter: `make book` and `make test`. Each makes the virtual environment it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIP_ARGS ?=
PORT ?= 8000

# The first supported Python on this machine; PYTHON=/path/to/python overrides.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  if $$p -c '$(SUPPORTED)' >/dev/null 2>&1; then command -v $$p; break; fi; done)

# One thread inside an operation: small matrices gain nothing from more, and the numbers then
# do not depend on how many cores a machine has.
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED := 1

# Static pages and stored notebooks show interactive figures as plain HTML; no live widget is built.
book notebooks check-pages: export RNNLIB_STATIC := 1

JUPYTER_BOOK := $(VENV)/bin/jupyter-book
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=600 \
  --nbval-sanitize-with=tests/book/sanitize.cfg

.PHONY: help
help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

.PHONY: book
book: $(INSTALLED)  ## run the chapters and write _build/html/index.html
	$(JUPYTER_BOOK) build . -W -n --keep-going
	$(PY) -m pytest -q -m page tests/book
	@echo "The book is at _build/html/index.html; 'make serve' shows it."

.PHONY: test
test: check-code check-numbers check-pages  ## every check: style, types, tests, notebooks, pages

.PHONY: check-code
check-code: $(INSTALLED)  ## style, spelling and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib
	$(PY) -m mypy

# One notebook stays on one worker (loadscope), while the other runs the unit tests.
.PHONY: check-numbers
check-numbers: $(INSTALLED)  ## unit tests, claims, and the numbers in the committed notebooks
	$(PY) -m pytest -q -n 2 --dist loadscope -m "not page" $(NBVAL) book tests

# The chapters run here only if `make book` has not run them already.
.PHONY: check-pages
check-pages: $(INSTALLED)  ## the built pages, in headless Chromium where one is installed
	$(JUPYTER_BOOK) build . -W -n --keep-going
	$(PY) -m pytest -q -m page tests/book tests/browser

.PHONY: notebooks
notebooks: $(INSTALLED)  ## run the chapters and write book/*.ipynb beside them
	$(PY) book/_ext/notebooks.py

.PHONY: ledger
ledger: $(INSTALLED)  ## renew book/ledger.md and the summary in book/index.md
	$(PY) -m rnnlib ledger --write book/ledger.md --write book/index.md

.PHONY: serve
serve:  ## show the built book at http://127.0.0.1:8000 (PORT=...)
	@test -f _build/html/index.html || { echo "error: no book yet; run 'make book' first" >&2; exit 2; }
	@echo "http://127.0.0.1:$(PORT)  (stop with Ctrl-C)"
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

.PHONY: venv
venv: $(INSTALLED)  ## make the virtual environment

$(INSTALLED): requirements.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "error: no Python 3.11, 3.12 or 3.13 found; name one with 'make PYTHON=/path/to/python3.11'" >&2; exit 2; fi
	@if ! "$(PYTHON)" -c '$(SUPPORTED)'; then \
	  echo "error: PYTHON must be Python 3.11, 3.12 or 3.13, got '$(PYTHON)' ($$("$(PYTHON)" --version 2>&1))" >&2; exit 2; fi
	@echo "Using $(PYTHON) ($$("$(PYTHON)" --version))"
	@if ! "$(PYTHON)" -m venv $(VENV); then \
	  echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu install the package python3-venv" >&2; exit 2; fi
	$(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -r requirements.txt
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(PY) -c "import matplotlib.font_manager"  # builds the font cache outside the first chapter
	@touch $@

# Not in the lock: a gigabyte that only the tests of the GPU kernels use, in its interpreter.
.PHONY: triton
triton: $(INSTALLED)  ## install Triton, with which the tests of the GPU kernels are not skipped
	$(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) "triton==3.9.0"

# WHEELS_PYTHON=3.12 and WHEELS_MACHINE=x86_64 (a Linux machine) say which Python they are for, if
# not this one; WHEELS_ALSO="pytest hypothesis" adds to them.
.PHONY: wheels
wheels: $(INSTALLED)  ## collect in _build/wheels what a machine with torch and no index may lack
	$(PY) -m rnnlib.wheels --python "$(WHEELS_PYTHON)" --machine "$(WHEELS_MACHINE)" \
	  --also $(WHEELS_ALSO) $(PIP_ARGS)

.PHONY: lock
lock:  ## write requirements.txt anew from pyproject.toml (needs the network)
	"$(PYTHON)" -m venv --clear _build/lock
	_build/lock/bin/python -m pip install $(PIP_ARGS) "torch==$$(sed -n 's/^torch==//p' requirements.txt)" ".[book,test]" setuptools wheel
	{ sed -n '/^#/p' requirements.txt; _build/lock/bin/python -m pip freeze --all \
	  | grep -viE '^(pip|rnnlib|triton|nvidia|cuda)' | sed -E 's/\+[a-z0-9]+$$//'; } > _build/requirements.txt
	mv _build/requirements.txt requirements.txt

.PHONY: clean
clean:  ## remove what was built (the virtual environment stays)
	rm -rf _build build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find rnnlib book tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean  ## remove the virtual environment as well
	rm -rf $(VENV)
