"""Training sets: features as known, outcomes when mature, a split that cannot leak."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, LeakageError
from tinymlops.features.history.content import table_hash

DAY = timedelta(days=1)


def built(ws, orders, visits, **options):
    project = shop(frame(orders), visits_frame(visits))
    ws.apply(project)
    ws.ingest()
    return ws.get_training_data("visits_to_orders", **options)


def frame(rows):
    return pl.DataFrame(
        {"customer": [r[0] for r in rows], "at": [at(r[1]) for r in rows], "amount": [r[2] for r in rows]},
        schema={"customer": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64},
    )


def visits_frame(rows):
    return pl.DataFrame(
        {"visit": list(range(len(rows))), "customer": [r[0] for r in rows], "at": [at(r[1]) for r in rows]},
        schema={"visit": pl.Int64, "customer": pl.String, "at": pl.Datetime("us", "UTC")},
    )


def test_x_and_y_hold_features_known_then_and_the_outcome_after(workspace):
    data = built(workspace, [("a", 1, 5.0), ("a", 10, -1.0), ("a", 99, 1.0)], [("a", 2), ("a", 10)])
    # The visit at hour 2 sees the order at 1; its newest order within a day after is the one at 10. The visit
    # at hour 10 is not its own outcome, and nothing follows within a day: no outcome.
    assert data.train.X.to_dict(as_series=False) == {"last_amount": [5.0], "spent_1d": [5.0]}
    assert data.train.y.to_list() == [False]
    assert (data.report.no_outcome, data.report.immature) == (1, 0)


def test_an_outcome_that_could_still_come_is_dropped_and_counted(workspace):
    data = built(workspace, [("a", 1, 5.0), ("a", 30, 1.0), ("a", 49, 1.0)], [("a", 0), ("a", 26)])
    assert data.report.immature == 1
    assert data.train.spine["timestamp"].to_list() == [at(0)]


def test_complete_until_makes_an_outcome_mature(workspace):
    project = shop(frame([("a", 1, 5.0), ("a", 30, 1.0)]), visits_frame([("a", 0), ("a", 26)]))
    workspace.apply(project)
    workspace.ingest(complete_until=at(50))
    assert workspace.get_training_data("visits_to_orders").report.immature == 0


def test_training_rows_whose_outcome_reaches_past_the_split_are_purged(workspace):
    orders = [("a", hour, 1.0) for hour in range(0, 200, 5)]
    data = built(workspace, orders, [("a", 10), ("a", 60), ("a", 80)], test_from=at(72).isoformat())
    assert (data.report.train_rows, data.report.purged, data.report.test_rows) == (1, 1, 1)


@pytest.mark.parametrize(
    "moment",
    [
        date(2024, 1, 4),
        "2024-01-04",
        datetime(2024, 1, 4),
        datetime(2024, 1, 4, tzinfo=UTC),
        "2024-01-04T01:00:00+01:00",
        pd.Timestamp("2024-01-04"),
        pd.Timestamp("2024-01-04", tz="UTC"),
        pd.Timestamp("2024-01-03T19:00:00", tz="America/New_York"),
        np.datetime64("2024-01-04"),
        np.datetime64("2024-01-04T00:00:00", "ns"),
    ],
    ids=repr,
)
def test_the_split_is_any_kind_of_time_and_a_date_is_its_first_moment(workspace, moment):
    orders = [("a", hour, 1.0) for hour in range(0, 200, 5)]
    data = built(workspace, orders, [("a", 10), ("a", 60), ("a", 72), ("a", 80)], test_from=moment)
    assert data.test.spine["timestamp"].to_list() == [at(72), at(80)]


@pytest.mark.parametrize(
    "moment", [20240104, 1.5, True, pd.NaT, np.datetime64("NaT"), "soon", b"2024-01-04", DAY, ["2024"]]
)
def test_what_is_no_time_is_no_split(workspace, moment):
    with pytest.raises(DataError, match="test_from=.* is not a time") as caught:
        built(workspace, [("a", 1, 1.0)], [("a", 2)], test_from=moment)
    assert "ISO 8601" in caught.value.hint


@examples(20, heavy=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 100), st.integers(-3, 3)), min_size=1, max_size=15),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), min_size=1, max_size=8),
)
def test_outcomes_are_what_the_rule_says(tmp_path_factory, orders, visits):
    with tm.connect(tmp_path_factory.mktemp("ws") / "shop.tm", create=True) as ws:
        ws.apply(shop(frame(orders), visits_frame(visits)))
        reports = {report.source: report for report in ws.ingest()}
        assert reports["orders"].rows_new == len(orders)
        complete = max(hour for _, hour, _ in orders)
        expected = {}
        for number, (customer, hour) in enumerate(visits):
            # Equal times are two events whose order is the sequence's; leave those to the oracle of the kernel.
            after = sorted({(h, a > 0) for c, h, a in orders if c == customer and hour < h <= hour + 24})
            newest = {positive for h, positive in after if h == after[-1][0]}
            if hour + 24 <= complete and after and len(newest) == 1:
                expected[number] = newest.pop()
        try:
            data = ws.get_training_data("visits_to_orders")
        except DataError as error:
            assert "no row to train on" in str(error)
            assert not expected
            return
        got = dict(zip(data.train.spine["visit"].to_list(), data.train.y.to_list(), strict=True))
        assert expected.items() <= got.items()
        assert all(visits[number][1] + 24 <= complete for number in got)


def test_the_same_data_has_the_same_fingerprint_and_other_data_another(workspace):
    orders, visits = [("a", 1, 5.0), ("a", 10, -1.0), ("a", 99, 1.0)], [("a", 2)]
    first = built(workspace, orders, visits)
    assert workspace.get_training_data("visits_to_orders").fingerprint == first.fingerprint
    project = shop(frame([*orders, ("a", 2, 7.0)]), visits_frame(visits))
    workspace.apply(project)
    workspace.ingest()
    assert workspace.get_training_data("visits_to_orders").fingerprint != first.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        pl.DataFrame({"x": [1, None], "s": ["a", "b"]}),
        pl.DataFrame({"x": [1, 2], "s": ["a", "c"]}),
        pl.DataFrame({"x": [1.0, 2.0], "s": ["a", "b"]}),
        pl.DataFrame({"y": [1, 2], "s": ["a", "b"]}),
        pl.DataFrame({"x": [2, 1], "s": ["b", "a"]}),
        pl.DataFrame({"x": [1, 2], "s": ["ab", ""]}),
    ],
)
def test_a_table_hash_sees_values_nulls_types_names_and_order(other):
    assert table_hash(pl.DataFrame({"x": [1, 2], "s": ["a", "b"]})) != table_hash(other)


def test_strings_are_enums_of_the_training_categories(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    visit = project.entity("visit", key="visit")
    colours = pl.DataFrame({"customer": ["a"] * 3, "at": [at(0), at(50), at(90)], "colour": ["red", "blue", "red"]})

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return colours

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return visits_frame([("a", 1), ("a", 60)])

    @project.source(timestamp="at")
    def results() -> pl.DataFrame:
        return pl.DataFrame({"visit": [0, 1, 1], "at": [at(2), at(61), at(200)], "good": [True, False, True]})

    @project.feature_view(entity=customer)
    def taste(orders: tm.Rows) -> tm.Features:
        return {"colour": orders["colour"].last()}

    @project.label(entity=visit, horizon="1h")
    def good(results: tm.Rows) -> tm.Label:
        return results["good"].last()

    @project.on_demand
    def extra(taste: tm.Inputs, visit: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return {"is_red": taste["colour"] == "red", "hour": timestamp.dt.hour(), "twice": visit * 2}

    likes = project.training_set("likes", spine=visits, label=good, features=[taste, extra])
    with tm.connect(tmp_path / "s.tm", create=True) as ws:
        ws.apply(project)
        ws.ingest()
        data = ws.get_training_data(likes, test_from="2024-01-02")
    assert data.train.X.schema["colour"] == pl.Enum(["red"])
    assert data.test.X["colour"].to_list() == [None]
    assert data.train.X.row(0) == ("red", True, 1, 0)
    assert [(field.name, field.role) for field in data.signature.request] == [("customer", "key"), ("visit", "request")]
    assert data.signature.features[0].categories == ["red"]


def test_nothing_left_to_train_on_says_why(workspace):
    with pytest.raises(DataError, match="1 are immature"):
        built(workspace, [("a", 1, 5.0)], [("a", 2)])


def test_a_label_source_that_was_never_ingested_is_no_false_zero(workspace):
    workspace.apply(shop(frame([]), visits_frame([("a", 2)])))
    workspace.ingest()
    with pytest.raises(LeakageError, match="until when source 'orders' is complete"):
        workspace.get_training_data("visits_to_orders")


def test_a_definition_changed_after_apply_is_refused(workspace):
    project = shop(frame([("a", 1, 5.0)]), visits_frame([("a", 2)]))
    workspace.apply(project)
    other = tm.Project("shop")
    customer = other.entity("customer", key="customer")

    @other.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return frame([])

    @other.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"x": orders["amount"].last()}

    @other.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    changed = other.training_set("visits_to_orders", spine=orders, label=buys, features=[spending])
    with pytest.raises(DefinitionError, match="has changed since it was applied"):
        workspace.get_training_data(changed)


def test_an_outcome_is_mature_once_even_the_slowest_row_has_come(workspace):
    orders = frame([("a", 1, 5.0), ("a", 10, 1.0), ("a", 30, 1.0)]).with_columns(
        lag=pl.Series([timedelta(0), timedelta(hours=6), timedelta(0)])
    )
    workspace.apply(shop(orders, visits_frame([("a", 0), ("a", 2)]), order_options={"delay": "lag"}))
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    # Complete until hour 30: the window of the visit at hour 2 ends at 26, and its rows may come until 32.
    assert (data.report.train_rows, data.report.immature) == (1, 1)
