"""Keys of every type: online as in history, by every face, and written in every way that stands for them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import at
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from inside import clock_of
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import DataError

MOMENT = pl.Datetime("us", "UTC")


def pushed_to(path, dtype, rows, *, materialized=True):
    """A workspace whose source is keyed by a type, with rows of one key each, pushed an hour after the other."""
    project = tm.Project("shop")
    thing = project.entity("thing", key="k")

    @project.source(timestamp="ts")
    def events() -> tm.Schema:
        return {"k": dtype, "ts": MOMENT, "v": int}

    @project.feature_view(entity=thing)
    def view(events: tm.Rows) -> tm.Features:
        return {"v": events["v"].last(), "n": events.count(window="90d")}

    ws = tm.connect(path, create=True, clock=tm.ReplayClock(at(100)))
    ws.apply(project)
    if materialized:
        ws.materialize()
    times = pl.Series("ts", [at(hour) for hour in range(len(rows))], dtype=MOMENT)
    ws.push("events", pl.DataFrame([rows.alias("k"), times, pl.Series("v", range(len(rows)), dtype=pl.Int64)]))
    clock_of(ws).advance("1h")
    return ws


def series_of(dtype, values):
    """Values of a type, times as the integers that they are stored as."""
    if isinstance(dtype, pl.Datetime | pl.Duration | pl.Time):
        return pl.Series("k", values, dtype=pl.Int64).cast(dtype)
    return pl.Series("k", values, dtype=dtype)


# Few different values, most of them neighbours: what is rounded anywhere becomes one key.
NEAR = st.integers(-2, 2)
DAY = 86_400 * 10**9
TYPES = {
    "integer": (pl.Int64, st.one_of(NEAR, NEAR.map(lambda i: 2**60 + i))),
    "unsigned": (pl.UInt64, NEAR.map(lambda i: 2**62 + i)),
    "float": (pl.Float64, NEAR.map(lambda i: float(2**52 + i))),
    "text": (pl.String, st.sampled_from(["", "1", "01", "1.0", "é", "e\u0301"])),
    "enum": (pl.Enum(["a", "b"]), st.sampled_from(["a", "b"])),
    "boolean": (pl.Boolean, st.booleans()),
    "binary": (pl.Binary, st.sampled_from([b"", b"\0", b"\0\0", b"a"])),
    "date": (pl.Date, NEAR.map(lambda i: date(2024, 1, 10 + i))),
    "time": (pl.Time, st.one_of(NEAR.map(abs), NEAR.map(lambda i: DAY - 3 + i))),
    "duration in ns": (pl.Duration("ns"), st.one_of(NEAR, NEAR.map(lambda i: 10**12 + i))),
    "duration in ms": (pl.Duration("ms"), NEAR),
    "time in ns": (pl.Datetime("ns", "UTC"), NEAR.map(lambda i: 1_704_067_200 * 10**9 + i)),
    "time in us": (pl.Datetime("us", "Asia/Tokyo"), NEAR),
    "local time in ns": (pl.Datetime("ns"), NEAR),
    "local time in ms": (pl.Datetime("ms"), NEAR),
    "decimal of 38 digits": (pl.Decimal(38, 0), NEAR.map(lambda i: Decimal(10**37 + i))),
    "decimal": (pl.Decimal(38, 37), st.sampled_from([Decimal(f"1.{10**36 + i:037d}") for i in range(3)])),
}


@pytest.mark.parametrize("kind", TYPES)
@examples(5)
@given(data=st.data())
def test_online_is_history_for_keys_of_every_type(tmp_path_factory, kind, data):
    dtype, values = TYPES[kind]
    rows = series_of(dtype, data.draw(st.lists(values, min_size=1, max_size=8), label="rows"))
    asked = series_of(dtype, [*data.draw(st.lists(values, max_size=4), label="asked"), None])
    asked = pl.concat([rows, asked])
    with pushed_to(tmp_path_factory.mktemp("keys") / "w.tm", dtype, rows) as ws:
        online = ws.get_online_features(["view"], asked.to_frame()).to_polars()
        spine = asked.to_frame().with_columns(timestamp=pl.lit(clock_of(ws)()))
        assert online.equals(ws.get_historical_features(spine, ["view"]).drop("timestamp"))
    physical = [str(value) for value in rows.to_physical()]
    newest = {value: row for row, value in enumerate(physical)}
    assert online["v"].to_list()[: len(rows)] == [newest[value] for value in physical]


AS_TEXT = {
    "Date": (pl.Date, date(2024, 5, 1), "2024-05-01"),
    "moment": (pl.Datetime("us", "UTC"), datetime(2024, 5, 1, 0, 0, 0, 1, UTC), "2024-05-01T02:00:00.000001+02:00"),
    "local time": (pl.Datetime("us"), datetime(2024, 5, 1), "2024-05-01T00:00:00"),
    "Time": (pl.Time, time(1, 2, 0, 5), "01:02:00.000005"),
    "Duration": (pl.Duration("us"), timedelta(days=1, seconds=0.5), "P1DT0.5S"),
    "Decimal": (pl.Decimal(10, 2), Decimal("1.50"), "1.5"),
    "long Decimal": (pl.Decimal(38, 0), Decimal(10**37 + 1), "10000000000000000000000000000000000001"),
    "text": (pl.String, "007", "007"),
    "UUID": (pl.String, str(UUID(int=7)), str(UUID(int=7))),
}


def read_over_http(ws, rows):
    with TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000") as client:
        body = json.dumps({"features": ["view"], "keys": rows})
        answer = client.post("/v1/features/online", content=body, headers={"content-type": "application/json"})
    return answer.status_code, answer.json()


@pytest.mark.parametrize("materialized", [True, False])
@pytest.mark.parametrize("name", AS_TEXT)
def test_a_key_may_be_text_wherever_it_is_asked_for(tmp_path, name, materialized):
    dtype, value, text = AS_TEXT[name]
    with pushed_to(tmp_path / "w.tm", dtype, pl.Series([value], dtype=dtype), materialized=materialized) as ws:
        status, answer = read_over_http(ws, [{"k": text}, {"k": None}])
        assert status == 200, answer
        assert answer["rows"] == [{"k": text, "v": 0, "n": 1}, {"k": None, "v": None, "n": 0}]
        for keys in ([{"k": text}], {"k": [text]}, pd.DataFrame({"k": [text]}), [{"k": value}]):
            assert ws.get_online_features(["view"], keys).to_dict()["v"] == [0]
        spine = {"k": [text], "timestamp": [clock_of(ws)()]}
        assert ws.get_historical_features(spine, ["view"])["v"].to_list() == [0]


@pytest.mark.parametrize("materialized", [True, False])
@pytest.mark.parametrize(
    ("dtype", "value", "sent", "hint"),
    [
        (pl.Date, date(2024, 5, 1), "May", "2024-05-01"),
        (pl.Datetime("us", "UTC"), datetime(2024, 5, 1, tzinfo=UTC), "2024-05-01T00:00:00", "text with an offset"),
        (pl.Time, time(1), "01:00:00+01:00", "without an offset"),
        (pl.Decimal(10, 2), Decimal("1.50"), 1.5, 'write decimals as text, such as "1.50"'),
        (pl.Binary, b"a", "YQ==", "binary keys cannot be written as text"),
        (pl.String, "7", 7, 'in quotes: "7"'),
        (pl.Int64, 7, "7", "cast one of them"),
    ],
)
def test_a_key_that_is_not_of_its_type_is_refused_over_http(tmp_path, dtype, value, sent, hint, materialized):
    with pushed_to(tmp_path / "w.tm", dtype, pl.Series([value], dtype=dtype), materialized=materialized) as ws:
        status, answer = read_over_http(ws, [{"k": sent}])
        assert status == 422
        assert "'k'" in answer["error"]
        assert hint in answer["hint"]


U = UUID(int=5)
ROWS = pl.DataFrame({"k": [str(U), str(UUID(int=6))], "v": [1, 2]})
FRAMES = {
    "Polars": ROWS,
    "lazy": ROWS.lazy(),
    "pandas": ROWS.to_pandas(),
    "pandas of UUIDs": pd.DataFrame({"k": [U, UUID(int=6)], "v": [1, 2]}),
    "Arrow": ROWS.to_arrow(),
    "batch": ROWS.to_arrow().to_batches()[0],
    "dict": ROWS.to_dict(as_series=False),
    "dict of UUIDs": {"k": [U, UUID(int=6)], "v": [1, 2]},
    "dict of series": ROWS.to_dict(),
    "dicts": ROWS.to_dicts(),
    "tuple of dicts": tuple(ROWS.to_dicts()),
    "dicts of UUIDs": [{"k": U, "v": 1}, {"k": UUID(int=6), "v": 2}],
}


@pytest.mark.parametrize("kind", FRAMES)
def test_online_features_are_asked_for_with_any_table(tmp_path, kind):
    with pushed_to(tmp_path / "w.tm", pl.String, pl.Series([str(U)])) as ws:
        given = FRAMES[kind].select("k") if isinstance(FRAMES[kind], pl.DataFrame | pl.LazyFrame) else FRAMES[kind]
        if isinstance(given, pd.DataFrame):
            given = given[["k"]]
        elif isinstance(given, pa.Table | pa.RecordBatch):
            given = given.select(["k"])
        elif isinstance(given, dict):
            given = {"k": given["k"]}
        elif isinstance(given, list | tuple):
            given = type(given)({"k": row["k"]} for row in given)
        read = ws.get_online_features(["view"], given)
        assert read.to_dict() == read.to_polars().to_dict(as_series=False)
        assert read.to_dict() == {"k": ROWS["k"].to_list(), "v": [0, None], "n": [1, 0]}


@pytest.mark.parametrize("kind", FRAMES)
def test_uuids_match_their_text_in_a_join(kind):
    features = {"k": [str(U)], "at": [at(0)], "found": [True]}
    spine = tm.frames.to_polars(FRAMES[kind]).with_columns(at=pl.lit(at(1)))
    joined = tm.point_in_time_join(spine, features, key="k", timestamp="at")
    assert joined["found"].to_list() == [True, None]


@pytest.mark.parametrize("rows", [[("a", 1)], [["a", 1]], (("a", 1),), [{"k": "a"}, ("a",)]])
def test_rows_without_column_names_are_refused_with_how_to_name_them(tmp_path, rows):
    with pushed_to(tmp_path / "w.tm", pl.String, pl.Series(["a"])) as ws:
        for do in (
            lambda: ws.get_online_features(["view"], rows),
            lambda: ws.get_historical_features(rows, ["view"]),
            lambda: ws.push("events", rows),
            lambda: ws.log_outcomes(rows),
            lambda: tm.point_in_time_join(rows, rows, key="k", timestamp="at"),
        ):
            with pytest.raises(DataError, match=r"in row \d is not a table\nHint: .*dict\(zip\(names, row\)\)"):
                do()
