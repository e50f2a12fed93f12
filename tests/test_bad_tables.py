"""Irregular tables: the right answer, or an error that names the column and the rows."""

import warnings
from datetime import UTC, datetime, timedelta

import pandas as pd
import polars as pl
import pytest
from conftest import at, shop

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError

NAN = float("nan")


def spine_of(*keys, hour=5):
    return pl.DataFrame({"customer": pl.Series(keys, strict=False), "timestamp": [at(hour)] * len(keys)})


def rows_of(*keys, **columns):
    moments = [at(1 + i) for i in range(len(keys))]
    values = {"amount": [float(i) for i in range(len(keys))], **columns}
    return pl.DataFrame({"customer": pl.Series(keys, strict=False), "at": moments, **values})


def join(spine, rows, **options):
    return tm.point_in_time_join(spine, rows, key="customer", timestamp="timestamp", feature_timestamp="at", **options)


def no_label(project):
    for name in ("visits_to_orders", "buys"):
        del project.definitions[name]
    return project


def history(ws, spine, rows, *, features=None, **options):
    """The same question asked of a workspace."""
    own = features or (lambda rows: {"amount": rows["amount"].last()})
    ws.apply(no_label(shop(rows, features=own, **options)))
    ws.ingest("orders")
    return ws.get_historical_features(spine, ["spending"])


@pytest.fixture(params=["join", "history"])
def ask(request, workspace):
    """Both public functions, with the same tables."""
    return join if request.param == "join" else lambda spine, rows: history(workspace, spine, rows)


# Keys


@pytest.mark.parametrize("null", [None, NAN])
def test_null_and_nan_keys_match_nothing_on_either_side(ask, null):
    got = ask(spine_of(1.0, null), rows_of(1.0, null, 2.0))
    assert got["amount"].to_list() == [0.0, None]


def test_keys_of_numbers_against_text_are_refused(ask):
    with pytest.raises(DataError, match="'customer'"):
        ask(spine_of("1"), rows_of(1))


def test_a_float_key_that_is_no_whole_number_is_refused_with_its_row(ask):
    with pytest.raises(DataError, match=r"'customer' .*rows? \[?1"):
        ask(spine_of(1.0, 1.5), rows_of(1))


def test_keys_that_mix_types_in_pandas_or_rows_are_refused_by_column(ask):
    moments = pd.to_datetime([at(5)] * 2)
    with pytest.raises(DataError, match="customer|mixes|cannot be read"):
        ask(pd.DataFrame({"customer": [1, "x"], "timestamp": moments}), rows_of(1))
    with pytest.raises(DataError, match="column 'customer' mixes types: int in row 0, str in row 1"):
        ask([{"customer": key, "timestamp": at(5)} for key in (1, "x")], rows_of(1))


# Times


def test_null_spine_times_are_refused_with_their_rows(ask):
    spine = spine_of(1, 1, 1).with_columns(timestamp=pl.Series([at(1), None, None]))
    with pytest.raises(DataError, match=r"'timestamp' is null in 2 rows .*\[1, 2\]"):
        ask(spine, rows_of(1))


@pytest.mark.filterwarnings("ignore:source 'orders'. 1 of 2 rows have no time")  # reported only by ingest
def test_null_event_times_are_left_out(ask):
    rows = rows_of(1, 1).with_columns(at=pl.Series([at(1), None]))
    assert ask(spine_of(1), rows)["amount"].to_list() == [0.0]


def test_a_column_that_holds_no_times_is_refused_by_name(ask):
    with pytest.raises(DataError, match="'timestamp' is a column of Int32, not of times"):
        ask(spine_of(1).with_columns(timestamp=1), rows_of(1))
    with pytest.raises(DataError, match="'at'.* is a column of String, not of times"):
        ask(spine_of(1), rows_of(1).with_columns(at=pl.lit("2024-01-01")))


FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def test_the_years_1_and_9999_are_times_like_any_other(ask):
    rows = pl.DataFrame({"customer": [1, 1], "at": [FIRST, LAST], "amount": [1.0, 2.0]})
    spine = pl.DataFrame({"customer": [1] * 3, "timestamp": [FIRST, at(0), LAST]})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*dated later than now")
        assert ask(spine, rows)["amount"].to_list() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_an_event_at_infinity_is_never_seen(workspace, unit, zone):
    endless = pl.Series([2**63 - 1]).cast(pl.Datetime(unit, zone))
    known = pl.Series([at(1)]).dt.cast_time_unit(unit)
    known = known.dt.replace_time_zone(None) if zone is None else known.dt.convert_time_zone(zone)
    rows = pl.DataFrame({"customer": [1, 1], "at": known.append(endless), "amount": [1.0, 99.0]})
    spine = pl.DataFrame({"customer": [1, 1], "timestamp": [at(12), LAST]})
    tz = {"tz": "America/New_York"} if zone is None else {}
    assert join(spine, rows, **tz)["amount"].to_list() == [1.0, 1.0]
    assert join(spine, rows, delay="1d", **tz)["amount"].to_list() == [None, 1.0]
    with pytest.warns(UserWarning, match="1 of 2 rows have no time in 'at' and were left out: rows 1"):
        assert history(workspace, spine, rows, order_options=tz)["amount"].to_list() == [1.0, 1.0]
    assert workspace.sql("select * from orders").height == 1
    workspace.materialize("spending")
    assert workspace.get_online_features(["spending"], [{"customer": 1}]).to_dict()["amount"] == [1.0]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int32, pl.UInt64, pl.Int128])
def test_delays_are_integers_of_any_width(dtype):
    rows = rows_of(1, wait=pl.Series([5], dtype=dtype))
    assert join(spine_of(1), rows, delay="wait")["amount"].to_list() == [0.0]
    if dtype in (pl.UInt64, pl.Int128):
        with pytest.raises(DataError, match=r"'wait' is negative, null or endless in rows \[0\]"):
            join(spine_of(1), rows.with_columns(wait=pl.Series([2**63], dtype=dtype)), delay="wait")


@pytest.mark.parametrize("moment", [FIRST, LAST])
def test_windows_delays_and_ttls_reach_beyond_the_calendar_without_wrapping(workspace, moment):
    rows = pl.DataFrame({"customer": [1], "at": [moment], "amount": [1.0]})
    spine = pl.DataFrame({"customer": [1] * 2, "timestamp": [FIRST, LAST]})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*dated later than now")
        got = history(
            workspace, spine, rows, ttl="50000w", order_options={"delay": "1d"},
            features=lambda rows: {"newest": rows["amount"].last(), "n": rows.count(window="600000w")},
        )  # fmt: skip
    assert got["newest"].to_list() == [None, None]  # too old, or not known yet
    assert got["n"].to_list() == [0, 1 if moment == FIRST else 0]
    assert join(spine, rows, delay="1d", ttl="50000w")["amount"].to_list() == [None, None]


def test_a_label_at_the_end_of_time_is_immature(workspace):
    visits = pl.DataFrame({"visit": [0, 1], "customer": [1, 1], "at": [at(0), LAST]})
    orders = pl.DataFrame({"customer": [1, 1], "at": [at(1), at(99)], "amount": [1.0, 1.0]})
    workspace.apply(shop(orders, visits))
    with pytest.warns(UserWarning, match="source 'visits': 1 of 2 rows are dated later than now"):
        workspace.ingest()
    report = workspace.get_training_data("visits_to_orders").report
    assert (report.train_rows, report.immature) == (1, 1)


# Options and columns


@pytest.mark.parametrize("ttl", ["0s", "-1h", timedelta(0), timedelta(-1), "soon", ""])
def test_a_ttl_that_is_zero_negative_or_nothing_is_refused(ttl):
    with pytest.raises(DefinitionError, match="ttl="):
        join(spine_of(1), rows_of(1), ttl=ttl)
    with pytest.raises(DefinitionError, match="ttl="):
        shop(rows_of(1), ttl=ttl)


