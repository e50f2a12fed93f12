"""Find the rows that two tables share, and the cells of a column that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.compute.arranged import Array

__all__ = ["MatchedRows", "differing", "in_text", "match_rows", "place_among", "places_in"]


class MatchedRows(NamedTuple):
    """The places of the rows of two tables."""

    first: Array
    """int64[k]: places in the first table, ascending."""
    second: Array
    """int64[k]: the place of the same row in the second."""
    only_first: Array
    only_second: Array


def match_rows(
    first: pl.DataFrame, second: pl.DataFrame, columns: Sequence[str], also: Sequence[str] = ()
) -> MatchedRows:
    """Match the rows of two tables by the values of some columns, nulls by nulls.

    Args:
        first: A table with these columns.
        second: Another one.
        columns: The columns; integers of any width match by value, and what has no common type as text.
        also: Further ones, for rows that are equal in these: those that are equal here too come first, the rest in order.
    """
    one, other = _alike(first.select(*columns, *also), second.select(*columns, *also))
    told = [name for name in also if not one.schema[name].is_nested()]
    same = one.height == other.height and _same(one, other, columns)
    if same and (_same(one, other, told) or not one.select(columns).is_duplicated().any()):
        every, none = np.arange(one.height), np.zeros(0, np.int64)
        return MatchedRows(every, every, none, none)
    if not told or not (one.select(columns).is_duplicated().any() or other.select(columns).is_duplicated().any()):
        return _joined(one, other, columns)
    by_all = _joined(one, other, [*columns, *told])
    rest = _joined(one[by_all.only_first], other[by_all.only_second], columns)
    firsts = np.concatenate([by_all.first, by_all.only_first[rest.first]])
    seconds = np.concatenate([by_all.second, by_all.only_second[rest.second]])
    order = np.argsort(firsts, kind="stable")
    return MatchedRows(
        firsts[order], seconds[order], by_all.only_first[rest.only_first], by_all.only_second[rest.only_second]
    )


def _same(one: pl.DataFrame, other: pl.DataFrame, columns: Sequence[str]) -> bool:
    return all(not differing(one[name], other[name]).size for name in columns)


def _joined(one: pl.DataFrame, other: pl.DataFrame, columns: Sequence[str]) -> MatchedRows:
    """Match rows by columns of one type each, equal rows in their order."""
    one, other = (_numbered(frame, columns) for frame in (one, other))
    places = other.with_row_index("__second")
    pairs = one.with_row_index("__first").join(
        places, on=[*columns, "__number"], how="full", nulls_equal=True, coalesce=True, maintain_order="left_right"
    )
    places_of = [pairs[name].cast(pl.Int64) for name in ("__first", "__second")]
    in_first, in_second = (column.is_not_null() for column in places_of)
    both = in_first & in_second
    return MatchedRows(
        places_of[0].filter(both).to_numpy(),
        places_of[1].filter(both).to_numpy(),
        places_of[0].filter(~in_second).to_numpy(),
        places_of[1].filter(~in_first).to_numpy(),
    )


def differing(one: pl.Series, other: pl.Series) -> Array:
    """Return the places where two columns differ: null and NaN equal themselves, other floats are compared by their bits.

    Integers and floats are compared by value; categories as their text; other values of two types all differ, unless
    both are null.

    Example:
        >>> import polars as pl
        >>> differing(pl.Series([1.0, None, 0.0, float("nan")]), pl.Series([1.0, 2.0, -0.0, float("nan")])).tolist()
        [1, 2]
    """
    one, other = _as_text(one), _as_text(other)
    if one.dtype == other.dtype and one.dtype in (pl.Float64, pl.Float32):
        return _differing_floats(one, other)
    if one.dtype != other.dtype and pl.Null in (one.dtype, other.dtype):
        return np.flatnonzero((one.is_null() != other.is_null()).to_numpy())
    if one.dtype != other.dtype and not (one.dtype.is_numeric() and other.dtype.is_numeric()):
        try:  # the same type with other units, widths or fields
            both = pl.concat([one.to_frame("v"), other.to_frame("v")], how="vertical_relaxed")["v"]
        except pl.exceptions.PolarsError:
            return np.flatnonzero(~(one.is_null() & other.is_null()).to_numpy())
        if both.dtype == pl.String:  # text beside what is not text
            return np.flatnonzero(~(one.is_null() & other.is_null()).to_numpy())
        one, other = both.head(len(one)), both.tail(len(other))
    if one.dtype != other.dtype and (one.dtype.is_float() or other.dtype.is_float()):
        return np.flatnonzero(_differing_numbers(one, other))
    return np.flatnonzero(one.ne_missing(other).to_numpy())


def places_in(several: Sequence[Array]) -> Array:
    """Return all places that are in any of these arrays, ascending; it takes memory for as many as the greatest.

    Example:
        >>> places_in([np.array([1, 4]), np.array([0, 4])]).tolist()
        [0, 1, 4]
    """
    marked = np.zeros(max((int(one.max()) + 1 for one in several if one.size), default=0), np.bool_)
    for one in several:
        marked[one] = True
    return np.flatnonzero(marked)


def place_among(places: Array, wanted: Array) -> Array:
    """Return where each of some places is among `places`, which are ascending and hold them all.

    Example:
        >>> place_among(np.array([2, 5, 9]), np.array([9, 2])).tolist()
        [2, 0]
    """
    if not wanted.size:
        return np.zeros(0, np.int64)
    number = np.zeros(int(places[-1]) + 1, np.int64)
    number[places] = np.arange(places.size)
    found: Array = number[wanted]
    return found


def in_text(column: pl.Series) -> pl.Series:
    """Write each value as text; nulls stay."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        return pl.Series(column.name, [None if value is None else str(value) for value in column.to_list()], pl.String)
    return column.dt.to_string("iso") if column.dtype == pl.Duration else column.cast(pl.String)


