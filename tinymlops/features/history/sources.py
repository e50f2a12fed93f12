"""Read the rows of a source from its origin, and add the times that its definition gives each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError, near
from tinymlops.features.definitions.source_options import require_plain_names
from tinymlops.features.history.connected import read_connection
from tinymlops.features.history.storable import event_times, require_answerable, storable
from tinymlops.features.history.user_code import reading
from tinymlops.features.join.record_times import delay_micros
from tinymlops.frames import to_polars, twice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = [
    "SYSTEM",
    "read_source",
    "run_transformation",
    "with_times",
]

SYSTEM = ("__event", "__created", "__sequence", "__deleted")
"""Columns of every stored row: event and created time (microseconds UTC), workspace sequence, whether it is a delete."""


def read_source(context: Context, source: SourceSpec, *, since: datetime | None = None) -> pl.DataFrame:
    """Read a source's rows from their origin: run its SQL, call its function, or read all rows of its database.

    Args:
        context: The workspace's state.
        source: A source with SQL or a function.
        since: For a function that takes it: rows with an earlier cursor may be left out; None for all.

    Raises:
        DataError: If the source takes pushes, so that there is nothing to read.
    """
    if source.via == "push":
        raise DataError(
            f"source {source.name!r} takes pushes and cannot be ingested", hint=f"ws.push({source.name!r}, rows)"
        )
    with reading(source, context.root):
        if source.via == "connection":
            return storable(read_connection(context, source).frame, source)
        if source.sql is not None:
            return storable(context.query(source.sql, name=source.name), source)
        function = context.function(source)
        return storable(to_polars(function(since) if source.takes_since else function()), source)


def run_transformation(context: Context, source: SourceSpec, inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Compute a derived source from the rows of its inputs."""
    with reading(source, context.root):
        if source.sql is not None:
            return storable(context.query(source.sql, inputs, name=source.name), source)
        function = context.function(source)
        made = function(**{name: frame.lazy() for name, frame in inputs.items()})
        if source.row_wise:
            made = _in_one_piece(made)
            if made.height == 1:
                made = _in_one_piece(function(**{name: twice(frame).lazy() for name, frame in inputs.items()})).head(1)
        return storable(to_polars(made), source)


def _in_one_piece(made: object) -> pl.DataFrame:
    """Compute a table without Polars' pieces, whose size hangs on the machine: see `twice` for what a piece of one row is."""
    import polars as pl

    return to_polars(made.collect(engine="in-memory") if isinstance(made, pl.LazyFrame) else made)


def with_times(frame: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Check a source's rows and add `__event`, `__created` and `__deleted`.

    NaN becomes null; a column `deleted` of booleans marks deletes.

    Raises:
        DataError: If a named column is missing, a time has no zone, a value cannot be read again, or a delay is negative.
    """
    import polars as pl

    _require_columns(frame, source)
    frame = require_answerable(frame, source)
    if source.delay_column is not None:  # otherwise every later read would fail
        delay_micros(frame[source.delay_column], of=f" of source {source.name!r}")
    if source.cursor is not None:  # otherwise the next ingest would be the first to notice
        event_times(frame, source.cursor, source)
    nothing = pl.Series("", [None], dtype=pl.Int64).new_from_index(0, frame.height)
    event = nothing
    if source.timestamp is not None:
        event = event_times(frame, source.timestamp, source)
    created = nothing
    if source.created is not None:
        created = event_times(frame, source.created, source)
    deleted = pl.lit(value=False)
    if frame.schema.get("deleted") == pl.Boolean:
        deleted = pl.col("deleted").fill_null(value=False)
    return frame.with_columns(
        event.alias("__event"), created.alias("__created"), deleted.cast(pl.Boolean).alias("__deleted")
    )


def _require_columns(frame: pl.DataFrame, source: SourceSpec) -> None:
    for role, column in (
        ("timestamp", source.timestamp),
        ("id", source.id),
        ("created", source.created),
        ("cursor", source.cursor),
        ("delay", source.delay_column),
        *(("keys", column) for column in source.keys.values()),
    ):
        if column is not None and column not in frame.columns:
            raise DataError(
                f"source {source.name!r} has no column {column!r}, which its {role}= names",
                hint=near(column, frame.columns),
            )
    require_plain_names(frame.columns, f"source {source.name!r}", DataError)
