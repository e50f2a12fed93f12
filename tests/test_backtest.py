"""Folds by time: what is tested on, what is trained on before it, and what is left out so that nothing leaks."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from trained import project_of_orders, replay

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError

UTC_TIMES = pl.Datetime("us", "UTC")
DAY = timedelta(days=1)


def data_at(times, *, reach=timedelta(0), tz="UTC", y=None):
    """Rows of training data at these times; X numbers them."""
    times = pl.Series("timestamp", times, dtype=UTC_TIMES)
    rows = SimpleNamespace(
        X=pl.DataFrame({"row": range(len(times))}, schema={"row": pl.Int64}),
        y=pl.Series("y", y if y is not None else [True] * len(times), dtype=pl.Boolean),
        spine=pl.DataFrame([times]),
    )
    return SimpleNamespace(train=rows, test=None, reach=reach, tz=tz)


def days(first, last, **options):
    """Training data with a row at each midnight from one date to another."""
    return data_at(pl.datetime_range(first, last, "1d", time_zone="UTC", eager=True), **options)


def shapes(folds):
    return [(fold.name, fold.train_rows, fold.test_rows, fold.purged) for fold in folds]


def test_each_month_is_tested_on_once_by_what_came_before_it():
    folds = tm.backtest(every="1mo").split(days(date(2013, 1, 10), date(2013, 4, 3)))
    assert shapes(folds) == [("2013-02-01", 22, 28, 0), ("2013-03-01", 50, 31, 0), ("2013-04-01", 81, 3, 0)]
    (train, test), *_ = folds
    assert train.X["row"].to_list() == list(range(22))
    assert test.X["row"].to_list() == list(range(22, 50))
    assert (train.y.len(), test.spine["timestamp"][0]) == (22, datetime(2013, 2, 1, tzinfo=UTC))
    assert repr(folds[0]) == "<fold 2013-02-01: train 22, test 28 rows>"


def test_a_row_whose_outcome_is_still_open_is_not_trained_on():
    # The outcome of a row at midnight comes within 36 hours: those of the last two days may come in February.
    (fold,) = tm.backtest(every="1mo", folds=1).split(days(date(2013, 1, 1), date(2013, 2, 10), reach=1.5 * DAY))
    assert shapes([fold]) == [("2013-02-01", 30, 10, 1)]
    assert repr(fold) == "<fold 2013-02-01: train 30, test 10 rows, 1 purged>"
    at_the_edge = tm.backtest(every="1mo").split(days(date(2013, 1, 1), date(2013, 2, 10), reach=2 * DAY))
    assert at_the_edge[0].train_rows == 29  # the window of 30 January ends as February begins, which is too late
    later = tm.backtest(every="1mo", embargo="1d").split(days(date(2013, 1, 1), date(2013, 2, 10), reach=1.5 * DAY))
    assert shapes(later) == [("2013-02-01", 29, 10, 2)]


def test_a_split_by_the_label_is_that_of_the_training_set(tmp_path):
    with replay(tmp_path) as ws:
        ws.apply(project_of_orders())
        ws.ingest()
        whole = ws.get_training_data("visits_to_orders")
        assert (whole.reach, whole.tz) == (DAY, "UTC")
        for fold in tm.backtest(every="2d", folds=3).split(whole):
            apart = ws.get_training_data("visits_to_orders", test_from=fold.start)
            assert fold.train.X.equals(apart.train.X)
            assert fold.train.spine.equals(apart.train.spine)
            assert fold.purged == apart.report.purged > 0
            assert fold.test.y.equals(apart.test.y.head(fold.test_rows))
        again = ws.reproduce(whole.build_id)
        assert (again.reach, again.tz) == (whole.reach, whole.tz)


def test_rows_without_an_outcome_are_in_no_fold():
    data = days(date(2013, 1, 30), date(2013, 2, 2), y=[True, None, None, True])
    (fold,) = tm.backtest(every="1mo").split(data)
    assert shapes([fold]) == [("2013-02-01", 1, 1, 0)]


def test_a_window_forgets_what_is_older():
    folds = tm.backtest(every="1mo", window="10d").split(days(date(2013, 1, 1), date(2013, 3, 31), reach=DAY))
    assert shapes(folds) == [("2013-02-01", 9, 28, 1), ("2013-03-01", 9, 31, 1)]


def test_the_newest_folds_and_a_first_moment():
    year = days(date(2013, 1, 1), date(2013, 12, 31))
    assert [fold.name for fold in tm.backtest(every="1mo", folds=2).split(year)] == ["2013-11-01", "2013-12-01"]
    later = tm.backtest(every="3mo", start="2013-05-15").split(year)
    assert [fold.name for fold in later] == ["2013-05-15", "2013-08-15", "2013-11-15"]
    assert later[0].stop == later[1].start
    assert len(tm.backtest(every="1mo", folds=99).split(year)) == 11
    assert tm.backtest(every="1mo", start=date(2013, 12, 1)).split(year)[0].test_rows == 31
    early = tm.backtest(every="1mo", start="2001-01-01").split(year)
    assert next(fold.name for fold in early) == "2013-02-01"


def test_a_month_begins_at_midnight_in_the_zone_of_the_project():
    (fold,) = tm.backtest(every="1mo").split(days(date(2013, 1, 30), date(2013, 2, 2), tz="America/New_York"))
    assert fold.start == datetime(2013, 2, 1, 5, tzinfo=UTC)
    assert fold.test_rows == 1
    spring = tm.backtest(every="1d").split(days(date(2013, 3, 9), date(2013, 3, 12), tz="America/New_York"))
    assert [fold.stop - fold.start for fold in spring] == [DAY, timedelta(hours=23), DAY]
    hours = tm.backtest(every="12h").split(days(date(2013, 3, 9), date(2013, 3, 11), tz="America/New_York"))
    assert {fold.stop - fold.start for fold in hours} == {DAY / 2}


@pytest.mark.parametrize(
    ("every", "first"),
    [
        ("1w", "2013-01-14"),
        ("2w", "2013-01-21"),
        ("1y", "2014-01-01"),
        ("6mo", "2013-07-01"),
        ("1d", "2013-01-11"),
        ("6h", "2013-01-11"),
    ],
)
def test_periods_begin_with_the_calendar(every, first):
    folds = tm.backtest(every=every, start=None).split(days(date(2013, 1, 10), date(2014, 2, 1)))
    assert folds[0].name == first


def test_a_month_that_begins_on_its_last_day():
    folds = tm.backtest(every="1mo", start="2013-01-31").split(days(date(2013, 1, 1), date(2013, 4, 30)))
    assert [fold.name for fold in folds] == ["2013-01-31", "2013-02-28", "2013-03-31", "2013-04-30"]


def test_periods_that_cannot_be_used_say_why():
    data = data_at([datetime(2013, 1, 31, tzinfo=UTC), datetime(2013, 4, 2, tzinfo=UTC)], reach=2 * DAY)
    assert [(fold.name, fold.missing) for fold in tm.backtest(every="1mo").periods(data)] == [
        ("2013-02-01", "no row to test on"),
        ("2013-03-01", "no row to test on"),
        ("2013-04-01", ""),
    ]
    with pytest.raises(DataError, match="no period of 1y has rows to train on and rows to test on"):
        tm.backtest(every="1y").split(data)
    with pytest.raises(DataError, match="2013-04-01 has no row to train on, 1 are purged"):
        tm.backtest(every="1mo", start="2013-04-01", embargo="90d").split(data)
    with pytest.raises(DataError, match="there is no row"):
        tm.backtest(every="1mo").split(data_at([]))


def test_what_cannot_be_read_is_refused():
    for every in ("", "mo", "0d", "-1d", "1 mo", "1q", "1.5d", "999999d", "\u0661d", 7, None, "1mo2d"):
        with pytest.raises(DefinitionError, match="is not the length of a period"):
            tm.backtest(every=every)
    for folds in (0, -1, 1.5, True, "3"):
        with pytest.raises(DefinitionError, match="folds="):
            tm.backtest(every="1mo", folds=folds)
    with pytest.raises(DefinitionError, match="window='1mo' is not a duration"):
        tm.backtest(every="1mo", window="1mo")
    with pytest.raises(DefinitionError, match="embargo='0d' must be longer"):
        tm.backtest(every="1mo", embargo="0d")
    with pytest.raises(DataError, match="start='soon' is not a time"):
        tm.backtest(every="1mo", start="soon")
    with pytest.raises(DefinitionError, match="'buyers' is not training data"):
        tm.backtest(every="1mo").split("buyers")
    with pytest.raises(DefinitionError, match="makes more than 10,000 periods of 2013-01-01 to 2013-12-31"):
        tm.backtest(every="1s").split(days(date(2013, 1, 1), date(2013, 12, 31)))


def test_at_the_ends_of_the_calendar():
    data = data_at([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)])
    assert [fold.name for fold in tm.backtest(every="99999y", start="0001-01-02").split(data)] == ["0001-01-02"]
    assert tm.backtest(every="5000y").split(data)[0].train_rows == 1
    data.tz = "America/New_York"
    with pytest.raises(DataError, match="too near to the end of the calendar"):
        tm.backtest(every="5000y").split(data)


@settings(deadline=None, max_examples=60)
@given(
    hours=some.lists(some.integers(0, 24 * 90), min_size=1, max_size=40),
    reach=some.integers(0, 24 * 20),
    every=some.sampled_from(["1d", "1w", "1mo", "5h"]),
    window=some.sampled_from([None, "3d", "30d"]),
)
def test_no_outcome_of_a_training_row_comes_in_the_test_period(hours, reach, every, window):
    start = datetime(2013, 1, 5, 7, tzinfo=UTC)
    data = data_at([start + timedelta(hours=hour) for hour in hours], reach=timedelta(hours=reach), tz="Europe/Vienna")
    folds = tm.backtest(every=every, window=window).periods(data)
    times = data.train.spine["timestamp"].to_list()
    tested = []
    for fold in folds:
        train, test = fold
        assert all(one + data.reach < fold.start for one in train.spine["timestamp"])
        assert all(fold.start <= one < fold.stop for one in test.spine["timestamp"])
        assert bool(fold.missing) == (not train.X.height or not test.X.height)
        tested += test.X["row"].to_list()
    assert len(tested) == len(set(tested))
    first = folds[0].start if folds else datetime.max.replace(tzinfo=UTC)
    assert set(tested) == {row for row, one in enumerate(times) if one >= first}
