"""Values of results that Python has no value for: in cells, in files and in pictures."""

import csv
import io
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from tinymlops.queries import answering
from tinymlops.queries.cells import cell_text, column_texts
from tinymlops.queries.charts import chart_of
from tinymlops.queries.messages import Bounds, ChartAsked, Question
from tinymlops.stores.engine import Limits, first_rows

BOUNDS = Bounds(seconds=10.0, memory=2**30, rows=100_000, bytes=64 * 2**20)
DAY = 2**31 - 1
"""A date without end; and the least is a beginning."""
MOMENT = 2**63 - 1


def asked(**fields):
    return Question(workspace="", root="", text="", bounds=BOUNDS, **fields)


def dates(*days):
    return pl.Series(days, dtype=pl.Int32).cast(pl.Date)


def moments(*ticks, unit="us"):
    return pl.Series(ticks, dtype=pl.Int64).cast(pl.Datetime(unit))


def test_a_bar_of_a_moment_without_end_has_a_label():
    frame = pl.DataFrame({"a": moments(MOMENT, 0, None), "b": [1, 2, 3]})
    chart = chart_of(frame, ChartAsked("bar", "a", "b"), BOUNDS)
    assert (chart.labels, chart.ys) == (["infinity", "1970-01-01 00:00:00", "null"], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("along", "xs"),
    [
        (dates(DAY, 1, -DAY, None, 20_000_000), [86_400.0, 20_000_000 * 86_400.0]),
        (moments(MOMENT, 1_500_000, -MOMENT, None, 10**18), [1.5, 1e12]),
        (moments(MOMENT, 1_500, -MOMENT, None, 10**15, unit="ms"), [1.5, 1e12]),
        (moments(MOMENT, 1_500_000_000, -MOMENT, None, 10**18, unit="ns"), [1.5, 1e9]),
    ],
    ids=["dates", "us", "ms", "ns"],
)
def test_a_line_leaves_out_times_without_end(along, xs):
    frame = pl.DataFrame({"a": along, "b": [1, 2, 3, 4, 5]})
    chart = chart_of(frame, ChartAsked("line", "a", "b"), BOUNDS)
    assert (chart.xs, chart.ys, chart.skipped, chart.is_time) == (pytest.approx(xs), [2.0, 5.0], 3, True)


def test_a_picture_that_cannot_be_drawn_leaves_the_rest_of_the_result(monkeypatch):
    def fails(*_):
        raise pl.exceptions.PanicException("out of range")

    monkeypatch.setattr(answering, "chart_of", fails)
    question = asked(chart=ChartAsked("bar", "a", "b"))
    frame = pl.DataFrame({"a": [1], "b": [2]})
    shown = answering._shown(frame, question, is_whole=True, sequence=0, begun=0.0)
    assert (shown.rows, shown.chart, shown.no_chart) == ([["1", "2"]], None, "this picture cannot be drawn")

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(answering, "chart_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        answering._chart(frame, question)


def test_a_date_without_end_leaves_the_other_dates_as_they_are():
    days = dates(DAY, -DAY, 0, None, 6_585_322, -800_000)
    told = ["infinity", "-infinity", "1970-01-01", None, "20000-01-01", str(np.datetime64(-800_000, "D"))]
    assert column_texts(days, 100) == told
    assert column_texts(pl.Series([days]), 100) == [f"[{', '.join(one or 'null' for one in told)}]"]
    written = answering._flat(pl.DataFrame({"day": days})).write_csv()
    assert written.splitlines() == ["day", *(one or "" for one in told)]


def test_dates_and_moments_are_exact_inside_what_is_nested():
    exact = moments(1_704_067_200_123_456_789, MOMENT, unit="ns")
    written = "2024-01-01 00:00:00.123456789"
    assert column_texts(pl.Series([exact]), 100) == [f"[{written}, infinity]"]
    assert column_texts(pl.Series([exact]).reshape((1, 2)), 100) == [f"[{written}, infinity]"]
    fields = pl.DataFrame({"day": dates(DAY, 0), "at": exact, "more": ["a", None]}).to_struct()
    assert column_texts(fields, 100)[0] == f"{{day: infinity, at: {written}, more: a}}"
    assert column_texts(pl.Series([fields]), 40) == ["[{day: infinity, at: 2024-01-01 00:00:00 …"]


MAPS = """
select histogram(a) as counts, map {date 'infinity': [timestamp_ns '2024-01-01 00:00:00.123456789']} as days,
    [map {'a b': 'c'}] as listed, null::map(int, int) as none, repeat('ab', 40)::blob as bytes,
    [repeat('ab', 40)::blob] as blobs
from t
"""


def test_maps_and_bytes_are_written_in_full_to_a_file():
    frame, _ = first_rows(MAPS, tables={"t": pl.DataFrame({"a": [1, 2, 2]})}, limits=Limits(memory=2**28), threads=1)
    written = answering._flat(frame).write_csv()
    row = next(csv.DictReader(io.StringIO(written)))
    full = "0x" + "6162" * 40
    assert row == {
        "counts": "{1: 1, 2: 2}",
        "days": "{infinity: [2024-01-01 00:00:00.123456789]}",
        "listed": "[{a b: c}]",
        "none": "",
        "bytes": full,
        "blobs": f"[{full}]",
    }
    cut = f"{full[:34]}… (80 bytes)"
    assert [column_texts(frame[name], 300) for name in ("counts", "none", "bytes")] == [["{1: 1, 2: 2}"], [None], [cut]]
    assert column_texts(pl.Series([frame["counts"]]), 6) == ["[{1: 1 …"]


def test_a_decimal_has_all_its_places_and_no_exponent():
    assert cell_text(Decimal("1E-7"), 100) == "0.0000001"
    assert cell_text([Decimal("0E-10"), Decimal("-12.50")], 100) == "[0.0000000000, -12.50]"
    assert column_texts(pl.Series([Decimal("0.0000001")], dtype=pl.Decimal(38, 7)), 100) == ["0.0000001"]
