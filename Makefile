# The two commands a newcomer needs: make demo, make test.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[examples]" --group dev
	touch $@

test: $(VENV)/.installed ## every check and every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

demo: $(VENV)/.installed ## the flights example, from raw tables to features of now
	cd examples/flights && $(abspath $(BIN))/python prepare.py && $(abspath $(BIN))/python flights.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
