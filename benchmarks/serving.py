"""The cost of a prediction: one row by key, four features from the online store, a logistic pipeline, logged.

Run it alone: `python benchmarks/serving.py`. In the process, ours stands beside the bare `predict_proba` of the same model on
a frame that is there already: medians of calls that are taken in turns. Over HTTP, on loopback, `wrk` (Debian's package) asks
with 16 connections: our server, an empty Litestar handler that reads and writes the same bodies on the same server, and
MLflow's model server with the same pipeline (`make bench-mlflow`), which is sent the features, reads no store and logs nothing.
What an empty handler and the bare model allow together is 1 / (1 / handler + 1 / model).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import tinymlops as tm
from harness import HERE, MLFLOW_PYTHON, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = ["f0", "f1", "f2", "f3"]
USERS, VISITS = 10_000, 20_000
TURNS, REPEATS = 25, 20
CONNECTIONS, SECONDS = 16, 10
BODY = '{"rows": [{"user": %d}]}'
SERVE = """
import sys
import tinymlops as tm
with tm.connect(sys.argv[1]) as ws:
    tm.serve(ws, port=int(sys.argv[2]))
"""
ASK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  return wrk.format(nil, nil, nil, (%s))
end
"""


def ratio(state: tm.Inputs, amount: pl.Expr) -> dict[str, pl.Expr]:
    """Compute a feature on demand."""
    return {"ratio": amount / state["f0"]}


