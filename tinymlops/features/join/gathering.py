"""Gather the values of chosen rows, such as a join's winners, from a table in memory or one that comes in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.kernels.gathering import Chosen, take

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]

__all__ = ["gather", "gather_batches"]


def gather(table: pl.DataFrame, rows: Array) -> list[pl.Series]:
    """Return the columns of chosen rows of a table.

    Args:
        table: Columns of any types.
        rows: int64[m] row numbers, -1 for a row of nulls.
    """
    import numpy as np
    import polars as pl

    wide = _Wide(table.schema, rows)
    if table.height:
        wide.take(table, rows, np.empty(0, np.int64))
    others = table.select(name for name in table.columns if name not in wide.names)
    gathered = others.select(pl.all().gather(_index(rows))) if others.width else others
    return _in_order([*wide.columns(), *gathered], table.schema)


def gather_batches(batches: Iterable[pl.DataFrame], rows: Array, schema: Mapping[str, pl.DataType]) -> list[pl.Series]:
    """Return the columns of chosen rows of a table that is read once, from its first row to its last.

    Args:
        batches: The table's rows in order; each batch is released before the next is read.
        rows: int64[m] row numbers, -1 for a row of nulls.
        schema: The table's columns.
    """
    import numpy as np
    import polars as pl

    wide, chosen = _Wide(schema, rows), Chosen(rows)
    others = [name for name in schema if name not in wide.names]
    pieces = [pl.DataFrame(schema={name: schema[name] for name in others})]
    found, first, count = np.full(len(rows), -1, np.int64), 0, 0
    for batch in batches:
        places, here = chosen.between(first, first + batch.height)
        if places.size:
            wide.take(batch, here - first, places)
            pieces.append(batch.select(pl.col(others).gather(here - first)) if others else pieces[0])
            found[places] = np.arange(count, count + places.size)
        first, count = first + batch.height, count + places.size
    gathered = pl.concat(pieces, rechunk=True).select(pl.all().gather(_index(found))) if others else pieces[0]
    return _in_order([*wide.columns(), *gathered], schema)


class _Wide:
    """The columns of numbers and times of eight bytes, which a kernel copies."""

    def __init__(self, schema: Mapping[str, pl.DataType], rows: Array) -> None:
        import numpy as np
        import polars as pl

        wide = (pl.Int64, pl.UInt64, pl.Float64, pl.Datetime, pl.Duration, pl.Time)
        self._schema = {name: dtype for name, dtype in schema.items() if isinstance(dtype, wide)}
        self.names = list(self._schema)
        self._found = rows >= 0
        self._out = [np.zeros(len(rows), np.int64) for _ in self.names]
        self._known = [np.empty(0, np.bool_) for _ in self.names]

    def take(self, table: pl.DataFrame, rows: Array, places: Array) -> None:
        """Copy rows of a table to places of the result; without places, to the first ones."""
        sources = []
        for i, name in enumerate(self.names):
            column = table[name]
            if column.null_count() and not self._known[i].size:
                self._known[i] = self._found.copy()
            sources.append(_buffers(column))
        take(sources, rows, places, self._out, self._known)

    def columns(self) -> list[pl.Series]:
        """Return the results, which share their memory."""
        return [
            _series(name, dtype, out, known if known.size else self._found)
            for (name, dtype), out, known in zip(self._schema.items(), self._out, self._known, strict=True)
        ]


def _buffers(column: pl.Series) -> tuple[Array, Array, int]:
    """Return the values of a column as they are in memory, the bits of its validity, and their offset."""
    import numpy as np

    array = column.to_arrow()
    validity, data = array.buffers()
    values = np.frombuffer(data or b"", np.int64)[array.offset :][: len(array)]
    bits = np.frombuffer(validity, np.uint8) if validity is not None else np.empty(0, np.uint8)
    return values, bits, array.offset


def _series(name: str, dtype: pl.DataType, values: Array, known: Array) -> pl.Series:
    import numpy as np
    import polars as pl
    import pyarrow as pa

    kind = pl.Series([], dtype=dtype).to_arrow().type
    validity = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    array = pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(values)])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series.alias(name)


def _index(rows: Array) -> pl.Series:
    """Return row numbers as Polars expects them, null for none."""
    import polars as pl

    index = pl.Series(rows, dtype=pl.Int64)
    missing = index < 0
    return index.set(missing, None) if missing.any() else index


def _in_order(columns: Sequence[pl.Series], schema: Mapping[str, pl.DataType]) -> list[pl.Series]:
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in schema]
