"""Predict, one hour before departure, whether a flight from New York arrives more than 15 minutes late.

Run `python prepare.py` once, then this file: it shows the path from raw tables to features of now, stage by stage.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

import tinymlops as tm

project = tm.Project("flights", tz="America/New_York")
airport = project.entity("airport", key="origin")
carrier = project.entity("carrier", key="carrier")
route = project.entity("route", key="route")
plane = project.entity("plane", key="tailnum")
flight = project.entity("flight", key="flight_id")


@project.source(timestamp="time_hour")
def weather() -> str:
    """Hourly weather at the New York airports."""
    return "select * from read_parquet('data/weather.parquet')"


@project.source(timestamp="landed_at", id="flight_id")
def landings() -> str:
    """Completed flights; a delay is known only once the plane has landed."""
    return "select * from read_parquet('data/landings.parquet')"


@project.source(timestamp="predict_at", id="flight_id")
def departures() -> str:
    """Every scheduled flight, one hour before its scheduled departure."""
    return (
        "select flight_id, carrier, origin, dest, route, tailnum, distance, predict_at from 'data/departures.parquet'"
    )


@project.source(static=True)
def planes() -> str:
    """What is known of each plane."""
    return "select tailnum, year, seats from read_parquet('data/planes.parquet')"


@project.source(static=True, keys={"origin": "faa"})
def airports() -> str:
    """Where each airport lies."""
    return "select faa, lat, lon, alt from read_parquet('data/airports.parquet')"


@project.feature_view(entity=airport, ttl="3h")
def sky(weather: tm.Rows) -> tm.Features:
    """Latest weather at the origin."""
    return {name: weather[name].last() for name in ("temp", "wind_speed", "visib", "precip", "pressure")}


@project.feature_view(entity=airport)
def place(airports: tm.Rows) -> tm.Features:
    """Where an airport lies: used for the origin and for the destination."""
    return {"lat": airports["lat"].last(), "lon": airports["lon"].last()}


@project.feature_view(entity=plane)
def build(planes: tm.Rows) -> tm.Features:
    """Age and size of the plane."""
    return {"built": planes["year"].last(), "seats": planes["seats"].last()}


def running_late(rows: tm.Rows, who: str) -> tm.Features:
    """How late someone has been running, over four windows."""
    delay = rows["arr_delay"]
    return {
        f"{who}_mean_1h": delay.mean(window="1h"),
        f"{who}_mean_1d": delay.mean(window="1d"),
        f"{who}_late_7d": (delay > 15).mean(window="7d"),
        f"{who}_late_30d": (delay > 15).mean(window="30d"),
        f"{who}_std_7d": delay.std(window="7d"),
        f"{who}_landings_1d": rows.count(window="1d"),
    }


@project.feature_view(entity=carrier)
def carrier_delays(landings: tm.Rows) -> tm.Features:
    """How late the carrier has been running."""
    return running_late(landings, "carrier")


@project.feature_view(entity=airport)
def origin_delays(landings: tm.Rows) -> tm.Features:
    """How late flights from the origin have been."""
    return running_late(landings, "origin")


@project.feature_view(entity=route)
def route_delays(landings: tm.Rows) -> tm.Features:
    """How late the route has been."""
    return running_late(landings, "route")


@project.feature_view(entity=plane)
def plane_delays(landings: tm.Rows) -> tm.Features:
    """How late the plane itself has been, and was last."""
    return {"plane_last": landings["arr_delay"].last(), **running_late(landings, "plane")}


@project.on_demand
def calendar(timestamp: pl.Expr, distance: pl.Expr) -> dict[str, pl.Expr]:
    """When it is in New York, and how far the flight goes."""
    local = timestamp.dt.convert_time_zone("America/New_York")
    return {"hour": local.dt.hour(), "weekday": local.dt.weekday(), "month": local.dt.month(), "miles": distance * 1}


@project.label(entity=flight, horizon="36h")
def late(landings: tm.Rows) -> tm.Label:
    """Whether the flight arrives more than 15 minutes late; a cancelled flight has no outcome."""
    return (landings["arr_delay"] > 15).last()


delays = project.training_set(
    "delays",
    spine=departures,
    label=late,
    features=[
        sky,
        place,
        place.on("dest", prefix="dest_"),
        build,
        carrier_delays,
        origin_delays,
        route_delays,
        plane_delays,
        calendar,
    ],
)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print how long a stage took."""
    begun = time.perf_counter()
    yield
    print(f"-- {name}: {time.perf_counter() - begun:.2f} s")


def main() -> None:
    """Run the whole path."""
    with tm.connect("flights.tm", create=True) as ws:
        with stage("plan and apply"):
            print(ws.apply(project))
        with stage("ingest"):
            for report in ws.ingest():
                print(f"{report.source:<12}{report.rows_new:>9,} new {report.rows_known:>9,} known")
        with stage("training data"):
            data = ws.get_training_data(delays, test_from="2013-10-01")
            print(data)
        with stage("gradient boosting"):
            model = HistGradientBoostingClassifier().fit(data.train.X, data.train.y)
            assert data.test is not None
            chance = model.predict_proba(data.test.X)[:, 1]
            print(f"AUC {roc_auc_score(data.test.y, chance):.4f}, log loss {log_loss(data.test.y, chance):.4f}")
        with stage("materialize"):
            print(f"{sum(view.keys for view in ws.materialize()):,} keys in the online store")
        with stage("online read"):
            print(ws.get_online_features([sky, carrier_delays], [{"origin": "EWR", "carrier": "UA"}]))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
