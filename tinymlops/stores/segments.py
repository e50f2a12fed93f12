"""Segment files: immutable rows of one source, and the only module that knows their format (Parquet).

A file holds the user's columns beside four of ours: `__event` and `__created` (microseconds UTC, null where
there is none), `__ordinal` (1, 2, ... in the file) and `__deleted`. The sequence is not in it, because the
commit that names the file assigns it: `__sequence` is `base + __ordinal`. In a merged file, whose rows come from several
commits, the ordinal is the sequence itself and the base is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from tinymlops._widening import widened, wider
from tinymlops.errors import DataError, IntegrityError
from tinymlops.schema import lasting_dtype
from tinymlops.stores.lookup import PIECE
from tinymlops.stores.publish import publish, verify_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from tinymlops.stores.lookup import Lookup

__all__ = ["SYSTEM_COLUMNS", "SegmentFile", "batches", "merge", "read", "write"]

SYSTEM_COLUMNS = ("__event", "__created", "__sequence", "__deleted")
_STORED = ("__event", "__created", "__ordinal", "__deleted")
# Small enough that a time range skips most of a file by its statistics, large enough to compress well.
_ROW_GROUP = PIECE
_BATCH_ROWS = 8 * _ROW_GROUP


class SegmentFile(NamedTuple):
    """A segment that was written and that the database does not name yet."""

    sha256: str
    rows: int
    bytes: int


def write(frame: pl.DataFrame, directory: Path, tmp: Path) -> SegmentFile:
    """Store rows durably under their hash.

    Args:
        frame: Sorted by event time, then by created time, deletes last; the user's columns and `__event` Int64,
            `__created` Int64, `__ordinal` Int64, `__deleted` Boolean.
        directory: `segments/<source>`, created if needed; its parent must exist.
        tmp: The workspace's directory for unfinished files, on the same file system.
    """

    def to_parquet(stream: BinaryIO) -> None:
        frame.write_parquet(stream, compression="zstd", compression_level=1, statistics=True, row_group_size=_ROW_GROUP)

    published = publish(to_parquet, lambda sha256: directory / sha256, tmp)
    return SegmentFile(published.sha256, frame.height, published.bytes)


def merge(segments: Sequence[tuple[Path, int]], rows: pl.DataFrame | None, directory: Path, tmp: Path) -> SegmentFile:
    """Merge several segments, and then some more rows, into one, in which each row's ordinal is its sequence.

    Only the added rows are in memory as a whole.

    Args:
        segments: Each file with the `base` that its commit assigned.
        rows: The user's columns, then `__event`, `__created`, `__sequence` and `__deleted`; None for no more.
        directory: As for `write`.
        tmp: As for `write`.

    Raises:
        DataError: If no type holds what a column has in two files.
        IntegrityError: If a file is missing or is not what was written.
    """
    import polars as pl

    for path, _ in segments:
        verify_file(path, path.name)
    dtypes = _united([*((path, _schema(path)) for path, _ in segments), *_added(rows, directory)], None)
    parts = [
        _of_types(_scan(path), _schema(path), dtypes).with_columns(pl.col("__ordinal") + base)
        for path, base in segments
    ]
    if rows is not None:
        own = {name: dtype for name, dtype in rows.schema.items() if name in dtypes}
        parts.append(_of_types(rows.rename({"__sequence": "__ordinal"}).lazy(), own, dtypes))
    together = pl.concat(parts, how="diagonal")
    height = _height(together)

    def to_parquet(stream: BinaryIO) -> None:
        together.sink_parquet(
            stream, compression="zstd", compression_level=1, statistics=True, row_group_size=_ROW_GROUP
        )

    published = publish(to_parquet, lambda sha256: directory / sha256, tmp)
    return SegmentFile(published.sha256, height, published.bytes)


def read(segments: Sequence[tuple[Path, int]], columns: Sequence[str] | None) -> pl.DataFrame:
    """Read segments, one after the other, in the order given.

    Args:
        segments: Each file with the `base` that its commit assigned.
        columns: The user's columns to read; None for all. A column that no file has is null.

    Returns:
        The user's columns, then `__event`, `__created`, `__sequence` and `__deleted`. A column that an older file lacks
        is null there.

    Raises:
        DataError: If no type holds what a column has in two files.
        IntegrityError: If a file is missing or is not what was written.
    """
    import polars as pl

    for path, _ in segments:
        verify_file(path, path.name)
    schemas = [(path, _schema(path)) for path, _ in segments]
    dtypes = _united(schemas, columns)
    frames = [
        _read_one(path, base, {name: dtype for name, dtype in dtypes.items() if name in schema})
        for (path, base), (_, schema) in zip(segments, schemas, strict=True)
    ]
    empty = pl.DataFrame(schema={**dtypes, **_system_dtypes()})
    return pl.concat([empty, *frames], how="diagonal", rechunk=False)


def batches(path: Path, base: int, *, among: Lookup | None = None) -> Iterator[pl.DataFrame]:
    """Read a segment some rows at a time, in its order; columns and errors as in `read`.

    Args:
        path: The file.
        base: What its commit assigned.
        among: Only rows that have one of these values. Where an index tells which pieces of the file may hold them, no other
            piece is read, and without such a piece not the file.
    """
    pieces = None if among is None else among.known_pieces(path)
    if pieces == []:
        return
    verify_file(path, path.name)
    scan, columns = _scan(path), list(_schema(path))
    height = _height(scan)
    if among is None:
        for start in range(0, height, _BATCH_ROWS):
            yield _numbered(scan.slice(start, _BATCH_ROWS).collect(), base, columns)
        return
    there = [name for name in scan.collect_schema().names() if name in among.columns and name != "__ordinal"]
    compared = scan.select("__ordinal", *there)  # with a column that every file has, so that rows are rows
    if pieces is None:
        parts = (compared.slice(start, _BATCH_ROWS).collect() for start in range(0, height, _BATCH_ROWS))
        pieces = among.find_pieces(path, height, parts)
    for start, rows in _runs(pieces):
        found = among.rows_in(compared.slice(start, rows).collect())
        if len(found):
            yield _numbered(scan.slice(start, rows).collect()[found], base, columns)


def _runs(pieces: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the number of rows of pieces that follow each other; not too many at once."""
    first, count = 0, 0
    for piece in pieces:
        if count and (piece != first + count or count == _BATCH_ROWS // PIECE):
            yield first * PIECE, count * PIECE
            count = 0
        first, count = (piece, 1) if not count else (first, count + 1)
    if count:
        yield first * PIECE, count * PIECE


def _numbered(rows: pl.DataFrame, base: int, columns: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns((pl.col("__ordinal") + base).alias("__sequence")).select(*columns, *SYSTEM_COLUMNS)


def _height(scan: pl.LazyFrame) -> int:
    import polars as pl

    height: int = scan.select(pl.len()).collect().item()
    return height


def _read_one(path: Path, base: int, dtypes: dict[str, Any]) -> pl.DataFrame:
    import polars as pl

    frame = pl.read_parquet(path, columns=[*dtypes, *_STORED], glob=False, hive_partitioning=False)
    sequence = (pl.col("__ordinal") + base).alias("__sequence")
    grown = [widened(frame[name], dtype) for name, dtype in dtypes.items() if frame.schema[name] != dtype]
    return frame.with_columns(sequence, *grown).select(*dtypes, *SYSTEM_COLUMNS)


def _scan(path: Path) -> pl.LazyFrame:
    import polars as pl

    scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return scan.cast(_uncategorical(scan.collect_schema()))


def _uncategorical(schema: pl.Schema) -> dict[Any, Any]:
    """Return the casts that read categories as text: older files hold categories."""
    return {name: lasting_dtype(dtype) for name, dtype in schema.items() if lasting_dtype(dtype) != dtype}


def _of_types(rows: pl.LazyFrame, schema: Mapping[str, Any], dtypes: Mapping[str, Any]) -> pl.LazyFrame:
    import polars as pl

    return rows.with_columns(pl.col(name).cast(dtypes[name]) for name, dtype in schema.items() if dtypes[name] != dtype)


def _added(rows: pl.DataFrame | None, directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the schema of rows that are not in a file yet."""
    if rows is None:
        return []
    own = {name: dtype for name, dtype in rows.schema.items() if name not in SYSTEM_COLUMNS}
    return [(directory / "rows", own)]


def _schema(path: Path) -> dict[str, Any]:
    import polars as pl

    try:
        schema = pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_schema()
    except (pl.exceptions.ComputeError, OSError) as error:
        raise IntegrityError(f"{path} is not a segment: {error}") from error
    return {name: lasting_dtype(dtype) for name, dtype in schema.items() if name not in _STORED}


def _united(schemas: list[tuple[Path, dict[str, Any]]], columns: Sequence[str] | None) -> dict[str, Any]:
    """Return the columns of all files with types that hold every value, in the order they first appear or are asked for."""
    import polars as pl

    found: dict[str, tuple[Path, Any]] = {}
    for path, schema in schemas:
        for name, dtype in schema.items():
            first, known = found.setdefault(name, (path, dtype))
            both = wider(known, dtype)
            if both is not None:
                found[name] = first, both
            elif columns is None or name in columns:
                raise DataError(
                    f"column {name!r} of {path.parent.name} changed its type from {known} to {dtype} "
                    f"(segments {first.name[:12]} and {path.name[:12]})",
                    hint="cast it in the source to the type it had, or give it a new name",
                )
    names = found if columns is None else columns
    return {name: found[name][1] if name in found else pl.Null() for name in names}


def _system_dtypes() -> dict[str, Any]:
    import polars as pl

    return {
        "__event": pl.Int64(),
        "__created": pl.Int64(),
        "__sequence": pl.Int64(),
        "__deleted": pl.Boolean(),
    }
