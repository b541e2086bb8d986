# Everything from a clean machine: Linux, Python >= 3.11; no GPU and no API key needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-gpu test-slow lint setup clean

demo: setup  ## the main job: from an op's name to the review gate
	$(BIN)/workbench new relu2 --tier 1 --author draft

test: setup  ## the tests that run anywhere, kernels in the CPU interpreter; a process for each core
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

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
