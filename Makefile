# Every goal sets itself up; nothing needs root. PYTHON chooses the interpreter (3.10 or later).
.DEFAULT_GOAL := help
.PHONY: help demo test coverage check format bench venv clean
SHELL := /bin/sh

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Keyed on content and not on time stamps, so that switching branches reinstalls only when needed.
KEY    := $(shell cat pyproject.toml constraints.txt 2>/dev/null | cksum | tr ' ' '-')
STAMP  := $(VENV)/.installed-$(KEY)
# Two goals started at once must not install into one environment at the same time.
LOCK   := $(shell command -v flock >/dev/null 2>&1 && echo 'flock .venv.lock')

help:
	@echo 'make demo    a coordinator and three agents on this machine, serving real queries'
	@echo 'make test    all tests'
	@echo 'make coverage  branches of the planner that tests reach; at least 95 %'
	@echo 'make check   format, lint, types, import contracts'
	@echo 'make format  rewrite the sources the way make check wants them'
	@echo 'make bench   the benchmarks, medians printed'
	@echo 'make venv    only the environment in $(VENV)'
	@echo 'make clean   remove the environment and every cache'

demo: $(STAMP)
	@$(BIN)/circinus demo $(ARGS)

test: $(STAMP)
	@$(BIN)/pytest $(ARGS)

# The planner's own tests; some fifteen minutes of one core.
PLANNING := tests/unit/coordinator/planning $(addprefix tests/property/test_,$(addsuffix .py,baselines \
  completion_bounds decomposition explain hard_scenarios keeping planner_optimum rehearsal renting \
  replanning))

coverage: $(STAMP)
	@$(BIN)/coverage run -m pytest -q $(PLANNING) $(ARGS)
	@$(BIN)/coverage report

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

venv: $(STAMP)

$(STAMP):
	@$(LOCK) $(MAKE) --no-print-directory install

.PHONY: install
install:
	@if [ -e $(STAMP) ]; then exit 0; fi; \
	set -e; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo '$(PYTHON) is missing or older than 3.10. Name another: make PYTHON=/path/to/python3' >&2; \
	  exit 1; }; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  rm -rf $(VENV); \
	  if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	    $(PYTHON) -m venv $(VENV); \
	  elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	    $(PYTHON) -m venv --without-pip $(VENV); \
	    $(PYTHON) -m pip --python $(BIN)/python install -q pip; \
	  else \
	    echo 'This Python cannot make environments: ensurepip is missing.' >&2; \
	    echo 'Install it (Debian, Ubuntu: apt-get install python3-venv) and try again.' >&2; \
	    exit 1; \
	  fi; \
	fi; \
	echo 'Installing into $(VENV) (once; about a minute) ...' >&2; \
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt \
	  --no-deps --ignore-requires-python rapidocr-onnxruntime; \
	rm -f $(VENV)/.installed-*; \
	touch $(STAMP)

clean:
	rm -rf $(VENV) .venv.lock .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
