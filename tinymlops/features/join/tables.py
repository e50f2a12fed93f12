"""A table that is read in batches, more than once: a frame in memory, or Parquet files that never are as a whole."""

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
"""Rows read at a time. Polars skips pages outside of them, so row groups of other sizes do little harm."""


class JoinTable(Protocol):
    """Rows in an order that never changes."""

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
    """A frame, as the pieces it lies in."""

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
        """Lend some columns of all rows, in order."""
        yield from _chunks(self.frame.select(columns))


@dataclass(frozen=True)
class OnDisk:
    """Parquet files, some rows at a time; if one changes in between, that is an error."""

    files: Pinned
    schema: pl.Schema
    height: int

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Read some columns of all rows, in order."""
        for start in range(0, self.height, _BATCH_ROWS):
            yield from _chunks(self.files.read(columns, start, _BATCH_ROWS))


def open_table(table: Frame | str | Path) -> InMemory | OnDisk:
    """Open any table: Parquet files where they are, all else in memory.

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
    """Open a scan; its files are asked for by another one of the same, for a scan keeps what it has once read of them."""
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
    """Yield a frame as the pieces it lies in, which are one array per column and need no copy."""
    import polars as pl

    pieces = [column.get_chunks() for column in frame]
    lengths = {tuple(len(piece) for piece in column) for column in pieces}
    if len(lengths) > 1:
        yield frame.rechunk()
    else:
        yield from (pl.DataFrame(piece) for piece in zip(*pieces, strict=True))
