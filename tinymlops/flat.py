"""Vectors as columns of numbers: what models take, whose tables have one number in a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["flat", "flat_names"]


def flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with a Float64 column for each number of each array of numbers; other columns stay as they are.

    Args:
        frame: n rows. Arrays have one dimension.

    Returns:
        n rows; of an array `bio` of two numbers `bio_0` and `bio_1`, both null where it is null.

    Raises:
        DataError: If two columns would have one name.

    Example:
        >>> import polars as pl
        >>> flat(pl.DataFrame({"bio": [[1.0, 2.0], None]}, schema={"bio": pl.Array(pl.Float32, 2)})).to_dict(as_series=False)
        {'bio_0': [1.0, None], 'bio_1': [2.0, None]}
    """
    import polars as pl

    columns: dict[str, pl.Series] = {}
    for column in frame:
        names = flat_names(column)
        parts = (
            [column]
            if names == [column.name]
            else [column.arr.get(place, null_on_oob=True).cast(pl.Float64) for place in range(len(names))]
        )
        for name, part in zip(names, parts, strict=True):
            if name in columns:
                raise DataError(f"two features are called {name!r}", hint="rename one of them")
            columns[name] = part.alias(name)
    return pl.DataFrame(list(columns.values())) if len(columns) != frame.width else frame


def flat_names(column: pl.Series) -> list[str]:
    """Return the names of the columns that a column becomes: its own, if it is no array of numbers."""
    import polars as pl

    dtype = column.dtype
    if isinstance(dtype, pl.Array) and len(dtype.shape) == 1 and dtype.inner.is_numeric():
        return [f"{column.name}_{place}" for place in range(dtype.size)]
    return [column.name]