def project_of() -> tm.Project:
    """Define four features of a user, one that is computed on demand, and what follows within a day."""
    project = tm.Project("bench")
    user = project.entity("user", key="user")
    draw = np.random.default_rng(7)

    @project.source(timestamp="at")
    def states() -> pl.DataFrame:
        number = np.arange(10 * USERS)
        moments = pl.Series("at", number // USERS * 86_400_000_000).cast(pl.Duration("us")) + START
        values = [pl.Series(name, draw.normal(size=len(number))) for name in FEATURES]
        return pl.DataFrame([pl.Series("user", number % USERS), moments, *values])

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        number = np.arange(VISITS)
        moments = pl.Series("at", number % 8 * 86_400_000_000).cast(pl.Duration("us")) + START + timedelta(hours=30)
        amount = pl.Series("amount", draw.uniform(1, 9, VISITS))
        return pl.DataFrame([pl.Series("visit", number), pl.Series("user", number % USERS), moments, amount])

    @project.feature_view(entity=user)
    def state(states: tm.Rows) -> tm.Features:
        return {name: states[name].last() for name in FEATURES}

    @project.label(entity=user, horizon="1d")
    def rises(states: tm.Rows) -> tm.Label:
        return (states["f0"] > 0).last()

    project.training_set("plain", spine=visits, label=rises, features=[state])
    project.training_set("on_demand", spine=visits, label=rises, features=[state, project.on_demand(ratio)])
    return project


def build(ws: tm.Workspace) -> pl.DataFrame:
    """Fit and register a model of each training set; return the training rows of the first."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ws.apply(project_of())
    ws.ingest()
    ws.materialize()
    for name in ("plain", "on_demand"):
        data = ws.get_training_data(name)
        with ws.start_run(name, data=data) as run:
            run.log_model(make_pipeline(StandardScaler(), LogisticRegression()).fit(data.train.X, data.train.y))
        ws.register_model(name, run=run, alias="champion")
    data = ws.get_training_data("plain")
    return data.train.X.with_columns(data.train.y.alias("label"))


def in_process(ws: tm.Workspace, rows: pl.DataFrame) -> dict[str, float]:
    """Time calls in turns, so that a busy moment hits all of them; milliseconds."""
    draw = random.Random(3)
    users = [draw.randrange(USERS) for _ in range(100_000)]
    model = ws.load_model("plain").estimator
    asked = [rows[row].select(FEATURES) for row in range(REPEATS)]
    wider = ws.load_model("on_demand").estimator
    asked_wider = [one.with_columns(ratio=pl.lit(1.5)) for one in asked]
    calls: dict[str, Callable[[int], object]] = {
        "bare": lambda number: model.predict_proba(asked[number % REPEATS]),
        "ours": lambda number: ws.predict("plain", [{"user": users[number]}]),
        "bare_on_demand": lambda number: wider.predict_proba(asked_wider[number % REPEATS]),
        "on_demand": lambda number: ws.predict("on_demand", [{"user": users[number], "amount": 2.0}]),
    }
    return medians(calls)


def medians(calls: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """Return the median over all turns of each call's time, milliseconds."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    number = 0
    for turn in range(TURNS + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _ in range(REPEATS):
                number += 1
                call(number)
            if turn:  # the first fills the caches
                spent[name].append((time.perf_counter() - begun) / REPEATS * 1e3)
    return {name: statistics.median(times) for name, times in spent.items()}


def parts(ws: tm.Workspace) -> dict[str, float]:
    """Time the three steps of a prediction by themselves, milliseconds."""
    from tinymlops.serving.log import identifiers
    from tinymlops.serving.one_row import read_row

    environment, context = ws._environment, ws._context()  # noqa: SLF001

    def read(number: int) -> Any:
        environment.check()
        with environment.online.read() as tx:
            model = ws._resolver.resolve(context, tx, "plain")  # noqa: SLF001
            return read_row(context, tx, model, [{"user": number % USERS}])

    row = read(1)
    return medians({"resolve_and_read": read, "answer": lambda _: row.answer(), "ids": lambda _: identifiers(1)})


@contextmanager
def server(command: list[str], port: int, url: str, body: str) -> Iterator[None]:
    """Run a server in a process of its own; yield after its first good answer."""
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, start_new_session=True)
        try:
            wait_for(process, url, body)
            yield
        except TimeoutError as error:
            told.seek(0)
            raise SystemExit(f"no server on port {port}: {told.read()[-2000:].decode()}") from error
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it started."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
            return


def wait_for(process: subprocess.Popen[bytes], url: str, body: str) -> None:
    """Ask until the answer is good."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def requests_per_second(url: str, body: str, folder: Path, seconds: int) -> dict[str, float]:
    """Ask with all connections at once; a short round before fills the caches."""
    script = folder / "ask.lua"
    script.write_text(ASK % body)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", str(script)]
    subprocess.run([*command, "-d2s", url], check=True, capture_output=True)
    said = subprocess.run([*command, f"-d{seconds}s", url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{url} did not answer every request:\n{said}")
    found = {name: re.search(rf"{pattern}\s*([\d.]+)(\w*)", said) for name, pattern in PATTERNS.items()}
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}
    return {name: float(match[1]) * units[match[2]] for name, match in found.items() if match is not None}


PATTERNS = {"per_second": "Requests/sec:", "p50_ms": "50%", "p99_ms": "99%"}


def over_http(folder: Path, seconds: int, report: Report) -> dict[str, dict[str, float]]:
    """Ask every server in its turn."""
    if shutil.which("wrk") is None:
        report.say("over HTTP: left out: `apt-get install wrk` brings what asks")
        return {}
    found: dict[str, dict[str, float]] = {}
    by_user = 'string.format(\'{"rows": [{"user": %d}]}\', math.random(0, ' + str(USERS - 1) + "))"
    commands = {
        "empty": [sys.executable, str(HERE / "peers" / "empty_handler.py")],
        "ours": [sys.executable, "-c", SERVE, str(folder / "bench.tm")],
    }
    for what, beginning in commands.items():
        port = free_port()
        command = [*beginning, str(port)]
        url = f"http://127.0.0.1:{port}/v1/models/plain/predict"
        with server(command, port, url, BODY % 1):
            found[what] = requests_per_second(url, by_user, folder, seconds)
    if not MLFLOW_PYTHON.exists():
        report.say("MLflow: left out: `make bench-mlflow` installs it")
        return found
    port = free_port()
    command = [str(MLFLOW_PYTHON), str(HERE / "peers" / "serving_with_mlflow.py"), str(folder), str(port)]
    url, body = (
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_split": {"columns": FEATURES, "data": [[0.1, 0.2, 0.3, 0.4]]}}),
    )
    with server(command, port, url, body):
        found["mlflow"] = requests_per_second(url, f"'{body}'", folder, seconds)
    return found


def tell(report: Report, row: dict[str, Any]) -> None:
    """Print the figures beside what they are compared with."""
    bare, ours = row["bare"], row["ours"]
    report.say(f"\n{'in the process, one row':52}{'ms':>8}")
    report.say(f"{'bare predict_proba, 4 features':52}{bare:8.3f}")
    report.say(f"{'predict: read, answered and logged':52}{ours:8.3f}  bare + {ours - bare:.3f} ms")
    report.say(f"{'bare predict_proba, 5 features':52}{row['bare_on_demand']:8.3f}")
    added = row["on_demand"] - ours
    report.say(f"{'predict with an on-demand view':52}{row['on_demand']:8.3f}  {added:+.3f} ms")
    for name in ("resolve_and_read", "answer", "ids"):
        report.say(f"{'  of it: ' + name.replace('_', ' '):52}{row[name]:8.3f}")
    if "ours" not in row["http"]:
        return
    http = {name: figures["per_second"] for name, figures in row["http"].items()}
    allowed = 1 / (1 / http["empty"] + bare / 1e3)
    report.say(f"\n{f'over HTTP, {CONNECTIONS} connections':52}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}")
    for name, said in (("empty", "an empty handler, the same bodies"), ("ours", "ours"), ("mlflow", "MLflow's server")):
        if name in http:
            figures = row["http"][name]
            report.say(f"{said:52}{http[name]:8.0f}{figures['p50_ms']:9.1f}{figures['p99_ms']:9.1f}")
    report.say(
        f"{'what empty handler and bare model allow together':52}{allowed:8.0f}  ours: {http['ours'] / allowed:.0%}"
    )
    if "mlflow" in http:
        report.say(f"{'':52}{'':8}  ours: {http['ours'] / http['mlflow']:.1f}x MLflow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of every round of wrk")
    seconds = parser.parse_args().seconds
    report = Report("serving")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tm.connect(folder / "bench.tm", create=True) as ws:
            rows = build(ws)
            rows.write_parquet(folder / "rows.parquet")
            row: dict[str, Any] = in_process(ws, rows) | parts(ws)
        row["http"] = over_http(folder, seconds, report)
    report.rows.append(row)
    tell(report, row)
    report.save()


if __name__ == "__main__":
    main()