def test_columns_that_clash_are_named_with_the_way_out(workspace):
    spine = spine_of(1).with_columns(amount=0.0)
    with pytest.raises(DataError, match=r"columns \['amount'\] would occur twice.*\nHint: give prefix="):
        join(spine, rows_of(1))
    with pytest.raises(
        DataError, match=r"feature 'amount' \(spending:amount\) has the name of another column\nHint: .*prefix"
    ):
        history(workspace, spine, rows_of(1))


def test_two_columns_of_one_name_are_refused():
    twice = pd.DataFrame([[1, 2.0, 3.0]], columns=["customer", "amount", "amount"])
    twice["at"] = pd.to_datetime([at(1)])
    with pytest.raises(DataError, match="cannot be read as a table"):
        join(spine_of(1), twice)


# Values


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_infinite_values_are_refused_at_ingest_with_their_rows_and_joined_as_they_are(workspace, value):
    rows = rows_of(1, 1, amount=[1.0, value])
    with pytest.raises(DataError, match=r"column 'amount' of source 'orders' is infinite in rows \[1\]"):
        history(workspace, spine_of(1), rows)
    assert join(spine_of(1), rows)["amount"].to_list() == [value]


@pytest.mark.parametrize(
    ("amounts", "function"),
    [(["x", "y"], "sum"), (["x", "y"], "mean"), ([at(1), at(2)], "max"), ([[1], [2]], "min"), ([b"a", b"b"], "std")],
)
def test_a_window_over_what_is_no_number_is_refused_by_column(workspace, amounts, function):
    with pytest.raises(DefinitionError, match=f"{function} of amount.*needs numbers and got"):
        history(
            workspace, spine_of(1), rows_of(1, 1, amount=amounts),
            features=lambda rows: {"x": getattr(rows["amount"], function)(window="1d")},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("amounts", "function"),
    [([2**62, 2**62], "sum"), ([-(2**63), -1], "sum"), ([1.7e308, 1.7e308], "sum"), ([1.7e308, -1.7e308], "var")],
)
def test_a_window_that_does_not_fit_its_type_names_feature_row_and_time(workspace, amounts, function):
    spine = pl.DataFrame({"customer": [1, 1], "timestamp": [at(2), at(5)]})
    with pytest.raises(
        DataError, match=rf"{function} 'x' over 1d does not fit 64 bits at spine row 1, time 2024-01-01T05"
    ):
        history(
            workspace, spine, rows_of(1, 1, amount=amounts),
            features=lambda rows: {"x": getattr(rows["amount"], function)(window="1d")},
        )  # fmt: skip


def test_a_sum_at_the_ends_of_int64_is_exact(workspace):
    got = history(
        workspace, spine_of(1), rows_of(1, 1, 1, amount=[2**63 - 1, 1, -1]),
        features=lambda rows: {"x": rows["amount"].sum(window="1d")},
    )  # fmt: skip
    assert got["x"].to_list() == [2**63 - 1]


# Nothing


def test_a_spine_without_rows_gives_no_rows_and_all_columns(ask):
    got = ask(spine_of(1).clear(), rows_of(1))
    assert got.schema == {"customer": pl.Int64, "timestamp": pl.Datetime("us", "UTC"), "amount": pl.Float64}
    assert got.height == 0


def test_features_without_rows_are_null(ask):
    assert ask(spine_of(1, 2), rows_of(1).clear())["amount"].to_list() == [None, None]


def test_a_frame_without_columns_is_refused_by_the_column_that_it_lacks(workspace):
    with pytest.raises(DataError, match="'customer' in the spine"):
        join(pl.DataFrame(), rows_of(1))
    with pytest.raises(DataError, match="'at' in the features"):
        join(spine_of(1), rows_of(1).select("customer"))
    with pytest.raises(DataError, match="source 'orders' has no column 'at'"):
        history(workspace, spine_of(1), pl.DataFrame())
