"""The rows of a source, with their times: from its own place (`read_source`) or from history (`stored_rows`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops._time import from_micros, to_micros
from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.payloads import read_pushed
from tinymlops.features.history.record_times import delay_micros, times_of
from tinymlops.frames import to_polars
from tinymlops.records import Ingestion, PushedRow, Segment, SourceState
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.frames import Role

__all__ = [
    "SYSTEM",
    "current_rows",
    "known_columns",
    "live_segments",
    "newest_event",
    "newest_sequence",
    "read_source",
    "require_past",
    "require_same_types",
    "run_transformation",
    "since_of",
    "sources_after",
    "stored_batches",
    "stored_rows",
    "whole_numbers",
    "with_times",
]

SYSTEM = ("__event", "__created", "__sequence", "__deleted")
"""Of every stored row: event and created time (microseconds UTC), workspace sequence, whether it is a delete."""

_SHOWN_ROWS = 5
_PATIENCE = 60.0
_GREATEST = 2**63 - 1


def read_source(context: Context, source: SourceSpec, *, since: datetime | None = None) -> pl.DataFrame:
    """Read a source's rows from where they are: run its SQL or call its function.

    Args:
        context: The workspace's state.
        source: A source with SQL or a function.
        since: For a function that takes it: rows whose cursor is earlier may be left out; None for all.

    Raises:
        DataError: If the source takes pushes: there is nowhere to read it from.
    """
    if source.via == "push":
        raise DataError(
            f"source {source.name!r} takes pushes and cannot be ingested", hint=f"ws.push({source.name!r}, rows)"
        )
    if source.sql is not None:
        return whole_numbers(context.query(source.sql, name=source.name))
    assert source.code is not None, "what is no SQL has code"
    function = context.function(source.name, source.code)
    return whole_numbers(to_polars(function(since) if source.takes_since else function()))


def since_of(context: Context, source: SourceSpec) -> datetime | None:
    """Return what an incremental read passes as `since`: the greatest cursor in history less the lookback.

    Returns:
        None if history holds nothing yet, or the function does not ask.
    """
    state = context.environment.database.get(SourceState, source=source.name)
    if not source.takes_since or state is None:
        return None
    assert source.cursor is not None, "a function of since has a cursor"
    cursors = stored_rows(context, source.name, [source.cursor])[source.cursor]
    newest = times_of(cursors, source).max()
    return from_micros(newest - source.lookback) if isinstance(newest, int) else None


def run_transformation(context: Context, source: SourceSpec, inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Compute a derived source from the rows of its inputs."""
    if source.sql is not None:
        return whole_numbers(context.query(source.sql, inputs, name=source.name))
    assert source.code is not None, "what is no SQL has code"
    function = context.function(source.name, source.code)
    return whole_numbers(to_polars(function(**{name: frame.lazy() for name, frame in inputs.items()})))


