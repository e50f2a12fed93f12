"""Keys match by typed value only."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import DataError
from tinymlops.keys import Coder, encode, key_bytes, plain_key_bytes


def matches(left, right):
    """For each left row the right rows with the same key."""
    left, right = (side if isinstance(side, list) else [side] for side in (left, right))
    spine, records, count = encode(left, right, [f"key_{i}" for i in range(len(left))])
    assert spine.dtype == records.dtype == np.int64
    assert max([*spine, *records, -1]) < count
    return [[j for j, other in enumerate(records) if other == mine >= 0] for mine in spine]


def test_integers_of_different_widths_match_by_value():
    for dtype in (pl.Int8, pl.UInt16, pl.UInt64, pl.Int128):
        assert matches(pl.Series([3, 1, 2]), pl.Series([1, 3], dtype=dtype)) == [[1], [0], []]


def test_integers_far_apart_match_by_value():
    assert matches(pl.Series([2**62, -(2**62), 5]), pl.Series([5, 2**62, 2**61])) == [[1], [], [0]]


def test_unsigned_integers_beyond_int64_match_only_themselves():
    big = pl.Series([2**64 - 1, 1, 2**63], dtype=pl.UInt64)
    assert matches(big, pl.Series([1, -1])) == [[], [0], []]
    assert matches(big, big) == [[0], [1], [2]]


def test_whole_floats_are_integers_and_nan_is_null():
    assert matches(pl.Series([1.0, float("nan"), None, -3.0]), pl.Series([-3, 1, None])) == [[1], [], [], [0]]


@pytest.mark.parametrize("value", [1.5, float("inf"), 2.0**63])
def test_a_float_that_is_no_whole_int64_is_refused_with_its_row(value):
    with pytest.raises(DataError, match=r"'origin' .*rows \[1\]"):
        encode([pl.Series([1.0, value])], [pl.Series([1])], ["origin"])


def test_integers_and_strings_do_not_mix():
    with pytest.raises(DataError, match="'carrier' is Int64 in the spine .* String in the features"):
        encode([pl.Series([1])], [pl.Series(["1"])], ["carrier"])


@pytest.mark.parametrize(
    "other",
    [pl.Series([True]), pl.Series([b"1"]), pl.Series([date(2024, 1, 1)]), pl.Series([[1]]), pl.Series([{"a": 1}])],
)
def test_other_kinds_do_not_mix_with_strings(other):
    with pytest.raises(DataError, match="'k'"):
        encode([pl.Series(["1"])], [other], ["k"])


def test_strings_categoricals_and_enums_match_as_strings():
    plain = pl.Series(["b", None, "a"])
    for dtype in (pl.Categorical, pl.Enum(["a", "b", "c"])):
        assert matches(plain, pl.Series(["a", "b", "c"]).cast(dtype)) == [[1], [], [0]]


def test_parts_of_a_key_are_never_joined():
    left = [pl.Series(["1", "12", "1"]), pl.Series(["23", "3", None])]
    right = [pl.Series(["12", "1"]), pl.Series(["3", "23"])]
    assert matches(left, right) == [[1], [0], []]


def test_many_sparse_parts_do_not_overflow():
    rng = np.random.default_rng(0)
    parts = [pl.Series(rng.integers(-(2**62), 2**62, 50)) for _ in range(9)]
    assert matches(parts, parts) == [[i] for i in range(50)]


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        [date(2024, 1, 1), date(1960, 2, 3)],
        [b"\0", b""],
        [time(1), time(2)],
        [timedelta(1), timedelta(2)],
        [Decimal("1.10"), Decimal("2.20")],
        [datetime(2024, 1, 1), datetime(1960, 1, 1)],
    ],
)
def test_other_types_match_their_own(values):
    assert matches(pl.Series(values), pl.Series([values[1], None, values[0]])) == [[2], [0]]


def test_datetimes_match_as_moments_whatever_their_unit_and_zone():
    moments = pl.Series([datetime(2024, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)])
    other = moments.head(1).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")
    assert matches(moments, other) == [[0], []]
    with pytest.raises(DataError, match="time_zone=None"):
        encode([moments], [pl.Series([datetime(2024, 1, 1)])], ["at"])


def test_a_column_of_nulls_and_empty_tables_match_nothing():
    assert matches(pl.Series([None, None]), pl.Series(["a", "b"])) == [[], []]
    assert matches(pl.Series([], dtype=pl.Int64), pl.Series([1])) == []
    assert matches(pl.Series([1]), pl.Series([], dtype=pl.Int64)) == [[]]


PARTS = st.one_of(st.none(), st.integers(-3, 3))
WORDS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab"]))
SPARSE = st.sampled_from([None, 0, 2**62, -(2**62)])
TABLE = st.lists(st.tuples(PARTS, WORDS, SPARSE), min_size=1, max_size=12)


@examples(100)
@given(left=TABLE, right=TABLE)
def test_composite_keys_match_as_tuples(left, right):
    dtypes = (pl.Int64, pl.String, pl.Int64)

    def columns(rows):
        return [pl.Series([row[i] for row in rows], dtype=dtype) for i, dtype in enumerate(dtypes)]

    expected = [[j for j, other in enumerate(right) if other == row and None not in row] for row in left]
    assert matches(columns(left), columns(right)) == expected


TEXT = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.sampled_from(
        ["", "a", "x" * 11, "x" * 12, "x" * 13, "x" * 16, "x" * 17, "x" * 12 + "y", "x" * 40, "x" * 39 + "y"]
    ),
    st.sampled_from(["x" * 20 + tail + "x" * 20 for tail in ("a", "b", "aa")]),
)


@examples(200)
@given(left=st.lists(TEXT, min_size=1, max_size=20), right=st.lists(TEXT, max_size=20), skip=st.integers(0, 2))
def test_text_matches_byte_by_byte_whatever_its_length(left, right, skip):
    expected = [[j for j, other in enumerate(right) if other == mine is not None] for mine in left]
    for kind in (pl.String, pl.Binary):
        sides = [pl.Series(["x" * 14] * skip + side, dtype=pl.String).cast(kind)[skip:] for side in (left, right)]
        assert matches(*sides) == expected


def test_ten_thousand_long_texts_are_told_apart():
    texts = pl.Series([f"https://example.org/a-path-of-some-length/{i % 10_000}" for i in range(30_000)])
    shuffled = texts.sample(fraction=1, shuffle=True, seed=1)
    left, right, count = encode([texts], [shuffled], ["k"])
    assert count == 10_000
    assert np.array_equal(np.bincount(left), np.full(10_000, 3))
    assert dict(zip(texts, left, strict=True)) == dict(zip(shuffled, right, strict=True))


@examples(100)
@given(left=TABLE, right=TABLE, cut=st.integers(0, 12))
def test_batches_of_records_get_the_codes_of_the_whole(left, right, cut):
    dtypes = (pl.Int64, pl.String, pl.Int64)
    spine, records = (
        [pl.Series([row[i] for row in side], dtype=dtype) for i, dtype in enumerate(dtypes)] for side in (left, right)
    )
    coder = Coder(spine, [column.dtype for column in records], ["a", "b", "c"])
    whole = coder.number(records)
    parts = [coder.number([column[:cut] for column in records]), coder.number([column[cut:] for column in records])]
    assert np.array_equal(np.concatenate(parts), whole)


def test_records_beyond_the_type_of_the_spine_match_nothing():
    coder = Coder([pl.Series([1, -(2**63)])], [pl.UInt64()], ["k"])
    found = coder.number([pl.Series([2**64 - 1, 1, 2**63], dtype=pl.UInt64)])
    assert [coder.codes.tolist().index(code) if code in coder.codes else None for code in found] == [None, 0, None]


def test_a_key_at_either_end_of_int64_is_no_null():
    ends = pl.Series([-(2**63), None, 2**63 - 1])
    for end in (ends[0], ends[2]):
        assert matches(pl.Series([end]), ends) == [[0 if end < 0 else 2]]
        assert matches(pl.Series([end, None]), ends) == [[0 if end < 0 else 2], []]


def written(*columns, records=None):
    """The bytes of each row's key, its columns being those of the records where these are not given."""
    records = columns if records is None else records
    return key_bytes(list(columns), [column.dtype for column in records], [f"key_{i}" for i in range(len(columns))])


