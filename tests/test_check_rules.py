"""Rules about rows beside the same rules in plain Python: every type, nulls, NaN, bounds of other types and out of range."""

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.features.compute.rules import broken, repeated
from tinymlops.features.definitions.rules import rule_of

ZONE = UTC
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.5, -0.5, 2.0**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, 0.1, Decimal("0.1"), Decimal("-1.25")]),
)
"""Bounds and values to compare numbers with, whatever the type of these."""
COLUMNS = [
    (pl.Int8(), st.integers(-128, 127), NUMBERS),
    (pl.Int64(), st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1)), NUMBERS),
    (pl.UInt64(), st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)), NUMBERS),
    (pl.Float64(), st.one_of(st.floats(allow_infinity=False), st.sampled_from([0.1, 0.5, 2.0**53])), NUMBERS),
    (pl.Float32(), st.floats(width=32, allow_infinity=False), NUMBERS),
    (pl.Decimal(9, 2), st.decimals(-1000, 1000, places=2), NUMBERS),
    (pl.String(), st.text("ab\n\u00e9\U0001f600", max_size=2), st.text("ab\n\u00e9\U0001f600", max_size=2)),
    (pl.Enum(["b", "a", "c"]), st.sampled_from(["a", "b", "c"]), st.sampled_from(["a", "b", "d", ""])),
    (pl.Date(), st.dates(), st.dates()),
    (pl.Time(), st.times(), st.times()),
    (pl.Duration("ms"), st.integers(-9, 9).map(lambda n: timedelta(milliseconds=n)), st.timedeltas()),
    (pl.Datetime("us"), MOMENTS, MOMENTS),
    (
        pl.Datetime("ms", "UTC"),
        MOMENTS.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=ZONE)),
        MOMENTS.map(lambda at: at.replace(tzinfo=ZONE)),
    ),
]


@st.composite
def columns(draw):
    """A column with nulls and NaN, and two values to compare it with, the lesser first."""
    dtype, values, others = draw(st.sampled_from(COLUMNS))
    held = draw(st.lists(st.one_of(st.none(), values), max_size=8))
    near = [value for value in held if value is not None and value == value and not isinstance(dtype, pl.Float32)]
    other = st.one_of(others, st.sampled_from(near)) if near else others
    low, high = sorted([draw(other), draw(other)])
    series = pl.Series("v", held, dtype=dtype)
    return series.fill_nan(None) if dtype.is_float() else series, low, high


def plain(series):
    """The values as Python has them, NaN as null."""
    return [None if isinstance(value, float) and math.isnan(value) else value for value in series.to_list()]


def failing(rule, series):
    (said,) = broken([rule_of(rule)], series.to_frame(), where="check")
    assert said.failed == (0 if said.rows is None else said.rows.sum())
    return [False] * len(series) if said.rows is None else said.rows.to_list()


@given(columns())
def test_between_compares_as_python_does(drawn):
    series, low, high = drawn
    values = plain(series)
    assert failing(tm.between("v", low, high), series) == [v is not None and not low <= v <= high for v in values]
    assert failing(tm.between("v", low), series) == [v is not None and not low <= v for v in values]
    assert failing(tm.between("v", high=high), series) == [v is not None and not v <= high for v in values]


@given(columns())
def test_one_of_compares_as_python_does(drawn):
    series, low, high = drawn
    assert failing(tm.one_of("v", [low, high]), series) == [
        v is not None and v not in (low, high) for v in plain(series)
    ]


@given(columns())
def test_not_null_is_about_null_and_nan_alone(drawn):
    series, _, _ = drawn
    assert failing(tm.not_null("v"), series) == [v is None for v in plain(series)]


@given(
    st.lists(st.one_of(st.none(), st.text("ab1\n.\u00e9", max_size=4)), max_size=8),
    st.sampled_from(["a*", "a|b", "[ab]+", "", ".", r"\d", "a.b", "(a|b){2}", "\u00e9"]),
)
def test_matches_is_about_the_whole_text(values, pattern):
    expected = [v is not None and re.fullmatch(pattern, v, re.ASCII) is None for v in values]
    assert failing(tm.matches("v", pattern), pl.Series("v", values, dtype=pl.String)) == expected


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=8), st.integers(-3, 3))
def test_an_expression_that_is_null_passes(values, bound):
    series = pl.Series("v", values, dtype=pl.Int64)
    expected = [v is not None and not v > bound for v in values]
    assert failing(tm.Rows()["v"] > bound, series) == expected
    assert failing(pl.col("v") > bound, series) == expected
    # What cannot be computed is null, as everywhere.
    quotient = [v not in (None, 0) and not 1 / v > bound for v in values]
    assert failing(1 / tm.Rows()["v"] > bound, series) == quotient


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 2)), st.sampled_from("ab")), max_size=8), st.data())
def test_unique_lets_the_first_pass_and_those_that_were_there(rows, data):
    frame = pl.DataFrame(rows, schema={"k": pl.Int64, "w": pl.String}, orient="row")
    first = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    seen, expected = set(), [False] * len(rows)
    for place in sorted(range(len(rows)), key=lambda i: not first[i]):
        if None not in rows[place]:
            expected[place] = rows[place] in seen
            seen.add(rows[place])
    said = repeated(tm.unique("k", "w"), frame, where="", first=pl.Series(first, dtype=pl.Boolean))
    assert ([False] * len(rows) if said is None else said.to_list()) == expected


@given(st.lists(columns(), min_size=1, max_size=4))
def test_many_rules_at_once_say_what_each_says_alone(drawn):
    height = min(len(series) for series, _, _ in drawn)
    frame = pl.DataFrame([series.head(height).alias(f"c{i}") for i, (series, _, _) in enumerate(drawn)])
    rules = [tm.between(f"c{i}", low, high) for i, (_, low, high) in enumerate(drawn)]
    together = broken(rules, frame, where="")
    for rule, said in zip(rules, together, strict=True):
        (alone,) = broken([rule], frame, where="")
        assert (said.failed, None if said.rows is None else said.rows.to_list()) == (
            alone.failed,
            None if alone.rows is None else alone.rows.to_list(),
        )


@pytest.mark.parametrize(
    "rule",
    [
        tm.between("n", "a"),
        tm.between("n", True),
        tm.one_of("b", [1]),
        tm.one_of("s", [1]),
        tm.between("day", datetime(2024, 1, 1)),
        tm.between("at", date(2024, 1, 1)),
        tm.between("at", datetime(2024, 1, 1)),
        tm.between("clock", datetime(2024, 1, 1)),
        tm.between("list", 1),
        tm.matches("n", "1"),
    ],
    ids=repr,
)
def test_a_value_of_another_kind_is_refused(rule):
    frame = pl.DataFrame(
        {
            "n": [1],
            "b": [True],
            "s": ["a"],
            "day": [date(2024, 1, 1)],
            "at": [datetime(2024, 1, 1, tzinfo=UTC)],
            "clock": [time(1)],
            "list": [[1]],
        }
    )
    with pytest.raises(tm.DataError, match="does not fit a column of type"):
        broken([rule], frame, where="check")


def test_booleans_are_compared_with_booleans():
    assert failing(tm.one_of("v", [True]), pl.Series("v", [True, False, None])) == [False, True, False]
