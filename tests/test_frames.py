"""Tables come in from every library and go back as they came; times become microseconds without leaking."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError
from tinymlops.frames import give_back, require_no_nulls, times_to_micros, to_polars

FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, None]})
ARROW = FRAME.to_arrow()
NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (FRAME, pl.DataFrame),
        (FRAME.lazy(), pl.LazyFrame),
        (FRAME.to_pandas(), pd.DataFrame),
        (ARROW, pa.Table),
        (ARROW.to_batches()[0], pa.Table),
        (FRAME.to_dicts(), pl.DataFrame),
        (FRAME.to_dict(as_series=False), pl.DataFrame),
    ],
)
def test_every_kind_of_table_is_read_and_given_back(frame, kind):
    read = to_polars(frame)
    assert read.equals(FRAME)
    assert isinstance(give_back(read, frame), kind)


def test_a_reader_and_a_duckdb_relation_are_read_and_give_arrow():
    with duckdb.connect() as connection:
        relation = connection.sql("select 1::bigint a, 'x' b, 0.5::double c union all select 2, null, null order by a")
        for frame in (ARROW.to_reader(), relation):
            assert to_polars(frame).equals(FRAME)
            assert isinstance(give_back(FRAME, frame), pa.Table)


def test_arrow_columns_are_not_copied():
    numbers = pa.table({"a": pa.array(range(10_000), pa.int64())})
    address = numbers["a"].chunk(0).buffers()[1].address
    assert to_polars(numbers)["a"].to_numpy(allow_copy=False).__array_interface__["data"][0] == address


@pytest.mark.parametrize("frame", [3, "text", [1, 2], None, object()])
def test_what_is_no_table_is_refused(frame):
    with pytest.raises(DataError, match="is not a table"):
        to_polars(frame)


def test_columns_of_mixed_types_are_refused():
    with pytest.raises(DataError, match="cannot be read as a table"):
        to_polars({"a": [1, 2], "b": [1]})


def test_pandas_keeps_its_index_and_its_own_columns():
    spine = pd.DataFrame({"a": pd.array([1, None], dtype="Int8"), 5: ["x", "y"]}, index=["p", "p"])
    result = to_polars(spine).with_columns(new=pl.Series([1.5, None]))
    back = give_back(result, spine)
    assert list(back.index) == ["p", "p"]
    assert list(back.columns) == ["a", 5, "new"]
    assert back["a"].dtype == spine["a"].dtype
    assert back["new"].iloc[0] == 1.5
    assert "new" not in spine.columns


def test_pandas_of_another_length_gets_a_new_index():
    spine = pd.DataFrame({"a": [1, 2]}, index=[7, 8])
    assert list(give_back(FRAME.head(1), spine).index) == [0]


def micros(values, role="feature", tz=None, **options):
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return times_to_micros(series, role=role, tz=tz, name="at", **options).to_list()


@given(st.integers(-(10**15), 10**15))
def test_nanoseconds_round_up_for_features_and_down_for_spines(nanos):
    series = pl.Series([nanos, None], dtype=pl.Datetime("ns", "UTC"))
    assert micros(series) == [-(-nanos // 1000), None]
    assert micros(series, "spine") == [nanos // 1000, None]


def test_milliseconds_and_zones_are_converted():
    moment = pl.Series([datetime(2024, 1, 1)]).dt.replace_time_zone("Asia/Tokyo").dt.cast_time_unit("ms")
    assert micros(moment) == [1704034800_000_000]


ENDLESS = 2**63 - 1


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("role", ["feature", "spine"])
def test_times_beyond_64_bits_of_microseconds_do_not_wrap(zone, role):
    def read(unit, *numbers):
        return micros(pl.Series(numbers).cast(pl.Datetime(unit, zone)), role, tz=NEW_YORK)

    assert read("ms", ENDLESS, 2**62, -ENDLESS, None) == [ENDLESS, ENDLESS, -ENDLESS, None]
    assert read("us", ENDLESS, -ENDLESS, None) == [ENDLESS, -ENDLESS, None]
    assert read("ns", ENDLESS, None) == [ENDLESS, None]


def test_dates_beyond_the_calendar_are_endless():
    days = pl.Series([2**31 - 1, None, -(2**31), 0], dtype=pl.Int32).cast(pl.Date)
    assert micros(days, "spine", tz="UTC") == [ENDLESS, None, -ENDLESS, 0]
    assert micros(days, tz="UTC") == [ENDLESS, None, -ENDLESS, utc(1970, 1, 2) - 1]


def test_naive_times_need_a_zone():
    with pytest.raises(DataError, match="'at' holds times without a time zone\nHint: .*tz="):
        micros([datetime(2024, 1, 1)])
    with pytest.raises(DataError, match="'at' holds dates without a time zone"):
        micros([date(2024, 1, 1)])
    assert micros([datetime(2024, 1, 1)], tz="UTC") == [1704067200_000_000]


def test_an_unknown_zone_is_refused():
    with pytest.raises(DefinitionError, match="Mars"):
        micros([datetime(2024, 1, 1)], tz="Mars/Olympus")


@pytest.mark.parametrize("values", [["2024-01-01"], [1704067200], [1.5], [True]])
def test_what_is_no_time_is_refused(values):
    with pytest.raises(DataError, match="not of times"):
        micros(values, tz="UTC")


def utc(*parts):
    return int((datetime(*parts) - datetime(1970, 1, 1)).total_seconds()) * 1_000_000


SKIPPED, REPEATED = datetime(2013, 3, 10, 2, 30), datetime(2013, 11, 3, 1, 30)


@pytest.mark.parametrize("moment", [SKIPPED, REPEATED])
def test_times_skipped_or_repeated_by_a_clock_change_are_refused_with_their_row(moment):
    with pytest.raises(DataError, match=r"rows \[1\].*2013"):
        micros([datetime(2013, 1, 1), moment, None], tz=NEW_YORK)


def test_times_skipped_or_repeated_are_read_as_asked_for():
    values = [SKIPPED, None, REPEATED]
    assert micros(values, tz=NEW_YORK, ambiguous="earliest") == [utc(2013, 3, 10, 6, 30), None, utc(2013, 11, 3, 5, 30)]
    assert micros(values, tz=NEW_YORK, ambiguous="latest") == [utc(2013, 3, 10, 7, 30), None, utc(2013, 11, 3, 6, 30)]


def test_a_date_is_the_end_of_its_day_for_a_feature_and_the_start_for_a_spine():
    # Between them lie 23 hours on the day that clocks went forward.
    assert micros([date(2013, 3, 10)], tz=NEW_YORK) == [utc(2013, 3, 11, 4) - 1]
    assert micros([date(2013, 3, 10)], "spine", tz=NEW_YORK) == [utc(2013, 3, 10, 5)]


def test_a_day_whose_midnight_was_skipped_begins_at_the_clock_change():
    assert micros([date(2018, 11, 4)], "spine", tz="America/Sao_Paulo") == [utc(2018, 11, 4, 3)]
    assert micros([date(2018, 11, 3)], tz="America/Sao_Paulo") == [utc(2018, 11, 4, 3) - 1]


def test_a_column_of_nulls_is_a_column_of_null_times():
    assert micros([None, None]) == [None, None]


def test_null_spine_times_are_refused_with_their_rows():
    with pytest.raises(DataError, match=r"'at' is null in 2 rows .*\[1, 2\]"):
        require_no_nulls(pl.Series([1, None, None]), name="at")
    require_no_nulls(pl.Series([1]), name="at")


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ([7, "x"], "int in row 0, str in row 1"),
        ([None, True, 2], "bool in row 1, int in row 2"),
        ([2**53 + 1, 0.5], "int in row 0, float in row 1"),
        ([1, 0.5, "x"], "int in row 0, float in row 1, str in row 2"),
    ],
)
def test_rows_whose_values_would_have_to_change_are_refused(values, where):
    with pytest.raises(DataError, match=f"column 'a' mixes types: {where}"):
        to_polars([{"a": value} for value in values])


@pytest.mark.parametrize("values", [[1, 0.5, None], [2**53, -0.5], [2**60 + 1, 3], ["7", None], [True, None]])
def test_rows_keep_their_values(values):
    assert to_polars([{"a": value} for value in values])["a"].to_list() == values


U = UUID(int=5)
TIMESTAMP = pd.Timestamp("2024-01-01T00:00:00.000000001")
NANOS = pl.Datetime("ns")
PLAIN = [
    ([np.int64(7), None, 8], pl.Int64, [7, None, 8]),
    ([2**53 + 1, None], pl.Int64, [2**53 + 1, None]),
    ([2**63, -1], pl.Int128, [2**63, -1]),
    ([np.float64(0.5), 1], pl.Float64, [0.5, 1.0]),
    ([np.bool_(True), None], pl.Boolean, [True, None]),
    ([np.str_("a"), "b"], pl.String, ["a", "b"]),
    ([U, None], pl.String, [str(U), None]),
    ([bytearray(b"a")], pl.Binary, [b"a"]),
    ([Decimal("1.50"), 2, None], pl.Decimal(38, 2), [Decimal("1.50"), Decimal(2), None]),
    ([Decimal(10**37 + 1)], pl.Decimal(38, 0), [Decimal(10**37 + 1)]),
    ([pd.NA, 1], pl.Int64, [None, 1]),
    ([pd.NaT, datetime(2024, 1, 1)], pl.Datetime("us"), [None, datetime(2024, 1, 1)]),
    ([pd.Timestamp("2024-01-01", tz="Asia/Tokyo")], pl.Datetime("us", "UTC"), [datetime(2023, 12, 31, 15, tzinfo=UTC)]),
    (
        [np.timedelta64(5, "m"), pd.Timedelta(seconds=1)],
        pl.Duration("us"),
        [timedelta(minutes=5), timedelta(seconds=1)],
    ),
    ([[1, np.int64(2)], [], None], pl.List(pl.Int64), [[1, 2], [], None]),
    ([(2**53 + 1, None)], pl.List(pl.Int64), [[2**53 + 1, None]]),
    ([[Decimal("0.1")], [1]], pl.List(pl.Decimal(38, 1)), [[Decimal("0.1")], [Decimal(1)]]),
    ([None, None], pl.Null, [None, None]),
    ([], pl.Null, []),
]


@pytest.mark.parametrize(("values", "dtype", "expected"), PLAIN, ids=str)
@pytest.mark.parametrize("form", ["dicts", "dict", "pandas", "dict of arrays"])
def test_values_of_any_library_are_read_as_what_they_hold(values, dtype, expected, form):
    if form == "dicts":
        if not values:
            return
        read = to_polars([{"a": value} for value in values])
    elif form == "dict":
        read = to_polars({"a": values})
    else:
        series = pd.Series(values, dtype=object)
        read = to_polars(pd.DataFrame({"a": series}) if form == "pandas" else {"a": series.to_numpy()})
    assert read.schema == {"a": dtype}
    assert read["a"].to_list() == expected


@pytest.mark.parametrize(
    "values", [[TIMESTAMP], [pd.NaT, TIMESTAMP], [TIMESTAMP.to_numpy(), None], [TIMESTAMP, datetime(2024, 1, 1)]]
)
def test_times_keep_their_nanoseconds(values):
    for table in (
        [{"a": value} for value in values],
        {"a": values},
        pd.DataFrame({"a": pd.Series(values, dtype=object)}),
    ):
        read = to_polars(table)
        assert read.schema == {"a": NANOS}
        assert 1_704_067_200_000_000_001 in read["a"].to_physical()


MIXED = [
    ([7, "x"], "int in row 0, str in row 1"),
    ([True, 2], "bool in row 0, int in row 1"),
    ([2, True], "int in row 0, bool in row 1"),
    ([0.5, 2**53 + 1], "float in row 0, int in row 1"),
    ([np.float64(0.5), np.int64(2**53 + 1)], "float in row 0, int in row 1"),
    ([b"a", "b"], "bytes in row 0, str in row 1"),
    ([date(2024, 1, 1), datetime(2024, 1, 1, 5)], "date in row 0, datetime in row 1"),
    ([Decimal("1.5"), 0.5], "Decimal in row 0, float in row 1"),
    ([[1], ["a"]], "int in row 0, str in row 1"),
    ([datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)], "with a zone and times without"),
    ([TIMESTAMP, TIMESTAMP.tz_localize("UTC")], "local times and times"),
    ([Decimal("NaN")], "NaN in row 0"),
    ([Decimal(1), Decimal(10**40)], "in row 1, which is not a decimal of at most 38 digits"),
    ([Decimal(10**37), Decimal("1.55")], "not a decimal of at most 38 digits"),
    ([1, 2**130], "in row 1"),
]


@pytest.mark.parametrize(("values", "where"), MIXED, ids=str)
@pytest.mark.parametrize("form", ["dicts", "dict", "pandas"])
def test_values_that_no_type_holds_as_they_are_name_their_rows(values, where, form):
    table = {
        "dicts": [{"a": value} for value in values],
        "dict": {"a": values},
        "pandas": pd.DataFrame({"a": pd.Series(values, dtype=object)}),
    }[form]
    with pytest.raises(DataError, match=f"column 'a' .*{where}") as error:
        to_polars(table)
    assert "Hint: " in str(error.value)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": pa.array([Decimal(1)], pa.decimal256(70, 2))}),
        pd.DataFrame({"a": pd.array([Decimal(1)], dtype=pd.ArrowDtype(pa.decimal256(70, 2)))}),
        pd.DataFrame({"a": [1j]}),
        pl.LazyFrame({"b": [1]}).select("a"),
        pl.scan_parquet("nowhere.parquet"),
    ],
    ids=["Arrow decimal", "pandas decimal", "complex", "lazy column", "lazy file"],
)
def test_what_another_library_cannot_read_is_an_error_of_ours(table, capfd):
    with pytest.raises(DataError, match="cannot be read"):
        to_polars(table)


BIG = 2**53 + 1


@pytest.mark.parametrize("dtype", ["int64", "Int64", "uint64", "UInt64", "object"])
def test_pandas_integers_beyond_floats_come_back_exactly_beside_nulls(dtype):
    spine = pd.DataFrame({"k": [1, 7], "t": pd.to_datetime(["2024-01-02"] * 2, utc=True)}, index=[3, 3])
    rows = pd.DataFrame({"k": [1], "t": pd.to_datetime(["2024-01-01"], utc=True), "v": pd.Series([BIG], dtype=dtype)})
    found = tm.point_in_time_join(spine, rows, key="k", timestamp="t")
    assert found["v"].iloc[0] == BIG
    assert found["v"].isna().tolist() == [False, True]
    assert found.index.tolist() == [3, 3]


def test_pandas_gets_floats_where_they_are_exact_and_integers_where_nothing_is_missing():
    like = pd.DataFrame({"k": [1, 2]})
    columns = {
        "small": [1, None],
        "whole": [BIG, 1],
        "wide": pl.Series([2**64, None], dtype=pl.Int128),
        "in lists": [[BIG, None], None],
    }
    result = give_back(pl.DataFrame({"k": [1, 2], **columns}), like)
    assert [str(result[name].dtype) for name in columns] == ["float64", "int64", "object", "object"]
    assert result["wide"][0] == 2**64
    assert list(result["in lists"][0]) == [BIG, None]
    shorter = give_back(pl.DataFrame({"k": [1], "v": pl.Series([None], dtype=pl.Int64)}), like)
    assert str(shorter["v"].dtype) == "float64"
    longer = give_back(pl.DataFrame({"v": [BIG, None, 2]}), like)
    assert longer["v"].tolist() == [BIG, pd.NA, 2]


@pytest.mark.parametrize("value", [2.0**53, -(2.0**53), 1.5])
def test_a_float_key_that_pandas_may_have_rounded_is_refused(value):
    spine = pd.DataFrame({"k": [1.0, None, value], "t": pd.to_datetime(["2024-01-02"] * 3, utc=True)})
    rows = pd.DataFrame({"k": [1], "t": pd.to_datetime(["2024-01-01"], utc=True), "v": [1]})
    with pytest.raises(DataError, match=r"'k' has floats .* in rows \[2\]"):
        tm.point_in_time_join(spine, rows, key="k", timestamp="t")
    found = tm.point_in_time_join(spine[:2], rows, key="k", timestamp="t")
    assert found["v"].tolist()[0] == 1