def _as_text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String) if isinstance(column.dtype, pl.Enum | pl.Categorical) else column


def _differing_floats(one: pl.Series, other: pl.Series) -> Array:
    bits = np.int64 if one.dtype == pl.Float64 else np.int32
    nulls = [column.null_count() for column in (one, other)]
    left, right = (
        column.fill_null(0.0).to_numpy() if column.null_count() else column.to_numpy() for column in (one, other)
    )
    differs = left.view(bits) != right.view(bits)
    if any(nulls):
        absent = one.is_null().to_numpy(), other.is_null().to_numpy()
        differs = (differs & ~absent[0]) | (absent[0] != absent[1])
    places = np.flatnonzero(differs)
    if not places.size:
        return places
    both_nan = np.isnan(left[places]) & np.isnan(right[places])
    found: Array = places[~both_nan]
    return found


def _differing_numbers(one: pl.Series, other: pl.Series) -> Array:
    """Compare an integer with a float, or two widths of floats, by value."""
    as_float = [column.cast(pl.Float64) for column in (one, other)]
    differs = as_float[0].ne_missing(as_float[1])
    for column, others in ((one, as_float[1]), (other, as_float[0])):
        if not column.dtype.is_float():  # several large integers are the same float
            differs = differs | column.ne_missing(others.cast(column.dtype, strict=False))
    result: Array = differs.to_numpy()
    return result


def _alike(one: pl.DataFrame, other: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give two tables one type for each column."""
    for name, dtype in one.schema.items():
        if dtype != other.schema[name]:
            integers = dtype.is_integer() and other.schema[name].is_integer()
            both = [in_text(frame[name]) if not integers else frame[name].cast(pl.Int128) for frame in (one, other)]
            one, other = one.with_columns(both[0]), other.with_columns(both[1])
    return one, other


def _numbered(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Number equal rows from 0."""
    return frame.select(columns).with_columns(pl.int_range(pl.len()).over(columns).alias("__number"))
