"""The rows of a source that is read where they are: once for each operation, with what was read of which file.

Nothing is stored, so nothing is known of what the rows were before: they are as of now or not at all. An operation reads each
source once, so that spine, features and labels of one build are of the same files.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.connectors.connector import ReadFile
from tinymlops.errors import DataError
from tinymlops.features.compute.deletes import refuse_deletes
from tinymlops.features.definitions import graph, specs
from tinymlops.features.history.connected import columns_of, read_connection
from tinymlops.features.history.counted import available, entity_keys, with_event_time
from tinymlops.features.history.moves import with_moves
from tinymlops.features.history.row_order import in_order, own_schema
from tinymlops.features.history.sources import read_source, with_times
from tinymlops.features.history.storable import storable
from tinymlops.features.history.user_code import reading
from tinymlops.stores.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["Operation", "ReadOfSource", "columns_in_place", "file_now", "read_in_place", "reading_once", "shown_path"]


class ReadOfSource(NamedTuple):
    """One read of a source."""

    source: SourceSpec
    rows: pl.DataFrame
    """The user's columns and the `SYSTEM` ones, in order of `__sequence`, which counts from 1."""
    files: tuple[ReadFile, ...]
    """What it read of which file; empty if it read none, or nobody asked."""
    height: int
    """Rows that count by then, without those by which an event is taken back under an earlier key."""


class Operation:
    """What reads each source once.

    Args:
        as_of: Sequences that mean now in it.
        hashes: Whether to hash the files that are read.
    """

    def __init__(self, as_of: set[int], *, hashes: bool) -> None:
        self.as_of, self.hashes = as_of, hashes
        self.found: dict[str, ReadOfSource] = {}
        """Fingerprint of a definition to what was read of it."""


_YOUNG = 60 * 1_000_000_000
"""Nanoseconds: a file that was written so shortly before the end of a read may have been written twice in one tick."""
_NOW: ContextVar[Operation | None] = ContextVar("_NOW", default=None)


@contextmanager
def reading_once(*as_of: int, hashes: bool = False) -> Iterator[Operation]:
    """Read each source in place once in a block; one within another shares its reads, unless it needs hashes.

    Args:
        as_of: Sequences that mean now in the block, because it has just asked for them.
        hashes: Whether to hash the files that are read.
    """
    outer = _NOW.get()
    if outer is not None and (outer.hashes or not hashes):
        outer.as_of.update(as_of)
        yield outer
        return
    before = _NOW.set(Operation(set(as_of), hashes=hashes))
    try:
        operation = _NOW.get()
        assert operation is not None, "it was just set"
        yield operation
    finally:
        _NOW.reset(before)


def read_in_place(context: Context, source: SourceSpec, *, as_of: int | None = None) -> ReadOfSource:
    """Read the rows of a source where they are.

    Args:
        context: The workspace's state.
        source: A source that is read in place.
        as_of: None, or a sequence that means now.

    Raises:
        DataError: If they are asked for as of a sequence; if a file changes, appears or goes while they are read; or if columns
            or times do not fit.
    """
    operation = _NOW.get()
    if as_of is not None and (operation is None or as_of not in operation.as_of):
        raise DataError(
            f"source {source.name!r} is read in place (store=False), and nothing is known of what its rows were at Q={as_of}",
            hint="leave as_of out, or store the source: leave store=False out, apply, and ingest it",
        )
    if operation is None:
        return _read(context, source, hashes=False)
    name = specs.fingerprint(source)
    if name not in operation.found:
        operation.found[name] = _read(context, source, hashes=operation.hashes)
    return operation.found[name]


def columns_in_place(context: Context, source: SourceSpec, *, reads: bool = True) -> dict[str, str]:
    """Return the columns of a source that is read in place and their dtypes.

    Args:
        context: The workspace's state.
        source: The source.
        reads: Whether rows may be read where nothing else tells; otherwise none are known then.
    """
    import polars as pl

    operation = _NOW.get()
    found = None if operation is None else operation.found.get(specs.fingerprint(source))
    if found is None:
        with reading(source, context.root):
            known = columns_of(context, source) if source.sql is None else context.query_columns(source.sql)
            if known is not None:
                return own_schema(storable(pl.DataFrame(schema=known), source))
        if not reads:
            return {}
    return own_schema((found or read_in_place(context, source)).rows)


def shown_path(context: Context, path: str) -> str:
    """Return a path as it is kept: from the project's directory on if it is there, so that both can be moved."""
    root = context.root.resolve()
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def file_now(context: Context, path: str) -> ReadFile:
    """Return what a file holds now; of a link, what it leads to.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            found, digest = os.fstat(file.fileno()), hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="see who may read it") from error
    return ReadFile(shown_path(context, path), found.st_size, found.st_mtime_ns, digest)


def _read(context: Context, source: SourceSpec, *, hashes: bool) -> ReadOfSource:
    frame, files = _connected(context, source) if source.sql is None else _of_files(context, source, hashes=hashes)
    frame = with_times(frame, source)
    frame, _ = with_event_time(frame, source)
    frame, _ = available(context, frame, source)
    refuse_deletes(context.definitions, source, frame)
    height = frame.height
    if source.id is not None:  # as the first ingest does, so that a stored source gives the same
        keys, whole = entity_keys(context, source), bool(graph.row_wise_over(context.definitions, source.name))
        frame = with_moves(frame, frame[source.id].clear(), frame.clear, source, keys, whole=whole)
    return ReadOfSource(source, in_order(frame).rename({"__ordinal": "__sequence"}), files, height)


def _connected(context: Context, source: SourceSpec) -> tuple[pl.DataFrame, tuple[ReadFile, ...]]:
    with reading(source, context.root):
        found = read_connection(context, source)
        return storable(found.frame, source), found.files


def _of_files(context: Context, source: SourceSpec, *, hashes: bool) -> tuple[pl.DataFrame, tuple[ReadFile, ...]]:
    """Run a source's SQL over files that must stay as they are from before they are hashed until they are read."""
    with reading(source, context.root):
        names = context.files_of(str(source.sql))
        marks = Marks(names)
        files = tuple(file_now(context, name) for name in names) if hashes else ()
    frame = read_source(context, source)
    with reading(source, context.root):
        marks.check()
        if appeared := sorted({*context.files_of(str(source.sql))} - {*names}):
            raise DataError(f"{appeared[0]} appeared while its pattern was read", hint="read it again")
        _require_same(context, names, files)
    return frame, files


def _require_same(context: Context, names: list[str], files: tuple[ReadFile, ...]) -> None:
    """Hash again what was written just before it was read: another write within a tick of its clock shows in no time."""
    since = time.time_ns() - _YOUNG
    for name, file in zip(names, files, strict=False):
        if file.modified > since and file_now(context, name) != file:
            raise DataError(f"{name} changed while it was read", hint="read it again once its writer is done")
