# The two commands a newcomer needs: make demo, make test.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
PEERS  ?= .venv-peers
MLFLOW ?= .venv-mlflow
EVENTS ?= .venv-events
AIRFLOW ?= .venv-airflow
BARE   ?= .venv-bare
# How many processes `make test` runs tests in: more than there are cores, since some of them wait.
WORKERS ?= 3
# How many times the examples of `make test`, and where the search begins.
SCALE  ?= 5
SEED   ?= $(shell date +%s)
RULES  := $(addprefix tests/test_,$(addsuffix .py,point_in_time_join historical_features training_data online_features prepared \
          compaction join_files keys exact_sums kernels_asof kernels_online kernels_streaming kernels_windows cross_check stateful stateful_generations sql_gate sql_columns))

# Tests whose long form `make torture` runs.
LONG   := $(addprefix tests/test_,$(addsuffix .py,server_slow server_stalls server_large_answers server_tls server_framing \
          server_limits_of_tokens pages_sql queries indexed_ingest online_features request_rows signature vector_indexes))

# A program that a test starts is slow where it compiles all its modules once more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-reviews test checks kernels fuzz torture browser conformance conformance-imports bench bench-peers bench-mlflow clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[examples]" --group dev
	touch $@

test: $(VENV)/.installed ## every check and every test
	$(MAKE) --jobs 2 checks kernels
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore tests/conformance

checks: $(VENV)/.installed
	bash -n .ci/run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

kernels: $(VENV)/.installed
	$(BIN)/tinymlops doctor --compile --json > /dev/null

fuzz: $(VENV)/.installed ## every rule on at least 20,000 examples, counted; about ten minutes
	TINYMLOPS_FUZZ=$(SCALE) $(BIN)/python -m pytest $(RULES) --hypothesis-seed=$(SEED)
	TINYMLOPS_FUZZ=$$((36 * $(SCALE))) $(BIN)/python -m pytest tests/test_server_fuzz.py -s

torture: $(VENV)/.installed ## kills, full disks, flipped bytes and many processes; needs Linux and strace, better as root
	TINYMLOPS_TORTURE=full $(BIN)/python -m pytest tests/torture tests/test_container.py $(LONG)

conformance: conformance-imports $(AIRFLOW)/.installed ## an unmodified client of MLflow against a server, imports of what others write now, and Airflow; ten minutes
	MLFLOW=$(MLFLOW) AIRFLOW=$(AIRFLOW) $(BIN)/python -m pytest tests/conformance -s

browser: $(BARE)/.installed ## every page of the built wheel, visited and pressed in Chromium at three widths; a quarter of an hour
	rm -rf build/wheel
	$(BIN)/python -m hatchling build -t wheel -d build/wheel
	$(BARE)/bin/python -m pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	TINYMLOPS_BARE=$(abspath $(BARE)) TINYMLOPS_TORTURE=full $(BIN)/python -m pytest tests/test_pages_browser.py tests/test_pages_runs_browser.py -s

$(BARE)/.installed: pyproject.toml $(VENV)/.installed
	rm -rf build/wheel
	$(BIN)/python -m hatchling build -t wheel -d build/wheel
	$(PYTHON) -m venv $(BARE)
	$(BARE)/bin/python -m pip install --quiet build/wheel/*.whl
	touch $@

demo: $(VENV)/.installed ## the flights example, from raw tables to served predictions whose outcomes come back
	cd examples/flights && $(abspath $(BIN))/python demo.py

demo-reviews: $(VENV)/.installed ## the reviews example: texts found as of a past date, an author who is gone, a model that reads the texts
	cd examples/reviews && $(abspath $(BIN))/python demo.py

bench: $(VENV)/.installed ## joins and windows against the peers that are there; an hour on two cores
	$(BIN)/python benchmarks/point_in_time.py
	$(BIN)/python benchmarks/windows.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/online.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/pages.py
	$(BIN)/python benchmarks/viewers.py

bench-peers: $(PEERS)/.installed ## Feast and ClickHouse for `make bench`, in an environment of their own

$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PEERS)/bin/python -m pip install --quiet --group bench
	touch $@

bench-mlflow: $(MLFLOW)/.installed ## MLflow for `benchmarks/serving.py`, `benchmarks/tracking.py` and `make conformance`, in an environment of its own

$(MLFLOW)/.installed: pyproject.toml
	$(PYTHON) -m venv $(MLFLOW)
	$(MLFLOW)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(MLFLOW)/bin/python -m pip install --quiet --group bench-mlflow
	touch $@

conformance-imports: $(VENV)/.installed $(MLFLOW)/.installed $(EVENTS)/.installed ## imports of what MLflow, tensorboardX and TensorBoard write
	mkdir -p build/fixtures
	$(MLFLOW)/bin/python tests/fixtures/write_mlflow.py build/fixtures/mlflow.zip
	$(EVENTS)/bin/python tests/fixtures/write_tensorboard.py build/fixtures/tensorboard.zip
	TINYMLOPS_FIXTURES=build/fixtures $(BIN)/python -m pytest tests/test_import_mlflow.py tests/test_import_tensorboard.py

$(EVENTS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(EVENTS)
	$(EVENTS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(EVENTS)/bin/python -m pip install --quiet --group conformance-events
	touch $@

$(AIRFLOW)/.installed: pyproject.toml
	$(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(AIRFLOW)/bin/python -m pip install --quiet --group conformance-airflow
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(MLFLOW) $(EVENTS) $(AIRFLOW) $(BARE) build dist .mypy_cache .ruff_cache .pytest_cache