@pytest.mark.parametrize(
    "rows",
    [
        [("1", "23"), ("12", "3"), ("", "123"), ("123", "")],
        [(1, 23), (12, 3), (-1, 255), (255, -1), (0, 256), (256, 0)],
        [("1", 2), ("", 12), ("1\0", 2)],
    ],
)
def test_parts_of_stored_keys_are_never_joined(rows):
    assert len(set(written(*map(pl.Series, zip(*rows, strict=True))))) == len(rows)


def test_stored_keys_of_other_kinds_differ():
    columns = [
        pl.Series(["1"]), pl.Series([1]), pl.Series([True]), pl.Series([b"1"]), pl.Series([1]).cast(pl.Date),
        pl.Series([1]).cast(pl.Time), pl.Series([1]).cast(pl.Duration), pl.Series([1]).cast(pl.Datetime),
        pl.Series([1]).cast(pl.Datetime("us", "UTC")), pl.Series([1]).cast(pl.Decimal(38, 0)),
    ]  # fmt: skip
    assert len({written(column)[0] for column in columns}) == len(columns)


EACH_KIND = {
    "integers": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "unsigned": (pl.UInt64, st.integers(0, 2**64 - 1)),
    "whole floats": (pl.Float64, st.integers(-(2**53) + 1, 2**53 - 1).map(float)),
    "text": (pl.String, st.text(max_size=4)),
    "enum": (pl.Enum(["", "a", "b"]), st.sampled_from(["", "a", "b"])),
    "boolean": (pl.Boolean, st.booleans()),
    "binary": (pl.Binary, st.binary(max_size=4)),
    "date": (pl.Date, st.dates()),
    "time": (pl.Time, st.integers(0, 86_400 * 10**9 - 1)),
    "decimal": (pl.Decimal(38, 0), st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal)),
    "decimal with a point": (pl.Decimal(38, 37), st.decimals(-9, 9, places=37)),
}
for unit in ("ms", "us", "ns"):
    for kind in (pl.Duration(unit), pl.Datetime(unit), pl.Datetime(unit, "Asia/Tokyo")):
        EACH_KIND[str(kind)] = (kind, st.integers(-(2**60), 2**60))


