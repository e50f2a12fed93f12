"""The whole path on real data: raw flights to a served prediction whose outcome comes back.

    python demo.py

Part one trains on the whole year and shows what a leak would have promised. Part two replays two days of October: a
server answers over HTTP, the clock moves, flights land, and their outcomes come back.
"""

from __future__ import annotations

import json
import resource
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import uvicorn
from flights import carrier_delays, delays, origin_delays, plane_delays, project, route_delays
from prepare import FLIGHTS, prepare
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinymlops as tm

HERE = Path(__file__).parent
SPLIT = "2013-10-01"
NEW_YORK = "America/New_York"
WHY = "what is known an hour before departure"
RUNNING_LATE = [carrier_delays, origin_delays, route_delays, plane_delays]


def main() -> None:
    """Run both parts in fresh workspaces beside this file."""
    for name in ("flights.tm", "replay.tm"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    begun = time.perf_counter()
    with stage("prepare", FLIGHTS):
        prepare(HERE / "data", say=lambda _: None)
    learn_from_the_year()
    live_through_october()
    print(f"\nwhole example {time.perf_counter() - begun:.1f} s, peak memory {peak_memory():.2f} GB")


def learn_from_the_year() -> None:
    """Train on January to September, test on the rest, and compare with a join that leaks."""
    title("1. The year 2013: learn, and see what a leak would have promised")
    with tm.connect(HERE / "flights.tm", create=True) as ws:
        with stage("plan and apply"):
            plan = ws.apply(project, message=WHY)
        print(plan)
        with stage("ingest", FLIGHTS):
            ws.ingest()
        with stage("training data", FLIGHTS):
            data = ws.get_training_data(delays, test_from=SPLIT)
        print(data)
        with stage("gradient boosting", data.report.train_rows):
            boosted = log_run(ws, "gradient boosting", data, HistGradientBoostingClassifier())
        with stage("linear baseline", data.report.train_rows):
            log_run(
                ws, "linear", data, make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=300))
            )
        with stage("leaky join", FLIGHTS):
            leaky = leaky_scores(ws, data)
        ws.register_model("delay", run=boosted, alias="champion")
        with stage("materialize"):
            covered = ws.materialize()
        print(f"{sum(view.keys for view in covered):,} keys in the online store")
        runs = ws.search_runs(order_by="-metrics.auc").select("name", "metrics.auc", "metrics.log_loss")
    print(pl.concat([runs, pl.DataFrame([leaky])], how="diagonal_relaxed"))
    print("The last line is not a better model: it saw, by a join on the date, flights that had not landed yet.")


def log_run(ws: tm.Workspace, name: str, data: Any, model: Any) -> Any:
    """Fit one model, log its metrics on the test rows, and store it."""
    with ws.start_run(name, data=data) as run:
        model.fit(data.train.X, data.train.y)
        run.log_metrics(scores(model, data.test.X, data.test.y))
        run.log_model(model)
    return run


def scores(model: Any, X: pl.DataFrame, y: pl.Series) -> dict[str, float]:
    """Return AUC and log loss."""
    chance = model.predict_proba(X)[:, 1]
    return {"auc": roc_auc_score(y, chance), "log_loss": log_loss(y, chance)}


def leaky_scores(ws: tm.Workspace, data: Any) -> dict[str, object]:
    """Train the same model on the day's latest value of each feature, as a join on the date returns it."""
    local = pl.col("timestamp").dt.convert_time_zone(NEW_YORK)
    end_of_day = local.dt.truncate("1d").dt.offset_by("1d").dt.convert_time_zone("UTC")

    def leaky(split: Any) -> pl.DataFrame:
        spine = split.spine.select("carrier", "origin", "route", "tailnum", timestamp=end_of_day)
        features = ws.get_historical_features(spine, RUNNING_LATE).drop(spine.columns)
        return split.X.with_columns(features.get_columns())

    model = HistGradientBoostingClassifier().fit(leaky(data.train), data.train.y)
    found = scores(model, leaky(data.test), data.test.y)
    return {"name": "gradient boosting, leaky join", **{f"metrics.{name}": value for name, value in found.items()}}


def live_through_october() -> None:
    """Serve two days under a replay clock: ingest sees only what had happened by then."""
    title("2. October 2013, as it was: serve, wait, and see")
    clock = tm.ReplayClock("2013-10-01T04:00:00-04:00")
    with tm.connect(HERE / "replay.tm", create=True, clock=clock) as ws:
        ws.apply(project, message=WHY)
        with stage("ingest until then"):
            taken = ws.ingest()
        print(f"{sum(report.rows_held_back for report in taken):,} rows had not happened yet")
        with stage("train and register"):
            data = ws.get_training_data(delays, test_from="2013-09-01")
            run = log_run(ws, "champion", data, HistGradientBoostingClassifier())
            ws.register_model("delay", run=run, alias="champion")
            ws.materialize()
        flights = pl.read_parquet(HERE / "data" / "departures.parquet")
        with serving(ws) as url, stage("two days over HTTP") as done:
            for _ in range(48):
                due = departing(flights, clock())
                if due.height:
                    answered = due, post(f"{url}/v1/models/delay/predict", {"rows": due.to_dicts()})
                    done(due.height)
                clock.advance("1h")
                ws.ingest("landings", "weather")
        show(*answered)
        clock.advance("36h")
        with stage("outcomes arrive"):
            ws.ingest()
            ws.collect_outcomes("delay@champion")
            report = ws.monitor("delay@champion", keep=True)
        print(report)
        train_again(ws)


def train_again(ws: tm.Workspace) -> None:
    """Log a version that has seen September, which the pages show beside the champion."""
    with stage("train again"):
        data = ws.get_training_data(delays, test_from="2013-09-22")
        run = log_run(ws, "challenger", data, HistGradientBoostingClassifier())
        ws.register_model("delay", run=run, alias="challenger")
    print("Look at it: tinymlops ui --workspace replay.tm")


def departing(flights: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return the request rows of the flights with a prediction time in the coming hour."""
    due = flights.filter(pl.col("predict_at").is_between(now, now + timedelta(hours=1), closed="left"))
    return due.select("flight_id", "carrier", "origin", "dest", "route", "tailnum", "distance")


def show(due: pl.DataFrame, answer: dict[str, Any]) -> None:
    """Print the last answers."""
    chances = [round(prediction["probability"], 3) for prediction in answer["predictions"]]
    print(f"{answer['model']} version {answer['version']} at {answer['timestamp']}")
    print(due.select("flight_id", "tailnum").with_columns(late=pl.Series(chances)).head(5))


@contextmanager
def serving(ws: tm.Workspace) -> Iterator[str]:
    """Run the server in a thread, on a free port of the loopback address."""
    server = uvicorn.Server(uvicorn.Config(tm.create_app(ws), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def post(url: str, body: dict[str, Any]) -> Any:
    """Send JSON and return the JSON that comes back."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@contextmanager
def stage(name: str, rows: int = 0) -> Iterator[Any]:
    """Print the time of a stage, and its rows per second."""
    counted = [rows]
    begun = time.perf_counter()
    yield counted.append
    seconds, total = time.perf_counter() - begun, sum(counted)
    speed = f"{total:>9,} rows {total / seconds:>11,.0f} rows/s" if total else ""
    print(f"-- {name:<22}{seconds:>7.2f} s {speed}")


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'=' * len(text)}")


def peak_memory() -> float:
    """Return the peak memory of this process, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
