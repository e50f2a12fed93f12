"""Parquet files that are read in several passes, each of which must read the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError
from tinymlops.stores.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

__all__ = ["Pinned", "files_of"]


class Pinned:
    """The files of a scan, as they were when the scan was opened.

    Args:
        scan: A scan of Parquet files.
        name: Its name in an error.
        paths: The paths of its files, as `files_of` returns them: before the scan has opened any of them.
    """

    def __init__(self, scan: pl.LazyFrame, name: str, paths: Sequence[str]) -> None:
        self._scan, self._name = scan, name
        self._marks = Marks(paths)

    def read(self, columns: Sequence[str] | None, start: int, rows: int) -> pl.DataFrame:
        """Read some rows.

        Raises:
            DataError: If a file has changed since, is damaged, or lacks a column that others have.
        """
        import polars as pl

        part = self._scan if columns is None else self._scan.select(columns)
        try:
            frame = part.slice(start, rows).collect()
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            self.check()
            raise self.explained(error) from error
        self.check()
        return frame

    def check(self) -> None:
        """Refuse to go on if a file has changed since it was opened."""
        self._marks.check()

    def explained(self, error: BaseException) -> DataError:
        """Name the file and column in which several files differ, if that is why they cannot be read."""
        import polars as pl

        schemas: dict[str, pl.Schema] = {}
        for path in self._marks:
            try:
                schemas[path] = pl.Schema(pl.read_parquet_schema(path))
            except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as damage:
                return DataError(
                    f"{path} cannot be read as Parquet: {_line(damage)}", hint="rewrite it, or leave it out"
                )
        first = next(iter(schemas), "")
        differ = (_difference((first, schemas[first]), other) for other in schemas.items())
        unreadable = DataError(f"{self._name} cannot be read: {_line(error)}", hint="rewrite its files")
        return next((found for found in differ if found is not None), unreadable)


def files_of(scan: pl.LazyFrame) -> list[str]:
    """Return the local files behind a scan, for which Polars may read the first of them; empty where it does not tell."""
    try:
        # Polars has no public way to ask; this is how it shows its plan to engines such as cuDF.
        found = scan._ldf.visit().view_current_node().paths  # noqa: SLF001
    except (AttributeError, NotImplementedError):
        return []
    paths = [str(path).removeprefix("file://") for path in found]
    return list(Marks(paths))


def _difference(first: tuple[str, pl.Schema], other: tuple[str, pl.Schema]) -> DataError | None:
    """Return the error that names the column by which two files differ."""
    for (path, schema), (without, lacking) in ((first, other), (other, first)):
        for name, dtype in schema.items():
            if name not in lacking:
                return DataError(
                    f"column {name!r} is in {path} and not in {without}",
                    hint="write all files with the same columns, or give a scan with options: "
                    'pl.scan_parquet(..., missing_columns="insert", extra_columns="ignore")',
                )
            if lacking[name] != dtype:
                return DataError(
                    f"column {name!r} is {dtype} in {path} and {lacking[name]} in {without}",
                    hint="write all files with the same types",
                )
    return None


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