def column_of(dtype, values):
    """A column of a type; its times are given as the integers that they are stored as."""
    if dtype == pl.Time or isinstance(dtype, pl.Duration | pl.Datetime):
        return pl.Series(values, dtype=pl.Int64).cast(dtype)
    return pl.Series(values, dtype=dtype)


@pytest.mark.parametrize("kind", EACH_KIND)
@examples(40)
@given(data=st.data())
def test_stored_keys_are_equal_where_keys_are(kind, data):
    dtype, value = EACH_KIND[kind]
    near = st.one_of(st.none(), value)
    column = column_of(dtype, data.draw(st.lists(near, min_size=1, max_size=12)))
    texts = pl.Series(data.draw(st.lists(st.sampled_from("abc"), min_size=len(column), max_size=len(column))))
    for parts in ([column], [column, texts], [texts, column]):
        keys = written(*parts)
        codes, _, _ = encode(parts, parts, ["a", "b"][: len(parts)])
        assert [key is None for key in keys] == (codes < 0).tolist()
        assert [[one == other for other in keys] for one in keys] == [
            [one == other for other in codes] for one in codes
        ]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (pl.Decimal(38, 0), Decimal(10**37 + 1), Decimal(10**37 + 2)),
        (pl.Datetime("ns", "UTC"), 1_704_067_200_000_000_001, 1_704_067_200_000_000_002),
        (pl.Datetime("ns"), 1, 2),
        (pl.Duration("ns"), 1, 2),
        (pl.Time, 1, 2),
    ],
    ids=str,
)
def test_keys_that_differ_by_the_least_there_is_are_two(kind, one, other):
    assert len(set(written(column_of(kind, [one, other])))) == 2
    assert matches(column_of(kind, [one, other]), column_of(kind, [other, one])) == [[1], [0]]


