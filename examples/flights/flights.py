"""Whether a flight from New York arrives more than 15 minutes late, as it can be known an hour before departure.

This file holds definitions only: importing it reads nothing. `python demo.py` runs the whole path with them, and so do
the commands one by one: `tinymlops plan`, `apply`, `ingest`, `materialize`, ...
"""

from __future__ import annotations

import polars as pl

import tinymlops as tm

project = tm.Project("flights", tz="America/New_York")
airport = project.entity("airport", key="origin")
carrier = project.entity("carrier", key="carrier")
route = project.entity("route", key="route")
plane = project.entity("plane", key="tailnum")
flight = project.entity("flight", key="flight_id")


@project.source(timestamp="time_hour", owner="weather desk")
def weather() -> str:
    """Hourly weather at the New York airports."""
    return "select * from read_parquet('data/weather.parquet')"


@project.source(timestamp="landed_at", id="flight_id", owner="operations")
def landings() -> str:
    """Completed flights; a delay is known only once the plane has landed."""
    return "select * from read_parquet('data/landings.parquet')"


@project.source(timestamp="predict_at", id="flight_id", owner="operations")
def departures() -> str:
    """Every scheduled flight, one hour before its scheduled departure."""
    return (
        "select flight_id, carrier, origin, dest, route, tailnum, distance, predict_at from 'data/departures.parquet'"
    )


@project.source(static=True, owner="fleet")
def planes() -> str:
    """The properties of each plane."""
    return "select tailnum, year, seats from read_parquet('data/planes.parquet')"


@project.source(static=True, keys={"origin": "faa"}, owner="fleet")
def airports() -> str:
    """The location of each airport."""
    return "select faa, lat, lon, alt from read_parquet('data/airports.parquet')"


@project.feature_view(entity=airport, ttl="3h")
def sky(weather: tm.Rows) -> tm.Features:
    """Latest weather at the origin."""
    return {name: weather[name].last() for name in ("temp", "wind_speed", "visib", "precip", "pressure")}


@project.feature_view(entity=airport)
def place(airports: tm.Rows) -> tm.Features:
    """The location of an airport: used for the origin and for the destination."""
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
    """The local time in New York, and the distance of the flight."""
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
