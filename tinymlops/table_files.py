"""Tables in files whose suffix is the format: CSV or Parquet."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Protocol

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    import polars as pl

__all__ = ["TableWriter", "read_csv", "table_writer", "written_as_text"]

_TYPED = ("Int", "UInt", "Float", "Boolean")


class TableWriter(Protocol):
    """Adds rows to a file."""

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows, with the same columns each time."""

    def close(self) -> None:
        """Write the end of the file."""


def table_writer(path: Path, file: IO[bytes]) -> TableWriter:
    """Return a writer of tables in the format that a file's name stands for.

    Args:
        path: `.csv`, or for Parquet `.parquet`, `.pq` or nothing.
        file: Open for writing.

    Raises:
        DataError: If the suffix is another one.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        return _CsvWriter(path, file)
    if kind in (".parquet", ".pq", ""):
        return _ParquetWriter(file)
    raise DataError(f"{path} is named neither as Parquet nor as CSV", hint="name it .parquet or .csv")


def read_csv(path: Path, text: Collection[str]) -> pl.DataFrame:
    """Read a CSV file.

    Args:
        path: The file.
        text: The columns that are text, whatever they look like: "007" is not a number.
    """
    import polars as pl

    names = pl.read_csv(path, n_rows=0).columns
    overrides = {name: pl.String() for name in names if name in text}
    return pl.read_csv(path, schema_overrides=overrides, infer_schema_length=None)


def written_as_text(dtypes: Mapping[str, str]) -> set[str]:
    """Return the columns to read as text, by dtype names: decimals, which would be rounded, and all that are not numbers."""
    return {name for name, dtype in dtypes.items() if not dtype.startswith(_TYPED)}


class _CsvWriter:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file, self._begun = path, file, False

    def write(self, frame: pl.DataFrame) -> None:
        frame.select(self._cell(column) for column in frame).write_csv(self._file, include_header=not self._begun)
        self._begun = True

    def close(self) -> None:
        pass

    def _cell(self, column: pl.Series) -> pl.Series:
        """Convert a column to what CSV can hold: ISO 8601 for times and durations.

        Raises:
            DataError: If the column holds values that do not fit in a cell.
        """
        import polars as pl

        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            raise DataError(
                f"{self._path} cannot have the column {column.name!r}, which is {column.dtype}",
                hint="name the file .parquet, or leave the column out",
            )
        if isinstance(column.dtype, pl.Datetime | pl.Duration):
            return column.dt.to_string("iso:strict")
        return column


class _ParquetWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, frame: pl.DataFrame) -> None:
        import pyarrow.parquet as pq

        table = frame.to_arrow()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
