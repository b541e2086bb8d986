# Everything from a clean machine: Linux, Python >= 3.11; no GPU and no API key needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-half test-rest test-gpu test-slow lint setup clean

demo: setup  ## the main job: from an op's name to the review gate
	$(BIN)/workbench new relu2 --tier 1 --author draft

# About half of what there is to run; the lane beside it has the rest.
HALF := tests/kernels tests/test_library.py tests/test_draft.py tests/test_mutants.py tests/test_scan_drafts.py \
	$(wildcard tests/test_transformers_*.py) tests/test_testing.py tests/test_linear_head.py tests/test_divergence.py \
	tests/test_judge.py tests/test_redteam.py $(wildcard tests/test_agent_*.py) tests/test_mcp.py tests/test_playbook.py

test: setup  ## the tests that run anywhere, kernels in the CPU interpreter
	@echo "two lanes of tests run side by side; each is shown when it is done"
	$(MAKE) --no-print-directory --jobs=2 --output-sync test-half test-rest

test-half: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest $(HALF)

test-rest: setup
	$(BIN)/pytest $(HALF:%=--ignore=%)

test-gpu: setup  ## the tests that need an NVIDIA GPU
	$(BIN)/pytest -m gpu

test-slow: setup  ## the tests that take minutes: every op of the catalogues, every stage killed
	$(BIN)/pytest -m slow

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .workbench
