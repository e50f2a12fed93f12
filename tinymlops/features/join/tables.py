"""A table that is read in batches, more than once: a frame in memory, or Parquet files that are never loaded whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinymlops.errors import DataError
from tinymlops.features.join.pinned import Pinned, files_of
from tinymlops.frames import Frame, to_polars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

__all__ = ["InMemory", "JoinTable", "OnDisk", "open_table"]

_BATCH_ROWS = 1 << 20
"""Rows read at a time. Polars skips the pages outside, so row groups of other sizes do little harm."""


class JoinTable(Protocol):
    """Rows in a fixed order."""

    @property
    def schema(self) -> pl.Schema:
        """The columns and their types."""

    @property
    def height(self) -> int:
        """How many rows there are."""

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Read some columns of all rows, in order."""


@dataclass(frozen=True)
class InMemory:
    """A frame, as its pieces in memory."""

    frame: pl.DataFrame

    @property
    def schema(self) -> pl.Schema:
        """The columns and their types."""
        return self.frame.schema

    @property
    def height(self) -> int:
        """How many rows there are."""
        return self.frame.height

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield some columns of all rows, in order."""
        yield from _chunks(self.frame.select(columns))


@dataclass(frozen=True)
class OnDisk:
    """Parquet files, read some rows at a time; a file that changes in between is an error."""

    files: Pinned
    schema: pl.Schema
    height: int

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Read some columns of all rows, in order."""
        for start in range(0, self.height, _BATCH_ROWS):
            yield from _chunks(self.files.read(columns, start, _BATCH_ROWS))


def open_table(table: Frame | str | Path) -> InMemory | OnDisk:
    """Open any table: Parquet files in place, anything else in memory.

    Args:
        table: The path of a Parquet file or of several with `*`, a Polars scan of Parquet files, or what
            `tinymlops.frames.to_polars` reads. A lazy frame that does more than scan is collected.

    Raises:
        DataError: If it cannot be read.
    """
    import polars as pl

    if isinstance(table, str | Path):
        return _open_scan(pl.scan_parquet(table), str(table), looked_at=pl.scan_parquet(table))
    if isinstance(table, pl.LazyFrame) and table.explain(optimized=False).startswith("Parquet SCAN"):
        return _open_scan(table, "the scan", looked_at=table)
    return InMemory(to_polars(table))


def _open_scan(scan: pl.LazyFrame, name: str, *, looked_at: pl.LazyFrame) -> OnDisk:
    """Open a scan; a second scan of the same files lists them, because a scan caches what it has read."""
    import polars as pl

    unreadable = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
    try:
        files = Pinned(scan, name, files_of(looked_at))
    except unreadable as error:
        raise DataError(
            f"{name} cannot be read as Parquet: {error}", hint="give the path of a Parquet file, or a table"
        ) from error
    try:
        opened = OnDisk(files, scan.collect_schema(), scan.select(pl.len()).collect().item())
    except unreadable as error:
        raise files.explained(error) from error
    files.check()
    return opened


def _chunks(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield a frame as its pieces in memory, which are one array per column and need no copy."""
    import polars as pl

    pieces = [column.get_chunks() for column in frame]
    lengths = {tuple(len(piece) for piece in column) for column in pieces}
    if len(lengths) > 1:
        yield frame.rechunk()
    else:
        yield from (pl.DataFrame(piece) for piece in zip(*pieces, strict=True))
