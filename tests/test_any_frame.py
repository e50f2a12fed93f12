"""Any frame in, the same frame out, with values of any Arrow type: the contract of both public functions."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import at, shop

import tinymlops as tm

SPINE = pl.DataFrame({"note": ["c", "b", "a"], "customer": [2, 1, 2], "timestamp": [at(5), at(5), at(0)]})
ROWS = pl.DataFrame({"customer": [1, 2, 2], "at": [at(1), at(1), at(2)], "amount": [1.5, None, 2.5]})
FOUND = [2.5, 1.5, None]


class Stream:
    """A table of an unknown library: it has the Arrow C stream and nothing else."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


KINDS = {
    "Polars": (lambda frame: frame, pl.DataFrame),
    "lazy Polars": (lambda frame: frame.lazy(), pl.LazyFrame),
    "pandas": (lambda frame: frame.to_pandas().set_index(pd.Index([7, 7, 3], name="i")), pd.DataFrame),
    "pandas of Arrow": (lambda frame: frame.to_pandas(use_pyarrow_extension_array=True), pd.DataFrame),
    "table": (lambda frame: frame.to_arrow(), pa.Table),
    "table in pieces": (lambda frame: pa.concat_tables([frame[:1].to_arrow(), frame[1:].to_arrow()]), pa.Table),
    "batch": (lambda frame: frame.to_arrow().combine_chunks().to_batches()[0], pa.Table),
    "reader": (lambda frame: frame.to_arrow().to_reader(max_chunksize=2), pa.Table),
    "relation": (lambda frame: duckdb.connect().from_arrow(frame.to_arrow()), pa.Table),
    "stream": (lambda frame: Stream(frame.to_arrow()), pa.Table),
}


def join(spine, rows):
    return tm.point_in_time_join(spine, rows, key="customer", timestamp="timestamp", feature_timestamp="at")


def assert_answers(result, given, kind):
    assert isinstance(result, kind)
    read = pl.from_pandas(result) if kind is pd.DataFrame else pl.DataFrame(tm.frames.to_polars(result))
    assert read.columns == ["note", "customer", "timestamp", "amount"]
    assert read["amount"].to_list() == FOUND
    assert read["note"].to_list() == SPINE["note"].to_list()
    assert read["timestamp"].dt.convert_time_zone("UTC").to_list() == SPINE["timestamp"].to_list()
    if kind is pd.DataFrame:
        pd.testing.assert_frame_equal(result[given.columns], given)  # its index, and its columns just as they were


@pytest.mark.parametrize("name", KINDS)
def test_a_join_gives_back_the_kind_of_frame_that_its_spine_is(name):
    make, kind = KINDS[name]
    given = make(SPINE)
    assert_answers(join(given, ROWS), given, kind)


@pytest.mark.parametrize("name", KINDS)
def test_the_features_of_a_join_may_be_any_kind_of_frame(name):
    make, _ = KINDS[name]
    assert_answers(join(SPINE, make(ROWS)), SPINE, pl.DataFrame)


@pytest.mark.parametrize("name", KINDS)
def test_historical_features_give_back_the_kind_of_frame_that_is_asked_with(workspace, name):
    make, kind = KINDS[name]
    workspace.apply(shop(make(ROWS), features=lambda rows: {"amount": rows["amount"].last()}))
    workspace.ingest("orders")
    given = make(SPINE)
    assert_answers(workspace.get_historical_features(given, ["spending"]), given, kind)


SCALARS = {
    pa.int8(): [-128, 127], pa.int16(): [-1, 2], pa.int32(): [-1, 2], pa.int64(): [-(2**63), 2**63 - 1],
    pa.uint8(): [0, 255], pa.uint16(): [0, 2], pa.uint32(): [0, 2**32 - 1], pa.uint64(): [0, 2**64 - 1],
    pa.float32(): [0.5, -0.5], pa.float64(): [5e-324, 1.7e308], pa.bool_(): [True, False],
    pa.decimal128(9, 2): [Decimal("1.50"), Decimal("-0.01")], pa.string(): ["", "x" * 40], pa.large_string(): ["a", "é"],
    pa.string_view(): ["a", "b" * 20], pa.binary(): [b"", b"\x00"], pa.large_binary(): [b"a", b"b"],
    pa.date32(): [date(1, 1, 1), date(9999, 12, 31)], pa.time64("us"): [time(0, 0), time(23, 59, 59, 999_999)],
    pa.timestamp("ms", "UTC"): [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)],
    pa.timestamp("us"): [datetime(1969, 12, 31), datetime(2024, 1, 1)],
    pa.timestamp("us", "Asia/Tokyo"): [datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)],
    pa.duration("us"): [timedelta(-1), timedelta(1)], pa.list_(pa.int64()): [[], [1, None]],
    pa.large_list(pa.string()): [["a"], ["b", "c"]], pa.list_(pa.float32(), 2): [[0.5, 1.5], [2.5, 3.5]],
    pa.struct([("p", pa.int64()), ("q", pa.list_(pa.string()))]): [{"p": 1, "q": ["x"]}, {"p": None, "q": None}],
    pa.list_(pa.struct([("p", pa.bool_())])): [[{"p": True}], []],
    pa.dictionary(pa.int8(), pa.string()): ["red", "blue"], pa.dictionary(pa.uint32(), pa.string()): ["x", "x"],
    pa.null(): [None, None],
}  # fmt: skip


@pytest.mark.parametrize("dtype", SCALARS, ids=str)
def test_values_of_any_arrow_type_are_joined_as_they_are(dtype):
    values = [*SCALARS[dtype], None]
    moments = pa.array([at(1), at(2), at(3)], pa.timestamp("us", "UTC"))
    rows = pa.table({"customer": [1, 1, 1], "at": moments, "value": pa.array(values, dtype)})
    spine = pa.table({"customer": [1, 1, 9, 1], "timestamp": pa.array([at(2), at(1), at(2), at(9)], moments.type)})
    expected = [values[1], values[0], None, None]
    # Of a slice of lists of one size, with nulls, Polars reads only one that begins at the first row.
    cut = 3 if pa.types.is_fixed_size_list(dtype) else 1
    for pieces in (rows, pa.concat_tables([rows[:cut], rows[cut:]])):
        assert join(spine, pieces)["value"].to_pylist() == expected


def kept(ws, dtype):
    moments = pa.array([at(1), at(2)], pa.timestamp("us", "UTC"))
    rows = pa.table({"customer": [1, 1], "at": moments, "amount": pa.array(SCALARS[dtype], dtype)})
    project = shop(
        rows, features=lambda rows: {"newest": rows["amount"].last(), "n": rows["amount"].n_unique(window="1d")}
    )
    for name in ("visits_to_orders", "buys"):
        del project.definitions[name]
    ws.apply(project)
    ws.ingest("orders")


@pytest.mark.parametrize("dtype", SCALARS, ids=str)
def test_values_of_any_type_that_is_stored_come_back_from_history(workspace, dtype):
    kept(workspace, dtype)
    got = workspace.get_historical_features({"customer": [1, 1, 9], "timestamp": [at(1), at(2), at(2)]}, ["spending"])
    assert got["newest"].to_list() == [*SCALARS[dtype], None]
