"""The rows of a source, with their times: from its own place (`read_source`) or from history (`stored_rows`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.features.specs import SourceSpec
from tinymlops.frames import times_to_micros, to_polars
from tinymlops.records import Segment, SourceState
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from tinymlops.features.context import Context

__all__ = ["SYSTEM", "read_source", "run_transformation", "stored_rows", "with_times"]

SYSTEM = ("__event", "__created", "__sequence", "__deleted")
"""Of every stored row: event and created time (microseconds UTC), workspace sequence, whether it is a delete."""

_SHOWN_ROWS = 5


def read_source(context: Context, source: SourceSpec) -> pl.DataFrame:
    """Read a source's rows from where they are: run its SQL or call its function."""
    if source.sql is not None:
        return context.query(source.sql)
    assert source.code is not None, "what is no SQL has code"
    function = context.function(source.name, source.code)
    return to_polars(function(None) if source.takes_since else function())


def run_transformation(context: Context, source: SourceSpec, inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Compute a derived source from the rows of its inputs."""
    if source.sql is not None:
        return context.query(source.sql, inputs)
    assert source.code is not None, "what is no SQL has code"
    function = context.function(source.name, source.code)
    return to_polars(function(**{name: frame.lazy() for name, frame in inputs.items()}))


def with_times(frame: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Check a source's rows and add `__event`, `__created` and `__deleted`.

    NaN becomes null; a column `deleted` of booleans marks deletes.

    Raises:
        DataError: If a named column is missing, a time has no zone, or a value is infinite.
    """
    import polars as pl

    _require_columns(frame, source)
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    for name in floats:
        infinite = frame[name].is_infinite()
        if infinite.any():
            rows = infinite.arg_true().head(_SHOWN_ROWS).to_list()
            raise DataError(
                f"column {name!r} of source {source.name!r} is infinite in rows {rows}",
                hint="make it null, or cap it, in the source",
            )
    frame = frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame
    nothing = pl.Series("", [None], dtype=pl.Int64).new_from_index(0, frame.height)
    event = nothing
    if source.timestamp is not None:
        event = times_to_micros(frame[source.timestamp], role="feature", tz=source.tz, name=source.timestamp)
    created = nothing
    if source.created is not None:
        created = times_to_micros(frame[source.created], role="feature", tz=source.tz, name=source.created)
    deleted = pl.lit(value=False)
    if frame.schema.get("deleted") == pl.Boolean:
        deleted = pl.col("deleted").fill_null(value=False)
    return frame.with_columns(
        event.alias("__event"), created.alias("__created"), deleted.cast(pl.Boolean).alias("__deleted")
    )


def stored_rows(context: Context, name: str, columns: list[str] | None = None) -> pl.DataFrame:
    """Return all rows of a source from history: the user's columns and the `SYSTEM` ones.

    A row-wise transformation is computed from its input's rows, whose times and sequence it keeps.

    Raises:
        NotFoundError: If the source was never ingested.
    """
    source = context.definitions.get(SourceSpec, name)
    if source.row_wise:
        parent = stored_rows(context, source.inputs[0])
        result = run_transformation(context, source, {source.inputs[0]: parent})
        missing = [column for column in SYSTEM if column not in result.columns]
        if missing:
            raise DataError(
                f"row-wise transformation {name!r} drops {', '.join(missing)}, so its rows have lost their times",
                hint="keep all columns: `select *, ...` in SQL, with_columns or filter in Polars; or leave row_wise out",
            )
        return result
    return _read_segments(context, source, columns)


def _read_segments(context: Context, source: SourceSpec, columns: list[str] | None) -> pl.DataFrame:
    from tinymlops.stores import segments

    environment = context.environment
    rows = environment.database.list(Segment, where={"source": source.name, "dead_at": None}, order="id")
    state = environment.database.get(SourceState, source=source.name)
    if state is None:
        raise NotFoundError(
            f"source {source.name!r} was never ingested", hint=f"run ws.ingest() or: tinymlops ingest {source.name}"
        )
    if not rows:
        return _empty(state)
    directory = environment.segments_dir / source.name
    return segments.read([(directory / row.sha256, row.base) for row in rows], columns)


def _empty(state: SourceState) -> pl.DataFrame:
    """Return no rows with the columns that a source was last read with."""
    import polars as pl

    schema = {name: parse_dtype(dtype) for name, dtype in state.columns.items()}
    ours = {name: pl.Boolean() if name == "__deleted" else pl.Int64() for name in SYSTEM}
    return pl.DataFrame(schema={**schema, **ours})


def _require_columns(frame: pl.DataFrame, source: SourceSpec) -> None:
    for role, column in (
        ("timestamp", source.timestamp),
        ("id", source.id),
        ("created", source.created),
        ("delay", source.delay_column),
        *(("keys", column) for column in source.keys.values()),
    ):
        if column is not None and column not in frame.columns:
            raise DataError(
                f"source {source.name!r} has no column {column!r}, which its {role}= names",
                hint=near(column, frame.columns),
            )
    reserved = [column for column in frame.columns if column.startswith("__")]
    if reserved:
        raise DataError(
            f"source {source.name!r} has columns {reserved}", hint="names that begin with __ are ours: rename them"
        )
