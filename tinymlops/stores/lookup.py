"""Find the rows of segments that have some values, such as the ids of a read, by an index beside each segment.

The index of a segment is made by the first look-up that does not find one, of the columns that are asked for: so a
source that is always compared as a whole has none, and a segment of an earlier tinymlops gets one.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops._widening import widened
from tinymlops.schema import dtype_name
from tinymlops.stores import row_index

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import polars as pl

__all__ = ["PIECE", "Lookup"]

PIECE = 131_072
"""Rows of a segment that an index does not tell apart."""

_SEED = 0x1D5
# One value of each kind: another version or machine that hashes one of them differently makes indexes of its own.
_PROBES: tuple[Any, ...] = (
    *(
        True,
        0,
        -1,
        2**40,
        0.0,
        1.5,
        float("nan"),
        "",
        "id",
        "a longer text of more than one block " * 4,
        "日本語",
        b"\x00",
    ),
    *(date(2024, 2, 29), datetime(2024, 2, 29, 12, tzinfo=UTC), timedelta(days=1), Decimal("12.34"), None),
)


class Lookup:
    """The rows that have one of some combinations of values.

    Args:
        values: The columns that are compared, of types that hold what the files have; a null is equal to a null.
        indexes: Where the indexes of the source's segments are, `indexes/<source>`; None to do without.
        tmp: The workspace's directory for unfinished files.
        exact: Whether rows that only share a hash are left out; a caller that compares contents anyway needs no such pass.
    """

    def __init__(self, values: pl.DataFrame, indexes: Path | None, tmp: Path, *, exact: bool = True) -> None:
        self.columns = values.columns
        self._dtypes = dict(values.schema)
        self._values = values if exact else None
        self._hashes = np.unique(_hashed(values).to_numpy())
        self._tmp = tmp
        self._indexes = indexes if all(map(_has_lasting_hash, values.dtypes)) else None

    def known_pieces(self, segment: Path) -> list[int] | None:
        """Return the pieces of a segment, `PIECE` rows each, that may hold such rows, in order; None if it has no index."""
        if not self._hashes.size:
            return []
        if self._indexes is None:
            return None
        found = row_index.find(self._indexes / segment.name, self._identity(segment), self._hashes)
        return None if found is None else [int(piece) for piece in found]

    def find_pieces(self, segment: Path, rows: int, parts: Iterable[pl.DataFrame]) -> list[int]:
        """Return the same of a segment without an index, and make it one.

        Args:
            segment: The file.
            rows: How many rows it has.
            parts: `columns` of all its rows, some at a time, as far as it has them.
        """
        count = -(-rows // PIECE)
        if self._indexes is None or count > row_index.MOST_PIECES:
            return list(range(count))
        hashes = (_hashed(self.of_types(part)).to_numpy() for part in parts)
        numbers = row_index.numbers_of(hashes, rows=rows, piece=PIECE)
        row_index.store(self._indexes / segment.name, self._identity(segment), numbers, self._tmp)
        return [int(piece) for piece in row_index.matching(numbers, self._hashes)]

    def rows_in(self, part: pl.DataFrame) -> pl.Series:
        """Return the numbers of the rows of a table that have such values, in order."""
        import polars as pl

        rows = self.of_types(part)
        if self._values is None:
            return _hashed(rows).is_in(pl.Series(self._hashes).implode()).arg_true()
        found = rows.with_row_index("__row").join(
            self._values, on=self.columns, how="semi", nulls_equal=True, maintain_order="left"
        )
        return found["__row"]

    def of_types(self, part: pl.DataFrame) -> pl.DataFrame:
        """Give the compared columns of rows the types of the values; one that they lack is null."""
        import polars as pl

        there = [widened(part[name], dtype) for name, dtype in self._dtypes.items() if name in part.columns]
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in self._dtypes.items() if name not in part.columns]
        return part.with_columns(*there, *missing).select(self.columns)

    def _identity(self, segment: Path) -> bytes:
        of = [segment.name, _function(), *(f"{name} {dtype_name(dtype)}" for name, dtype in self._dtypes.items())]
        return hashlib.sha256("\0".join(of).encode()).digest()


def _hashed(values: pl.DataFrame) -> pl.Series:
    return values.hash_rows(_SEED)


def _has_lasting_hash(dtype: pl.DataType) -> bool:
    """Return whether equal values of a type have the same hash in every process."""
    import polars as pl

    return not dtype.is_nested() and not isinstance(dtype, pl.Categorical | pl.Enum | pl.Object)


@cache
def _function() -> str:
    """Name what hashes: Polars promises the same hashes within one version alone."""
    import polars as pl

    hashes = [pl.Series([probe]).to_frame().hash_rows(_SEED)[0] for probe in _PROBES]
    return f"{pl.__version__} {hashes}"