MOMENT = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        (pl.Series([7], dtype=pl.Int8), pl.Series([7])),
        (pl.Series([7.0]), pl.Series([7], dtype=pl.UInt64)),
        (pl.Series([7]), pl.Series([7.0])),
        (pl.Series([2**63], dtype=pl.UInt64), pl.Series([2**63], dtype=pl.Int128)),
        (pl.Series(["a"], dtype=pl.Categorical), pl.Series(["a"], dtype=pl.Enum(["a", "b"]))),
        (pl.Series([Decimal("1.50")]), pl.Series([Decimal("1.5")])),
        (pl.Series([Decimal("-0.0")]), pl.Series([Decimal(0)])),
        (pl.Series([100]), pl.Series([Decimal("100.00")])),
        (pl.Series([MOMENT]), pl.Series([MOMENT]).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")),
        (pl.Series([timedelta(days=1)]).cast(pl.Duration("ms")), pl.Series([timedelta(days=1)])),
        (pl.Series(["2024-01-01"]), pl.Series([date(2024, 1, 1)])),
        (pl.Series(["2024-01-01T01:00:00+01:00"]), pl.Series([MOMENT])),
        (pl.Series(["1970-01-01T00:00:00.000000001"]), pl.Series([1]).cast(pl.Datetime("ns"))),
        (pl.Series(["00:00:00.000000001"]), pl.Series([1]).cast(pl.Time)),
        (pl.Series(["PT1M0.5S"]), pl.Series([timedelta(seconds=60.5)])),
        (pl.Series(["1.50"]), pl.Series([Decimal("1.5")])),
        (pl.Series([str(10**37 + 1)]), pl.Series([Decimal(10**37 + 1)])),
    ],
)
def test_equal_keys_match_in_history_and_online_whatever_they_are_written_as(asked, stored):
    assert written(asked, records=[stored]) == written(stored)
    assert matches(asked, stored) == [[0]]


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        (pl.Series([Decimal(10**37)]), pl.Series([Decimal("1.25")])),
        (pl.Series([Decimal("1.25")]), pl.Series([Decimal(10**37)])),
        (pl.Series(["1.505"]), pl.Series([Decimal("1.50")])),
        (pl.Series([datetime(9000, 1, 1, tzinfo=UTC)]), pl.Series([MOMENT]).dt.cast_time_unit("ns")),
        (pl.Series([10]), pl.Series([Decimal(1)])),
    ],
)
def test_keys_beyond_the_type_of_the_records_match_nothing(asked, stored):
    assert written(asked, records=[stored]) != written(stored)
    assert matches(asked, stored) == [[]]
    assert encode([asked], [stored], ["k"])[0].tolist() == [0], "and are not null"


@pytest.mark.parametrize("columns", [[[1, -5, 2**63]], [["a", "é" * 300]], [[1, None, 7]], [["y", "z"], ["x", None]]])
def test_python_values_are_written_as_columns_are(columns):
    kinds = [str if isinstance(column[0], str) else int for column in columns]
    series = [
        pl.Series(column, dtype=pl.String if kind is str else pl.Int128)
        for column, kind in zip(columns, kinds, strict=True)
    ]
    wanted = [None if key is None else b"r" + key for key in written(*series)]
    assert plain_key_bytes(columns, b"r", kinds) == wanted


@pytest.mark.parametrize("value", [float("inf"), 1.5, 2.0**53, -(2.0**53), [1], {"a": 1}])
def test_what_is_no_key_has_no_bytes(value):
    with pytest.raises(DataError, match="key_0"):
        written(pl.Series([value]))


@pytest.mark.parametrize(
    ("texts", "dtype", "rows"),
    [
        (["2024-05-01", "2024-05-32", "soon"], pl.Date(), [1, 2]),
        (["2024-05-01T00:00:00"], pl.Datetime("us", "UTC"), [0]),
        (["2024-05-01T00:00:00Z"], pl.Datetime("us"), [0]),
        (["2024-05-01T00:00:00.0000000001Z"], pl.Datetime("ns", "UTC"), [0]),
        (["9024-05-01T00:00:00.000000001Z"], pl.Datetime("ns", "UTC"), [0]),
        (["12:00:00+02:00", "24:00:00", "12:00", "12:00:00.5Z"], pl.Time(), [0, 1, 3]),
        (["P1M", "P", "PT", "3 days", "PT1H"], pl.Duration("us"), [0, 1, 2, 3]),
        (["1,5", "NaN", "1_000", "", " 1", "1" * 39, "1e400", "0e-50"], pl.Decimal(10, 2), [0, 1, 2, 3, 4]),
    ],
    ids=str,
)
def test_text_that_is_not_what_the_key_is_names_its_rows(texts, dtype, rows):
    with pytest.raises(DataError, match=re.escape("'k' holds text that is not a")) as error:
        encode([pl.Series(texts)], [pl.Series([], dtype=dtype)], ["k"])
    assert f"in rows {rows}: " in str(error.value)
    assert "Hint: write" in str(error.value)


def test_decimals_beyond_38_digits_are_refused():
    for text in ("1" * 39, "1e400", "1e-39"):
        with pytest.raises(DataError, match=r"(?s)in rows \[1\].*at most 38 digits"):
            encode([pl.Series(["1", text])], [pl.Series([Decimal(1)])], ["k"])


def test_text_is_read_in_a_spine_alone():
    with pytest.raises(DataError, match="'k' is Date in the spine .* String in the features"):
        encode([pl.Series([date(2024, 1, 1)])], [pl.Series(["2024-01-01"])], ["k"])
    with pytest.raises(DataError, match="cannot be written as text"):
        encode([pl.Series(["YQ=="])], [pl.Series([b"a"])], ["k"])
