# Everything sets itself up on a machine that has Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-slow lint format bench docs clean

help:
	@echo "make demo       train, audit, repair and audit again on bundled images; writes runs/demo/report.html"
	@echo "make test       the fast tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make lint       formatting, style and types"
	@echo "make format     mend formatting and style where that is mechanical"
	@echo "make bench      the benchmarks, and docs/speed.md from their figures"
	@echo "make docs       the documentation site, in build/docs"
	@echo "make clean      remove the environment and caches"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/classwise demo

test: $(VENV)/.developer
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow'

test-slow: $(VENV)/.developer
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow

lint: $(VENV)/.developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.developer
	$(BIN)/python benchmarks/dro_weights.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/bf16_digits.py
	$(BIN)/python benchmarks/policies.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/epoch.py --compiled
	$(BIN)/python benchmarks/theory_sweeps.py
	$(BIN)/python benchmarks/make_speed_page.py

docs: $(VENV)/.developer
	$(BIN)/python docs/make_site.py build/docs

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
