"""MLflow's part of `benchmarks/tracking.py`, which runs it: `tracking_with_mlflow.py JOB ARGUMENTS`, in its own environment."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
sys.path.insert(0, str(Path(__file__).parents[1]))

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

import tracked_runs
from tracked_runs import PAGE, per_second, timed

BATCH = 1_000
"""The most metrics that its protocol takes at once."""
SEARCHES: dict[str, dict[str, Any]] = {
    "filter": {"filter_string": "metrics.m3 > 0.9 and params.depth = '3'"},
    "sort": {"order_by": ["metrics.m0 DESC"]},
    "both": {"filter_string": "metrics.m3 > 0.5 and params.depth = '3'", "order_by": ["metrics.m0 DESC"]},
}


def opened(database: str) -> None:
    """Use a SQLite database, made if it is not there, and an experiment in it."""
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    mlflow.set_experiment("bench")


def logging(database: str, seconds: float, threads: int) -> dict[str, Any]:
    """Log single metrics, from one thread and from several; then whole runs."""
    opened(database)
    client = MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_metric("warm", 1.0, step=0)
        one = per_second(lambda number: mlflow.log_metric("loss", 0.1 * number, step=number), seconds)
        many = per_second(
            lambda number: client.log_metric(run.info.run_id, f"m{number % threads}", 0.1 * number, step=number),
            seconds,
            threads=threads,
        )
    return {"one": one, "many": many, "run_seconds": whole_runs(max(3, round(2 * seconds)))}


def whole_runs(times: int) -> float:
    """Return the median time of a run with one parameter and one metric, seconds."""

    def run() -> None:
        with mlflow.start_run():
            mlflow.log_param("depth", 3)
            mlflow.log_metric("loss", 0.1)

    run()
    return statistics.median(timed(run) for _ in range(times))


def client(uri: str, seconds: float) -> dict[str, Any]:
    """Log through a server: single metrics, and batches."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench")
    client = MlflowClient()

    def batch(number: int) -> None:
        now = int(time.time() * 1000)
        steps = range(number * BATCH, (number + 1) * BATCH)
        client.log_batch(run.info.run_id, [Metric("batched", 0.1 * step, now, step) for step in steps])

    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 1.0, step=0)
        calls = per_second(lambda number: mlflow.log_metric("loss", 0.1 * number, step=number), seconds)
        batch(0)
        points = BATCH * per_second(lambda number: batch(number + 1), seconds)
    return {"calls": calls, "points": points, "run_seconds": whole_runs(max(3, round(2 * seconds)))}


def fill(database: str, runs: int) -> dict[str, Any]:
    """Write runs straight into the tables that MLflow made, beside one that it wrote itself: its own calls take an hour."""
    opened(database)
    with mlflow.start_run() as run:
        mlflow.log_metric("m0", -1.0, step=0)
    with closing(sqlite3.connect(database)) as connection, connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
        (first,) = connection.execute("SELECT * FROM runs WHERE run_uuid = ?", (run.info.run_id,)).fetchall()
        for one in tracked_runs.runs(runs):
            identifier, at = uuid.uuid4().hex, run.info.start_time + one.number
            row = dict(zip(names, first, strict=True)) | {"run_uuid": identifier, "name": f"run {one.number}"}
            row |= {"start_time": at, "end_time": at}
            connection.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(row))})", list(row.values()))
            points = [(name, value, at, 0, 0, identifier) for name, value in one.metrics.items()]
            into = "(key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)"
            connection.executemany(f"INSERT INTO metrics {into}", points)
            connection.executemany(f"INSERT INTO latest_metrics {into}", points)
            pair = "(key, value, run_uuid) VALUES (?, ?, ?)"
            connection.execute(f"INSERT INTO params {pair}", ("depth", str(one.depth), identifier))
            connection.execute(f"INSERT INTO tags {pair}", ("mlflow.runName", f"run {one.number}", identifier))
    return {}


def search(database: str, times: int) -> dict[str, Any]:
    """Search: the first time in this process, and the median of the next ones."""
    opened(database)
    found: dict[str, Any] = {}
    for name, arguments in SEARCHES.items():

        def ask(arguments: dict[str, Any] = arguments) -> Any:
            return MlflowClient().search_runs(["1"], max_results=PAGE, **arguments)

        first = timed(ask)
        found[name] = {"first": first, "next": statistics.median(timed(ask) for _ in range(times))}
        found[name]["answer"] = [run.data.metrics["m0"] for run in ask()]
    return found


def speaks(uri: str) -> dict[str, Any]:
    """Say whether a server answers MLflow's protocol; its status is None while it does not answer at all."""
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/experiments/search", b'{"max_results": 1}', {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return {"status": response.status, "speaks": "experiments" in json.load(response)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "speaks": False}
    except OSError:
        return {"status": None, "speaks": False}


def version() -> dict[str, Any]:
    """Return the versions of what is measured."""
    return {"mlflow": mlflow.__version__, "sqlite": sqlite3.sqlite_version, "python": sys.version.split()[0]}


if __name__ == "__main__":
    known = (logging, client, fill, search, speaks, version)
    tracked_runs.answer({job.__name__: job for job in known})
