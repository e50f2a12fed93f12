"""Whether two tables hold the same rows, in whatever order, and where floats differ by how much."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import polars as pl

__all__ = ["Difference", "difference"]

_NEAR = 1e-9
"""Relative difference of floats that the order of adding up explains."""


class Difference(NamedTuple):
    """How two tables differ."""

    kind: Literal["near", "rows", "columns"]
    """`near`: floats alone, and by no more than 1e-9 of their size."""
    rows: int
    example: dict[str, Any]
    """A row of the first that the second does not have."""


def difference(one: pl.DataFrame, other: pl.DataFrame) -> Difference | None:
    """Compare two tables as sets of rows; None if they are the same.

    Example:
        >>> a = pl.DataFrame({"k": [1, 2], "v": [0.1, 0.3]})
        >>> difference(a, a.reverse()), difference(a, a.with_columns(pl.col("v") * (1 + 1e-12))).kind
        (None, 'near')
    """
    if one.schema != other.schema:
        names = [name for name in {**one.schema, **other.schema} if one.schema.get(name) != other.schema.get(name)]
        return Difference("columns", max(one.height, other.height), {"columns": ", ".join(names)})
    left, right = _sorted(one), _sorted(other)
    if left.equals(right, null_equal=True):
        return None
    floats = [name for name, dtype in left.schema.items() if dtype.is_float()]
    exact = [name for name in left.columns if name not in floats]
    if left.height == right.height and left.select(exact).equals(right.select(exact), null_equal=True):
        differs = pl.any_horizontal(_apart(left[name], right[name]) for name in floats)
        if not left.select(differs).to_series().any():
            changed = pl.any_horizontal(left[name].ne_missing(right[name]) for name in floats)
            found = left.filter(changed)
            return Difference("near", found.height, found.row(0, named=True))
    missing = left.join(right, on=left.columns, how="anti", nulls_equal=True)
    found = missing if missing.height else right.join(left, on=left.columns, how="anti", nulls_equal=True)
    found = found if found.height else left  # the same rows, another number of times
    return Difference("rows", max(found.height, 1), found.row(0, named=True) if found.height else {})


def _apart(left: pl.Series, right: pl.Series) -> pl.Series:
    """Say where two columns differ by more than the order of adding up explains."""
    size = pl.DataFrame([left.abs().alias("a"), right.abs().alias("b")]).max_horizontal()
    near = ((left - right).abs() <= size * _NEAR).fill_null(value=False)
    return left.ne_missing(right) & ~near


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    """Put rows in one order: by what is exact, then by floats."""
    frame = frame.with_columns(
        pl.Series(column.name, [repr(value) for value in column.to_list()], dtype=pl.String)
        for column in frame
        if column.dtype.is_nested() or column.dtype == pl.Object
    )
    names = sorted(frame.columns, key=lambda name: (frame.schema[name].is_float(), name))
    return frame.select(names).sort(names, nulls_last=False) if names else frame
