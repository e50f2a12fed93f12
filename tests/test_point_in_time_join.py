"""The public join, rule by rule, and against the oracle and DuckDB."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import NEVER, Row, oracle_latest

from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.join.point_in_time import point_in_time_join

UTC_TIME = pl.Datetime("us", "UTC")


def at(*hours, unit="us"):
    moments = [None if hour is None else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in hours]
    return pl.Series(moments, dtype=pl.Datetime(unit, "UTC"))


def spine_of(*hours, key=None):
    return pl.DataFrame({"id": key or ["a"] * len(hours), "at": at(*hours)})


def rows_of(*hours, key=None, **columns):
    columns = columns or {"x": list(range(len(hours)))}
    return pl.DataFrame({"id": key or ["a"] * len(hours), "at": at(*hours), **columns})


def join(spine, rows, **options):
    return point_in_time_join(spine, rows, key="id", timestamp="at", **options)


def xs(spine, rows, **options):
    return join(spine, rows, **options)["x"].to_list()


def test_rows_come_back_in_order_with_duplicates_kept():
    spine = spine_of(5, 1, 5, 5).with_columns(note=pl.Series(["d", "c", "b", "a"]))
    result = join(spine, rows_of(0, 4))
    assert result.select(spine.columns).equals(spine)
    assert result["x"].to_list() == [1, 0, 1, 1]


def test_a_name_clash_names_prefix():
    with pytest.raises(DataError, match=r"\['x'\] would occur twice.*\nHint: give prefix="):
        join(spine_of(1).with_columns(x=1), rows_of(0))
    assert join(spine_of(1).with_columns(x=1), rows_of(0), prefix="w_").columns == ["id", "at", "x", "w_x"]
    with pytest.raises(DataError, match="status"):
        join(spine_of(1), rows_of(0, status=["ok"]), details=True)


def test_null_parts_of_keys_match_nothing():
    spine = pl.DataFrame({"a": ["1", None, "12"], "b": ["23", "3", "3"], "at": at(5, 5, 5)})
    rows = pl.DataFrame({"a": ["12", "1", None], "b": ["3", "23", "3"], "at": at(1, 1, 1), "x": [1, 2, 3]})
    result = point_in_time_join(spine, rows, key=["a", "b"], timestamp="at", details=True)
    assert result["x"].to_list() == [2, None, 1]
    assert result["status"].to_list() == ["PRESENT", "NULL_KEY", "PRESENT"]


def test_an_integer_key_against_a_string_key_is_refused():
    with pytest.raises(DataError, match="'id'"):
        join(spine_of(1), rows_of(0, key=[1]))


def test_pandas_float_keys_match_integers():
    spine = pd.DataFrame({"id": [1, None], "at": pd.to_datetime(["2024-01-01T05Z"] * 2)}, index=[9, 9])
    result = join(spine, rows_of(1, key=[1]))
    assert isinstance(result, pd.DataFrame)
    assert result["x"].iloc[0] == 0
    assert pd.isna(result["x"].iloc[1])
    assert list(result.index) == [9, 9]


def test_a_row_is_known_only_after_its_delay():
    assert xs(spine_of(1, 2, 3), rows_of(0), delay="2h") == [None, 0, 0]
    assert xs(spine_of(1, 2, 3), rows_of(0), delay=timedelta(hours=2), boundary="<") == [None, None, 0]


@pytest.mark.parametrize("column", [[timedelta(hours=3), timedelta(0)], [3 * 3_600_000_000, 0]])
def test_a_delay_may_differ_by_row_and_is_not_returned(column):
    rows = rows_of(0, 1, x=[0, 1], wait=column)
    assert xs(spine_of(0, 1, 3, 4), rows, delay="wait") == [None, 1, 1, 1]
    assert "wait" not in join(spine_of(1), rows, delay="wait").columns


def test_a_column_of_nanosecond_delays_rounds_up():
    rows = rows_of(0, x=[0], wait=pl.Series([1], dtype=pl.Duration("ns")))
    spine = spine_of(0, 0).with_columns(at=at(0, 0) + pl.Series([0, 1], dtype=pl.Duration("us")))
    assert xs(spine, rows, delay="wait") == [None, 0]


@pytest.mark.parametrize("wait", [[-1], [None], [2**62], [timedelta(-1)], ["1h"], [0.5]])
def test_delays_that_cannot_be_are_refused(wait):
    with pytest.raises(DataError, match="delay column 'wait'"):
        join(spine_of(0), rows_of(0, x=[0], wait=wait), delay="wait")


def test_a_delay_as_long_as_the_ttl_is_refused():
    with pytest.raises(DefinitionError, match="not shorter than the ttl"):
        join(spine_of(0), rows_of(0), delay="2h", ttl="2h")
    with pytest.raises(DefinitionError, match="delay"):
        join(spine_of(0), rows_of(0), delay="-1h")


def test_the_boundary_says_whether_the_moment_itself_counts():
    assert xs(spine_of(1), rows_of(1)) == [0]
    assert xs(spine_of(1), rows_of(1), boundary="<") == [None]
    with pytest.raises(DefinitionError, match="boundary"):
        join(spine_of(1), rows_of(1), boundary=">")


def test_ttl_is_inclusive():
    assert xs(spine_of(3, 4), rows_of(0), ttl="3h") == [0, None]
    assert xs(spine_of(3), rows_of(0), ttl=timedelta(hours=3, microseconds=-1)) == [None]
    with pytest.raises(DefinitionError, match="ttl"):
        join(spine_of(3), rows_of(0), ttl="0h")


def test_a_row_created_later_is_not_known_before():
    rows = rows_of(0, 1, x=[0, 1]).with_columns(made=at(0, 9))
    assert xs(spine_of(2, 9), rows, created="made") == [0, 1]
    assert xs(spine_of(2, 9), rows, created="made", known="latest") == [1, 1]
    assert "made" not in join(spine_of(2), rows, created="made").columns


def test_a_row_of_unknown_creation_is_never_known_by_event():
    rows = rows_of(0).with_columns(made=at(None))
    assert xs(spine_of(2), rows, created="made") == [None]
    assert xs(spine_of(2), rows, created="made", known="latest") == [0]


def test_known_by_event_needs_created():
    with pytest.raises(DefinitionError, match="created="):
        join(spine_of(1), rows_of(0), known="event")
    with pytest.raises(DefinitionError, match="known"):
        join(spine_of(1), rows_of(0), known="now")


def test_ties_go_to_the_later_created_row_and_then_to_the_last():
    rows = rows_of(0, 0, 0, x=[0, 1, 2]).with_columns(made=at(3, 4, None))
    assert xs(spine_of(5), rows, created="made", known="latest") == [1]
    assert xs(spine_of(5), rows.drop("made")) == [2]


def test_the_newest_row_wins_even_if_its_value_is_null():
    result = join(spine_of(2), rows_of(0, 1, x=[5, None]), details=True)
    assert result["x"].to_list() == [None]
    assert result["status"].to_list() == ["NULL_VALUE"]


def test_rows_without_an_event_time_are_never_known():
    rows = rows_of(None, 0, x=[1, 2])
    assert xs(spine_of(5), rows) == [2]
    result = join(spine_of(5), rows.head(1), details=True)
    assert result["status"].to_list() == ["NOT_FOUND"]


def test_null_spine_times_are_refused_with_their_rows():
    with pytest.raises(DataError, match=r"'at' is null in 1 rows .*\[1\]"):
        join(spine_of(1, None), rows_of(0))


def test_naive_times_need_a_zone_and_dates_do_not_leak():
    spine = pl.DataFrame({"id": ["a", "a"], "at": [datetime(2024, 1, 2, 23, 59), datetime(2024, 1, 3)]})
    rows = pl.DataFrame({"id": ["a"], "at": [date(2024, 1, 2)], "x": [7]})
    with pytest.raises(DataError, match="tz="):
        join(spine, rows)
    assert xs(spine, rows, tz="America/New_York") == [None, 7]


def test_nanoseconds_never_come_early_and_the_spine_is_returned_unrounded():
    rows = rows_of(0).with_columns(at=at(0, unit="ns") + pl.Series([1], dtype=pl.Duration("ns")))
    spine = spine_of(0).with_columns(at=at(0, unit="ns") + pl.Series([999], dtype=pl.Duration("ns")))
    result = join(spine, rows)
    assert result["x"].to_list() == [None]
    assert result["at"].equals(spine["at"])


def test_details_say_why_and_when():
    rows = rows_of(0, 6, x=[1, 2], wait=[timedelta(0), timedelta(hours=1)])
    spine = spine_of(-1, 1, 4, 6, 7, 7, key=["a", "a", "a", "a", "a", "b"])
    result = join(spine, rows, delay="wait", ttl="2h", details=True, prefix="f_")
    assert result["f_status"].to_list() == ["NOT_FOUND", "PRESENT", "EXPIRED", "EXPIRED", "PRESENT", "NOT_FOUND"]
    assert result["f_event_time"].equals(at(None, 0, None, None, 6, None).alias("f_event_time"))
    early = join(spine_of(6), rows.tail(1), delay="wait", details=True)
    assert early["status"].to_list() == ["NOT_YET_AVAILABLE"]


def test_every_type_of_value_is_gathered():
    values = {
        "text": ["x"], "flag": [True], "list": [[1, 2]], "struct": [{"p": 1}], "day": [date(2024, 1, 1)],
        "category": pl.Series(["c"], dtype=pl.Categorical), "bytes": [b"b"], "nothing": [None],
    }  # fmt: skip
    rows = rows_of(0, **values)
    result = join(spine_of(1, -1), rows)
    assert result.head(1).select(*values).equals(rows.select(*values))
    assert result.tail(1).select(pl.all_horizontal(pl.col(*values).is_null())).item()
    assert result.select(*values).schema == rows.select(*values).schema


def test_the_names_of_key_and_time_may_differ():
    rows = rows_of(0).rename({"id": "carrier", "at": "landed"})
    result = join(spine_of(1), rows, feature_key="carrier", feature_timestamp="landed")
    assert result.columns == ["id", "at", "x"]
    with pytest.raises(DefinitionError, match="as many columns"):
        join(spine_of(1), rows, feature_key=["carrier", "x"], feature_timestamp="landed")


def test_a_missing_column_is_named_with_the_near_match():
    with pytest.raises(DataError, match="'at' in the features\nHint: did you mean 'att'"):
        join(spine_of(1), rows_of(0).rename({"at": "att"}))


def test_the_spine_decides_what_comes_back():
    spine, rows = spine_of(1), rows_of(0)
    for given_, kind in [(spine.lazy(), pl.LazyFrame), (spine.to_pandas(), pd.DataFrame), (spine.to_arrow(), pa.Table)]:
        assert isinstance(join(given_, rows.to_arrow()), kind)


def test_relations_and_batches_come_back_as_arrow_tables():
    spine, rows = spine_of(1, 3), rows_of(0, 2)
    with duckdb.connect() as connection:
        relation = connection.from_arrow(spine.to_arrow())
        for given_ in (relation, spine.to_arrow().to_batches()[0]):
            result = join(given_, connection.from_arrow(rows.to_arrow()))
            assert isinstance(result, pa.Table)
            assert result["x"].to_pylist() == [0, 1]


@pytest.mark.parametrize("key", [[None, None], [float("nan"), None]])
def test_a_spine_of_null_keys_matches_nothing(key):
    spine = spine_of(1, 1).with_columns(id=pl.Series(key, strict=False))
    assert xs(spine, rows_of(0, key=[1])) == [None, None]


def test_empty_tables_are_possible():
    assert xs(spine_of(1), rows_of(0).clear()) == [None]
    assert xs(spine_of(1).clear(), rows_of(0)) == []
    assert join(spine_of(1).clear(), rows_of(0).clear(), details=True).height == 0


HOURS = st.integers(0, 8)
RECORD = st.tuples(st.sampled_from(["a", "b", None]), st.one_of(HOURS, st.none()), st.one_of(HOURS, st.none()), HOURS)
POINT = st.tuples(st.sampled_from(["a", "b", None]), st.integers(-1, 12))


@examples(150)
@given(
    records=st.lists(RECORD, max_size=10),
    points=st.lists(POINT, max_size=8),
    known=st.sampled_from(["event", "latest"]),
    ttl=st.sampled_from([None, 1, 3]),
    boundary=st.sampled_from(["<=", "<"]),
    details=st.booleans(),
)
def test_joins_are_what_the_oracle_says(records, points, known, ttl, boundary, details):
    spine = pl.DataFrame(
        {"id": pl.Series([key for key, _ in points], dtype=pl.String), "at": at(*(hour for _, hour in points))}
    )
    table = pl.DataFrame(
        {
            "id": pl.Series([record[0] for record in records], dtype=pl.String),
            "at": at(*(record[1] for record in records)),
            "made": at(*(record[2] for record in records)),
            "wait": pl.Series([timedelta(hours=record[3]) for record in records], dtype=pl.Duration),
            "x": pl.Series(range(len(records)), dtype=pl.Int64),
        }
    )
    rows = [
        Row(key, None, e, e + wait if known == "latest" else max(e + wait, c), NEVER if c is None else c, n, value=n)
        for n, (key, e, c, wait) in enumerate(records)
        if e is not None and (c is not None or known == "latest")
    ]
    found = join(
        spine, table, created="made", delay="wait", known=known, boundary=boundary, details=details,
        ttl=ttl and f"{ttl}h",
    )["x"].to_list()  # fmt: skip
    expected = [oracle_latest(rows, key, hour, strict=boundary == "<", ttl=ttl) for key, hour in points]
    assert found == [row and row.value for row in expected]


def test_the_answers_are_those_of_duckdbs_asof_join():
    rng = np.random.default_rng(5)
    n, m = 20_000, 5_000
    rows = pl.DataFrame(
        {
            "id": rng.integers(0, 50, n),
            "at": pl.Series(rng.permutation(n * 10)[:n]).cast(UTC_TIME),  # no ties, which DuckDB resolves at random
            "x": np.arange(n),
        }
    )
    spine = pl.DataFrame({"id": rng.integers(0, 60, m), "at": pl.Series(rng.integers(0, n * 10, m)).cast(UTC_TIME)})
    spine = spine.with_row_index("row")
    with duckdb.connect() as connection:
        connection.register("spine", spine.to_arrow())
        connection.register("feature_rows", rows.to_arrow())
        expected = connection.sql(
            "select case when spine.at - r.at <= interval 40 milliseconds then r.x end as x "
            "from spine asof left join feature_rows r on spine.id = r.id and spine.at >= r.at order by row"
        ).pl()
    assert xs(spine, rows, ttl="40ms") == expected["x"].to_list()
    assert xs(spine, rows.sample(fraction=1, shuffle=True, seed=1), ttl="40ms") == expected["x"].to_list()


def test_a_features_date_is_the_end_of_its_day_or_what_date_means_says():
    rows = pl.DataFrame({"id": ["a"], "at": [date(2024, 1, 1)], "x": [7]})
    assert xs(spine_of(5, 30), rows, tz="UTC") == [None, 7]
    assert xs(spine_of(5, 30), rows, tz="UTC", date_means="start") == [7, 7]
    with pytest.raises(DefinitionError, match="date_means='noon' is not possible"):
        join(spine_of(1), rows, tz="UTC", date_means="noon")


def test_a_repeated_hour_is_an_error_or_what_ambiguous_says():
    # On 2024-11-03 New York has 01:30 twice: at 05:30 and at 06:30 UTC.
    rows = pl.DataFrame({"id": ["a"], "at": [datetime(2024, 11, 3, 1, 30)], "x": [7]})
    spine = pl.DataFrame({"id": ["a"], "at": [datetime(2024, 11, 3, 6, 0, tzinfo=UTC)]})
    with pytest.raises(DataError, match="'at'"):
        join(spine, rows, tz="America/New_York")
    assert xs(spine, rows, tz="America/New_York", ambiguous="earliest") == [7]
    assert xs(spine, rows, tz="America/New_York", ambiguous="latest") == [None]


def test_each_row_without_a_match_has_its_reason():
    rows = rows_of(2, 4, 6, x=[1, None, 3], made=at(9, 9, 9))
    found = join(spine_of(1, 3, 9, 20), rows, created="made", ttl="5h", details=True)
    assert found["status"].to_list() == ["NOT_FOUND", "NOT_YET_AVAILABLE", "PRESENT", "EXPIRED"]
    assert found["event_time"].to_list() == [None, None, at(6).item(), None]
