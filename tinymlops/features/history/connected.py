"""Read a source whose rows are in a database of others: what is new since the last read, in one snapshot."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from tinymlops._warn import warn
from tinymlops.connectors.addresses import address_of
from tinymlops.connectors.connector import Asked
from tinymlops.connectors.opening import connector_of
from tinymlops.features.history.generations import place_of, query_of
from tinymlops.features.history.source_times import times_of
from tinymlops.records import SourceCursor
from tinymlops.schema import parse_dtype
from tinymlops.times import from_micros, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import polars as pl

    from tinymlops.connectors.connector import Connector, Read, ReadFile
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import SourceState

__all__ = ["Connected", "columns_of", "connector_for", "read_connection"]

_NAMED = 10_000
"""The most rows that are asked for by their ids."""
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR


class Connected(NamedTuple):
    """What one snapshot of the database holds."""

    frame: pl.DataFrame
    present: pl.Series | None
    """Every id that is there, where deletions are looked for."""
    cursor: SourceCursor | None
    """What is to be remembered with the rows; None for a source without a cursor."""
    files: tuple[ReadFile, ...] = ()
    """The files that they are from, of a source that is read in place."""


def connector_for(context: Context, source: SourceSpec) -> Connector:
    """Return what reads a source's database.

    Raises:
        NotFoundError: If `tinymlops.toml` has no such connection, or its URL is not there.
    """
    assert isinstance(source.connection, str), "asked of a source with a connection"
    address = address_of(source.connection, context.config.connections, context.root)
    return connector_of(address, timeout=parse_duration(context.config.sql.ingest_timeout, name="ingest_timeout"))


def columns_of(context: Context, source: SourceSpec) -> dict[str, pl.DataType] | None:
    """Return the columns of a source's table or SELECT, without reading a row; None if only rows tell a type."""
    found = connector_for(context, source).columns(str(source.query), _times(source))
    usual = dict.fromkeys(_times(source), _usual_time(source))
    typed = {name: usual.get(name) if dtype is None else dtype for name, dtype in found.items()}
    known = {name: dtype for name, dtype in typed.items() if dtype is not None}
    return known if len(known) == len(found) else None


def read_connection(
    context: Context,
    source: SourceSpec,
    state: SourceState | None = None,
    *,
    full: bool = True,
    stored: Callable[[], pl.Series] | None = None,
) -> Connected:
    """Read a source's rows: those since the last read, or all.

    Args:
        context: The workspace's state.
        source: A source with a connection.
        state: Of the rows that history has; None if it has none.
        full: Read all rows and all ids.
        stored: Gives the ids of the rows that history has now: where all ids are read, rows that are there and not here are
            read too, whatever their cursor is.

    Raises:
        UnavailableError: If the database cannot be reached, or goes away meanwhile.
        AccessError: If it refuses the user.
        DefinitionError: If a table or a column does not exist.
        DataError: If values cannot be read.
    """
    connector, known = connector_for(context, source), _known(context, source)
    since = None if full or state is None or context.replays else _since(source, state, known)
    asked = Asked(
        text=str(source.query),
        cursor=source.cursor,
        since=since,
        ids=source.id if (full and not source.in_place) or source.snapshot_deletes is True else None,
        zone=source.tz or "UTC",
        times=_times(source),
        hashes=source.in_place,
    )
    read = connector.read(asked)
    if since is not None and state is not None and set(read.frame.columns) - state.columns.keys():
        since = None  # a new column has values in rows that did not change otherwise
        read = connector.read(asked._replace(since=None))
    if since is not None and read.ids is not None and stored is not None:
        also = _missed(read.frame[read.ids.name], read.ids, stored())
        if also is None or also:
            # In another snapshot, whole: rows and ids are of one.
            read = connector.read(asked._replace(since=None) if also is None else asked._replace(also=also))
    if read.unknown:
        warn(
            f"source {source.name!r}: {read.unknown}, so its cursor stays where it is and the next ingest reads "
            f"{'all rows' if known is None or known.floor is None else 'from there'} again; {read.hint}"
        )
    frame = _typed(read.frame, source, state)
    return Connected(frame, read.ids, _next(context, source, frame, read, known), read.files)


def _missed(read: pl.Series, there: pl.Series, stored: pl.Series) -> tuple[int | str, ...] | None:
    """Return the ids that the database has, and neither this read nor history; None for too many to name, or of an odd type."""
    import polars as pl

    ids = there.to_frame("id").join(read.to_frame("id"), on="id", how="anti")
    ids = (
        ids.with_columns(pl.col("id").cast(stored.dtype)).join(stored.to_frame("id"), on="id", how="anti").drop_nulls()
    )
    found = tuple(ids["id"].unique(maintain_order=True).to_list())
    if len(found) > _NAMED or not all(isinstance(one, int | str) for one in found):
        return None
    return found


def _times(source: SourceSpec) -> tuple[str, ...]:
    """Return the columns that hold times by their role."""
    return tuple(name for name in (source.timestamp, source.created, source.cursor) if name)


def _usual_time(source: SourceSpec) -> pl.DataType:
    """Return the type of a time where nothing tells it."""
    import polars as pl

    return pl.Datetime("us", None if source.tz else "UTC")


def _reads(source: SourceSpec) -> str:
    said = (str(source.connection), query_of(source), source.cursor or "", source.tz or "")
    return hashlib.sha256("\0".join(said).encode()).hexdigest()


def _known(context: Context, source: SourceSpec) -> SourceCursor | None:
    """Return how far the source was read by this definition."""
    database = context.environment.database
    found = database.get(SourceCursor, source=place_of(database, source.name))
    return found if found is not None and found.reads == _reads(source) else None


def _since(source: SourceSpec, state: SourceState, known: SourceCursor | None) -> datetime | None:
    """Return where a read begins; None for all rows."""
    if known is None or known.floor is None or known.greatest is None or source.cursor is None:
        return None
    dtype = state.columns.get(source.cursor, "")
    coarse = _DAY if dtype == "Date" else _HOUR if "," not in dtype and source.tz not in (None, "UTC") else 0
    return from_micros(max(min(known.floor, known.greatest) - source.lookback - coarse, 0))


def _next(
    context: Context, source: SourceSpec, frame: pl.DataFrame, read: Read, known: SourceCursor | None
) -> SourceCursor | None:
    """Return what this read saw; one that cannot say its floor leaves the last one."""
    if source.cursor is None or context.replays:
        return None
    now, before = context.clock(), None if known is None else known.greatest
    cursors = times_of(frame[source.cursor], source) if source.cursor in frame.columns else None
    newest = None if cursors is None else cursors.filter(cursors <= context.now()).max()
    greatest = max((one for one in (before, newest) if isinstance(one, int)), default=None)
    floor = read.floor
    if floor is None and known is not None:
        floor = known.floor
    place = place_of(context.environment.database, source.name)
    return SourceCursor(source=place, reads=_reads(source), greatest=greatest, floor=floor, at=now)


def _typed(frame: pl.DataFrame, source: SourceSpec, state: SourceState | None) -> pl.DataFrame:
    """Give columns without a value the type of history; times, where there is none, that of times."""
    import polars as pl

    nothing = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
    known = {name: parse_dtype(dtype) for name, dtype in ({} if state is None else state.columns).items()}
    usual = dict.fromkeys(_times(source), _usual_time(source))
    return frame.with_columns(pl.col(name).cast(known.get(name, usual.get(name, pl.Null()))) for name in nothing)
