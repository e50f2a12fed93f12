"""Keys match by typed value, and by nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import polars as pl
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from tinymlops._keys import Coder, all_key_bytes, encode, key_bytes
from tinymlops.errors import DataError


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


def test_key_bytes_tell_different_keys_apart():
    keys = [
        ("1", "23"), ("12", "3"), ("123",), ("", "123"), (1, 23), (123,), ("1",), (1,), (True,), (b"1",), (-1,), (255,),
        (date(2024, 1, 1),), (datetime(2024, 1, 1),), (datetime(2024, 1, 1, tzinfo=UTC),), (timedelta(1),), (time(1),),
        (Decimal("1.5"),), (2**63,), (-(2**63),), (256,), (0,), (False,), (), ("",),
    ]  # fmt: skip
    assert len({key_bytes(key) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.int8(7), 7),
        (7.0, 7),
        (np.float32(7), np.uint64(7)),
        (np.str_("a"), "a"),
        (np.bool_(True), True),
        (Decimal("1.50"), Decimal("1.5")),
        (Decimal("-0.0"), Decimal(0)),
        (bytearray(b"x"), b"x"),
        (UUID(int=5), str(UUID(int=5))),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime.fromisoformat("2024-01-01T02:00:00+02:00")),
    ],
)
def test_key_bytes_of_equal_values_are_equal(left, right):
    assert key_bytes((left,)) == key_bytes((right,))


@pytest.mark.parametrize(
    "columns", [[[1, -5, 2**70]], [["a", "é" * 300]], [[1, None, 7]], [[True, 2.0], ["x", None]], [[3], [b"y"]]]
)
def test_the_keys_of_many_rows_are_those_of_one_by_one(columns):
    rows = zip(*columns, strict=True)
    wanted = [None if None in row else b"r" + key_bytes(row) for row in rows]
    assert all_key_bytes(columns, b"r") == wanted


@pytest.mark.parametrize("value", [None, float("nan"), 1.5, [1], {"a": 1}, object()])
def test_what_is_no_key_has_no_bytes(value):
    with pytest.raises(DataError, match="cannot be part of a key"):
        key_bytes((value,))
