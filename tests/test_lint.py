"""The leak linter: each planted leak is found and named, and a sound project is clean."""

import leaky
import polars as pl
import pytest
from leaky import Airline

import tinymlops as tm

GLOBAL_MEAN = "select flight, carrier, landed_at, (select avg(arr_delay) from landings) as planted from landings"


@pytest.fixture
def folder(tmp_path):
    leaky.tables(tmp_path)
    return tmp_path


def linted(folder, project, **options):
    """Apply and ingest a project, and lint it."""
    with tm.connect(folder / "airline.tm", create=True, root=folder) as ws:
        ws.apply(project)
        ws.ingest()
        return ws.lint(**options)


def test_a_sound_project_is_clean(folder):
    report = linted(folder, Airline().done())
    assert (report.findings, report.clean, report.replayed) == ([], True, 200)
    assert str(report) == "nothing found; 1 training set, 200 replayed rows"


def with_static_source(airline):
    @airline.project.source(static=True)
    def means() -> str:
        return "select carrier, avg(arr_delay) as planted from 'data/landings.parquet' group by carrier"

    airline.view("means", "planted")


def with_static_function(airline):
    @airline.project.source(static=True)
    def means() -> pl.DataFrame:
        frame = pl.read_parquet(FOLDER[0] / "data/landings.parquet")
        return frame.group_by("carrier", maintain_order=True).agg(planted=pl.col("arr_delay").mean())

    airline.view("means", "planted")


FOLDER = []


def with_other_time(airline):
    @airline.project.source(timestamp="predicted_at", id="flight")
    def dated() -> str:
        return "select flight, carrier, predicted_at, arr_delay as planted from 'data/landings.parquet' join 'data/departures.parquet' using (flight, carrier)"

    airline.view("dated", "planted")


def with_group(airline):
    airline.sql(
        "select carrier, min(predicted_at) as began, avg(arr_delay) as planted "
        "from landings join departures using (flight, carrier) group by carrier",
        inputs=("landings", "departures"),
        timestamp="began",
    )


def with_day(airline):
    airline.sql(
        "select carrier, date_trunc('day', landed_at) as day, avg(arr_delay) as planted from landings group by all",
        timestamp="day",
    )


def with_window(airline):
    airline.sql(
        "select flight, carrier, landed_at, avg(arr_delay) over (partition by carrier) as planted from landings",
        timestamp="landed_at",
        id="flight",
    )


def with_lead(airline):
    airline.sql(
        "select flight, carrier, landed_at, lead(arr_delay) over (partition by carrier order by landed_at, flight) as planted "
        "from landings",
        timestamp="landed_at",
        id="flight",
    )


def with_dates_at_their_start(airline):
    @airline.project.source(timestamp="landed_on", date_means="start", tz="UTC")
    def daily() -> str:
        return "select carrier, landed_on, arr_delay from 'data/wide.parquet'"

    airline.view("daily", "arr_delay")


def with_naive_column(airline):
    airline.view("landings", "landed_local")


def with_copy(airline):
    @airline.project.source(timestamp="predicted_at")
    def taxi() -> str:
        return "select flight, predicted_at, arr_delay * 3 as planted from 'data/wide.parquet'"

    airline.view("taxi", "planted", entity=airline.flight)


FOUND_BY_DEFINITION = {
    "static source": (with_static_source, "static-source:delays.planted"),
    "static function": (with_static_function, "static-source:delays.planted"),
    "other time": (with_other_time, "other-time:delays.planted"),
    "group without time": (with_group, "group-without-time:delays.planted"),
    "day": (with_day, "time-before-rows:delays.planted"),
    "window": (with_window, "window-ahead:delays.planted"),
    "lead": (with_lead, "window-ahead:delays.planted"),
    "date": (with_dates_at_their_start, "date-at-start:daily.landed_on"),
    "naive column": (with_naive_column, "naive-column:landings.landed_local"),
    "copy": (with_copy, "auc:delays.planted"),
}


@pytest.mark.parametrize("name", FOUND_BY_DEFINITION)
def test_a_planted_leak_is_found(folder, name):
    plant, expected = FOUND_BY_DEFINITION[name]
    FOLDER[:] = [folder]
    airline = Airline()
    plant(airline)
    report = linted(folder, airline.done())
    assert expected in {finding.name for finding in report.findings}
    assert not report.clean
    assert all(finding.fix and finding.message for finding in report.findings)


def global_mean(airline):
    airline.sql(GLOBAL_MEAN, timestamp="landed_at", id="flight")


def shifted(airline):
    def make(landings):
        ordered = landings.sort("landed_at", "flight")
        return ordered.with_columns(planted=pl.col("arr_delay").shift(-1).over("carrier"))

    airline.polars(make, timestamp="landed_at", id="flight")


def filled_backward(airline):
    def make(landings):
        ordered = landings.sort("landed_at", "flight")
        gaps = pl.when(pl.col("arr_delay") > 0).then("arr_delay")
        return ordered.with_columns(planted=gaps.fill_null(strategy="backward"))

    airline.polars(make, timestamp="landed_at", id="flight")


def joined_without_time(airline):
    airline.sql(
        "select flight, carrier, predicted_at, arr_delay as planted from departures join landings using (flight, carrier)",
        inputs=("departures", "landings"),
        timestamp="predicted_at",
        id="flight",
    )


FOUND_BY_REPLAY = {
    "global mean": global_mean,
    "window": with_window,
    "lead": with_lead,
    "day": with_day,
    "shift": shifted,
    "backward": filled_backward,
    "join": joined_without_time,
}


@pytest.mark.parametrize("name", FOUND_BY_REPLAY)
def test_the_replay_names_row_feature_and_record(folder, name):
    airline = Airline()
    FOUND_BY_REPLAY[name](airline)
    report = linted(folder, airline.done(), replay=30)
    (finding,) = [one for one in report.findings if one.rule == "replay"]
    assert (finding.name, finding.level, finding.feature) == ("replay:delays.planted", "leak", "planted")
    assert finding.row.keys() == {"number", "carrier", "time"}
    assert finding.record["source"] == "landings"
    assert finding.record["known_from"] >= finding.row["time"]  # which the row could not know
    assert 0 < finding.rows <= 30
    assert "made" in finding.fix


@pytest.mark.parametrize("dated", ["end", "delay"])
def test_sums_of_days_that_are_dated_at_their_end_are_clean(folder, dated):
    airline = Airline()
    day = "date_trunc('day', landed_at)"
    airline.sql(
        f"select carrier, {day + ' + interval 1 day' if dated == 'end' else day} as day, sum(arr_delay) as planted "
        f"from landings group by carrier, {day}",
        timestamp="day",
        delay=None if dated == "end" else "1d",
    )
    names = [finding.name for finding in linted(folder, airline.done()).findings]
    assert names == (["time-before-rows:delays.planted"] if dated == "end" else [])


def test_a_sum_of_all_that_is_dated_by_the_latest_row_is_found_for_later_rows_rewrite_it(folder):
    airline = Airline()
    airline.sql(
        "select carrier, max(landed_at) as at, sum(arr_delay) as planted from landings group by carrier", timestamp="at"
    )
    (finding,) = linted(folder, airline.done()).findings
    assert finding.name == "replay:delays.planted"
    assert "is None, and" in finding.message


def test_the_running_sum_of_sql_is_clean(folder):
    airline = Airline()
    airline.sql(
        "select flight, carrier, landed_at, sum(arr_delay) over (partition by carrier order by landed_at) as planted from landings",
        timestamp="landed_at",
        id="flight",
    )
    assert linted(folder, airline.done()).findings == []