def with_times(frame: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Check a source's rows and add `__event`, `__created` and `__deleted`.

    NaN becomes null; a column `deleted` of booleans marks deletes.

    Raises:
        DataError: If a named column is missing, a time has no zone, a value is infinite, or a delay is negative.
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
    if source.delay_column is not None:  # else every later read would fail
        delay_micros(frame[source.delay_column], of=f" of source {source.name!r}")
    if source.cursor is not None:  # else the next ingest would be the first to notice
        times_of(frame[source.cursor], source)
    nothing = pl.Series("", [None], dtype=pl.Int64).new_from_index(0, frame.height)
    event = nothing
    if source.timestamp is not None:
        event = times_of(frame[source.timestamp], source)
    created = nothing
    if source.created is not None:
        created = times_of(frame[source.created], source)
    deleted = pl.lit(value=False)
    if frame.schema.get("deleted") == pl.Boolean:
        deleted = pl.col("deleted").fill_null(value=False)
    return frame.with_columns(
        event.alias("__event"), created.alias("__created"), deleted.cast(pl.Boolean).alias("__deleted")
    )


def require_same_types(source: str, known: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse a column whose type is not the one that history has.

    Args:
        source: The source's name.
        known: Column to dtype in history.
        now: Column to dtype of new rows. A new column is fine, and so is one of nulls.
    """
    for name, dtype in known.items():
        if now.get(name, dtype) not in (dtype, "Null"):
            raise DataError(
                f"column {name!r} of source {source!r} was {dtype} and is now {now[name]}",
                hint=f"cast it to {dtype} in the source, or give the changed column a new name",
            )


def stored_rows(
    context: Context,
    name: str,
    columns: list[str] | None = None,
    *,
    after: int = 0,
    as_of: int | None = None,
    role: Role = "feature",
) -> pl.DataFrame:
    """Return the rows of a source from history: the user's columns and the `SYSTEM` ones.

    A row-wise transformation is computed from its input's rows, whose times and sequence it keeps.

    Args:
        context: The workspace's state.
        name: The source's.
        columns: The user's columns to read; None for all.
        after: Only rows with a greater sequence.
        as_of: Only rows with a sequence up to this one, and of a rebuilt transformation the rows that stood there then;
            None for those of now.
        role: Whether event times say when facts were, or are the moments of a spine or of outcomes: dates and
            nanoseconds are then read as their beginning, so that no row is its own outcome.

    Raises:
        NotFoundError: If the source was never ingested, or a rebuild that stood then is no longer kept.
    """
    source = context.definitions.get(SourceSpec, name)
    if source.row_wise:
        parent = stored_rows(context, source.inputs[0], after=after, as_of=as_of, role=role)
        result = run_transformation(context, source, {source.inputs[0]: parent})
        missing = [column for column in SYSTEM if column not in result.columns]
        if missing:
            raise DataError(
                f"row-wise transformation {name!r} drops {', '.join(missing)}, so its rows have lost their times",
                hint="keep all columns: `select *, ...` in SQL, with_columns or filter in Polars; or leave row_wise out",
            )
        return result
    known = known_columns(source, context.environment.database.get(SourceState, source=name))
    if role == "spine" and source.timestamp is not None and _spans(known[source.timestamp]):
        wanted = columns if columns is None or source.timestamp in columns else [*columns, source.timestamp]
        rows = stored_rows(context, name, wanted, after=after, as_of=as_of)
        rows = rows.with_columns(times_of(rows[source.timestamp], source, role=role).alias("__event"))
        return rows if columns is None else rows.select(*columns, *SYSTEM)
    # First the pushed rows: what moves into a segment meanwhile is then read twice at most, and never missed.
    pushed = _read_pushed(context, source, known, columns, after, as_of)
    stored = _read_segments(context, source, columns, after, as_of)
    if stored is not None and pushed is not None and stored.height and pushed["__sequence"][0] <= _last(stored):
        pushed = pushed.join(stored.select("__sequence"), on="__sequence", how="anti", maintain_order="left")
    return _together([part for part in (stored, pushed) if part is not None], known, columns)


def _spans(dtype: str) -> bool:
    """Say whether times of a type are more or less than a microsecond: they are read as its beginning or its end."""
    return dtype == "Date" or dtype.startswith("Datetime[ns")


def stored_batches(context: Context, name: str) -> Iterator[pl.DataFrame]:
    """Read the rows of a source that is no transformation, some at a time, as `stored_rows` does.

    At least one frame comes, so that the columns are known. A column that is not in all files is missing where it is not.
    """
    from tinymlops.stores import segments

    source = context.definitions.get(SourceSpec, name)
    known = known_columns(source, context.environment.database.get(SourceState, source=name))
    pushed = _read_pushed(context, source, known, None, 0, None)
    yield _together([] if pushed is None else [pushed], known, None)
    directory = context.environment.segments_dir / name
    with context.environment.gc_lock.shared(deadline=_PATIENCE):
        for one in live_segments(context, name):
            yield from segments.batches(directory / one.sha256, one.base)


def current_rows(context: Context, name: str, *, as_of: int | None = None, role: Role = "feature") -> pl.DataFrame:
    """Return the rows that are the facts by now, in order of sequence: final versions, without what was deleted.

    Args:
        context: The workspace's state.
        name: The source's.
        as_of: By the rows up to this sequence; None for all.
        role: As for `stored_rows`.
    """
    import polars as pl

    source = context.definitions.get(SourceSpec, name)
    while source.row_wise:
        source = context.definitions.get(SourceSpec, source.inputs[0])
    rows = stored_rows(context, name, as_of=as_of, role=role)
    if source.id is not None and rows[source.id].null_count() + rows[source.id].n_unique() < rows.height:
        final = rows.sort("__created", "__sequence", nulls_last=False).unique(source.id, keep="last")
        rows = pl.concat([final.filter(pl.col(source.id).is_not_null()), rows.filter(pl.col(source.id).is_null())])
    return rows.filter(~pl.col("__deleted")).sort("__sequence")


def known_columns(source: SourceSpec, state: SourceState | None) -> dict[str, str]:
    """Return the columns that a source's rows can have, and their dtypes; those of a push in payload order.

    Raises:
        NotFoundError: If the source was never ingested: nobody knows.
    """
    if source.via == "push":
        return {**(state.columns if state is not None else {}), **source.columns}
    if state is None:
        raise NotFoundError(
            f"source {source.name!r} was never ingested", hint=f"run ws.ingest() or: tinymlops ingest {source.name}"
        )
    return state.columns


def live_segments(context: Context, name: str) -> list[Segment]:
    """Return the segments that hold a source's rows, oldest first."""
    return context.environment.database.list(Segment, where={"source": name, "dead_at": None}, order="id")


class Rebuilt(NamedTuple):
    """When the rows of a rebuilt transformation were computed, and from what."""

    sequence: int
    """`Q` of its inputs."""
    at: int
    """Microseconds UTC."""


def newest_rebuild(context: Context, name: str) -> Rebuilt | None:
    """Return of when a rebuilt source's rows are; None for a source that is none, or was never computed."""
    live = live_segments(context, name)
    if not live or live[-1].covers is None:
        return None
    return Rebuilt(live[-1].covers, to_micros(live[-1].created_at))


def newest_sequence(context: Context, name: str) -> int | None:
    """Return the greatest sequence of a source's rows: 0 if it has none, None if it was never ingested.

    A row-wise transformation has its input's rows.
    """
    source = context.definitions.get(SourceSpec, name)
    if source.row_wise:
        return newest_sequence(context, source.inputs[0])
    database = context.environment.database
    if source.via != "push" and database.get(SourceState, source=name) is None:
        return None
    pushed = database.list(PushedRow, where={"source": name}, order="-n", limit=1)
    return max([0, *(row.n for row in pushed), *(segment.last for segment in live_segments(context, name))])


def newest_event(context: Context, name: str, *, as_of: int | None = None) -> int | None:
    """Return the greatest event time of a source's rows up to a sequence, microseconds UTC; None if it has none."""
    bound = _GREATEST if as_of is None else as_of
    source = context.definitions.get(SourceSpec, name)
    # Every row, not only the greatest: a damaged one may be it.
    pushed = context.environment.database.select(PushedRow, "WHERE source = ? AND n <= ?", (name, bound))
    live = live_segments(context, name)
    events: list[Any] = [*(row.event for row in pushed), *(one.max_event for one in live if one.last <= bound)]
    if any(one.base < bound < one.last for one in live):
        rows = _read_segments(context, source, [], 0, as_of)
        events.append(None if rows is None else rows["__event"].max())
    return max((event for event in events if event is not None), default=None)


def require_past(context: Context, as_of: int | None) -> int | None:
    """Return a sequence that a user asks for, if the workspace has come that far.

    Raises:
        DataError: If it has not, or it is no sequence.
    """
    if as_of is None:
        return None
    newest = context.environment.database.sequence()
    if isinstance(as_of, bool) or not isinstance(as_of, int) or not 0 <= as_of <= newest:
        raise DataError(
            f"as_of={as_of!r} is no sequence of this workspace, which has come to {newest}",
            hint="answers, pushes, ingests and training sets name theirs: Q, or `sequence`",
        )
    return as_of


def sources_after(context: Context, sequence: int) -> set[str]:
    """Return the sources that have rows of a greater sequence."""
    database = context.environment.database
    pushed = database.stored(PushedRow, "WHERE n > ?", (sequence,))
    ingested = database.select(Segment, "WHERE dead_at IS NULL AND last > ?", (sequence,))
    return {source for _, source, *_ in pushed} | {segment.source for segment in ingested}


def _read_segments(
    context: Context, source: SourceSpec, columns: list[str] | None, after: int, as_of: int | None
) -> pl.DataFrame | None:
    import polars as pl

    from tinymlops.stores import segments

    # Until the files are read, no collection may remove one of them.
    with context.environment.gc_lock.shared(deadline=_PATIENCE):
        found = _segments_at(context, source, as_of)
        wanted = [one for one in found if one.last > after and (as_of is None or one.base < as_of)]
        if not wanted:
            return None
        directory = context.environment.segments_dir / source.name
        rows = segments.read([(directory / one.sha256, one.base) for one in wanted], columns)
    if after and min(one.base for one in wanted) < after:
        rows = rows.filter(pl.col("__sequence") > after)
    if as_of is not None and max(one.last for one in wanted) > as_of:
        rows = rows.filter(pl.col("__sequence") <= as_of)
    return rows


def _segments_at(context: Context, source: SourceSpec, as_of: int | None) -> list[Segment]:
    """Return the segments that hold a source's rows up to a sequence, and maybe later ones."""
    if as_of is None or not source.inputs:
        return live_segments(context, source.name)
    database = context.environment.database
    every = database.list(Segment, where={"source": source.name}, order="id")
    stood = [one for one in every if one.last <= as_of and (one.until is None or as_of < one.until)]
    if not stood and database.select(Ingestion, "WHERE source = ? AND sequence <= ? LIMIT 1", (source.name, as_of)):
        raise NotFoundError(
            f"the rows that transformation {source.name!r} had at Q={as_of} are no longer kept",
            hint="gc keeps those that a training set or a logged prediction has read, and all for its grace",
        )
    return stood


def _read_pushed(
    context: Context,
    source: SourceSpec,
    known: Mapping[str, str],
    columns: list[str] | None,
    after: int,
    as_of: int | None,
) -> pl.DataFrame | None:
    rows = read_pushed(context.environment.database, source.name, known, after=after, up_to=as_of)
    if not rows.height:
        return None
    return rows if columns is None else rows.select(*columns, *SYSTEM)


def _last(rows: pl.DataFrame) -> int:
    newest = rows["__sequence"].max()
    assert isinstance(newest, int), "every stored row has a sequence"
    return newest


def _together(parts: list[pl.DataFrame], known: Mapping[str, str], columns: list[str] | None) -> pl.DataFrame:
    """Join rows from files and from pushes; a known column that they do not have is null."""
    import polars as pl

    wanted = {name: parse_dtype(dtype) for name, dtype in known.items() if columns is None or name in columns}
    if not parts:
        ours = {name: pl.Boolean() if name == "__deleted" else pl.Int64() for name in SYSTEM}
        return pl.DataFrame(schema={**wanted, **ours})
    rows = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal")
    return rows.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in wanted.items() if name not in rows.columns
    )


def whole_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Bring 128-bit integers, such as DuckDB's sums, to 64 where they fit."""
    import polars as pl

    wide = [
        name
        for name, dtype in frame.schema.items()
        if dtype == pl.Int128 or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)
    ]
    narrow = [frame[name].cast(pl.Int64, strict=False) for name in wide]
    return frame.with_columns(series for series in narrow if series.null_count() == frame[series.name].null_count())


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
    reserved = [column for column in frame.columns if column.startswith("__")]
    if reserved:
        raise DataError(
            f"source {source.name!r} has columns {reserved}", hint="names that begin with __ are ours: rename them"
        )
