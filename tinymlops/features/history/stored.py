"""The rows of a source from history: as of now or of a sequence, with the times that its definition reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops._widening import widened
from tinymlops.errors import DataError, NotFoundError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.corrections import Commits, with_observed_times
from tinymlops.features.history.generations import place_of, span_of
from tinymlops.features.history.in_place import columns_in_place, read_in_place
from tinymlops.features.history.payloads import read_pushed
from tinymlops.features.history.row_order import own_schema
from tinymlops.features.history.source_times import times_of
from tinymlops.features.history.sources import SYSTEM, run_transformation
from tinymlops.records import PushedRow, Segment, SourceState
from tinymlops.registry.history import segments_after, was_ingested
from tinymlops.registry.pushes import places_pushed_after, pushed_rows
from tinymlops.schema import parse_dtype
from tinymlops.times import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.history.generations import Span
    from tinymlops.frames import Role
    from tinymlops.stores.lookup import Lookup

__all__ = [
    "Rebuilt",
    "columns_now",
    "current_rows",
    "final_versions",
    "known_columns",
    "live_segments",
    "newest_progress",
    "newest_rebuild",
    "newest_sequence",
    "require_past",
    "segments_of",
    "since_of",
    "sources_after",
    "state_of",
    "stored_batches",
    "stored_rows",
]

_PATIENCE = 60.0
_GREATEST = 2**63 - 1


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

    A row-wise transformation is computed from its input's rows, whose times and sequence it keeps. `__created` is the time
    that the source's definition uses: null where it uses none.

    Args:
        context: The workspace's state.
        name: The source's name.
        columns: The user's columns to read; None for all.
        after: Only rows with a greater sequence.
        as_of: Only rows with a sequence up to this one, with the types they had then; for a rebuilt source, the rows
            in force then. None for those of now.
        role: Whether event times are those of facts, or of a spine or of outcomes: dates and nanoseconds are then read
            as their beginning, so that no row is its own outcome.

    Raises:
        NotFoundError: If the source was never ingested, or the rows in force then are no longer kept.
        DataError: If the rows were stored by another definition of the source, which dates them differently.
    """
    source = context.definitions.get(SourceSpec, name)
    if source.row_wise:
        return _row_wise(context, source, after=after, as_of=as_of, role=role)
    if source.in_place:
        return _in_place(context, source, columns, as_of=as_of, role=role)
    part = _Part(context, source, as_of)
    known = part.columns()
    dated = source.timestamp if role == "spine" and source.timestamp and _spans(known[source.timestamp]) else None
    needs = [dated, source.id if part.lacks_times else None]
    wanted = columns if columns is None else list(dict.fromkeys([*columns, *(name for name in needs if name)]))
    # First the pushed rows: a row that moves into a segment meanwhile is then read twice at most, and never missed.
    pushed = part.pushed(known, wanted, after)
    stored = part.segments(wanted, after)
    if stored is not None and pushed is not None:
        pushed = _without(pushed, stored)
    rows = _together([one for one in (stored, pushed) if one is not None], known, wanted)
    rows = part.as_known(rows)
    if dated is not None:
        rows = rows.with_columns(times_of(rows[dated], source, role=role).alias("__event"))
    return rows if columns is None else rows.select(*columns, *SYSTEM)


def _in_place(
    context: Context, source: SourceSpec, columns: list[str] | None, *, as_of: int | None, role: Role
) -> pl.DataFrame:
    rows = read_in_place(context, source, as_of=as_of).rows
    rows = _together([rows], own_schema(rows), None)
    if role == "spine" and source.timestamp is not None:
        rows = rows.with_columns(times_of(rows[source.timestamp], source, role=role).alias("__event"))
    return rows if columns is None else rows.select(*columns, *SYSTEM)


def _row_wise(context: Context, source: SourceSpec, *, after: int, as_of: int | None, role: Role) -> pl.DataFrame:
    from tinymlops.features.compute.evaluating import all_finite

    parent = stored_rows(context, source.inputs[0], after=after, as_of=as_of, role=role)
    result = run_transformation(context, source, {source.inputs[0]: parent})
    missing = [column for column in SYSTEM if column not in result.columns]
    if missing:
        raise DataError(
            f"row-wise transformation {source.name!r} drops {', '.join(missing)}, so its rows have lost their times",
            hint="keep all columns: `select *, ...` in SQL, with_columns or filter in Polars; or leave row_wise out",
        )
    return all_finite(result)


class _Part:
    """The part of a source's history that one definition reads, as of a sequence."""

    def __init__(self, context: Context, source: SourceSpec, as_of: int | None) -> None:
        self._context, self._source, self._as_of = context, source, as_of
        database = context.environment.database
        self._place = place_of(database, source.name)
        self._state = database.get(SourceState, source=self._place)
        self._span = span_of(database, source, self._place, self._state, as_of=as_of)
        self._segments = _segments(context, source, self._place, self._span, as_of)

    @property
    def lacks_times(self) -> bool:
        """Whether some later versions were stored without the time from which they count."""
        observed = self._source.knowledge == "observed" and self._source.id is not None
        return observed and any(one.corrections and not one.dated for one in self._segments)

    def columns(self) -> dict[str, str]:
        """Return the columns that the rows can have, and their dtypes."""
        return known_columns(self._source, self._state, as_of=self._as_of)

    def segments(self, columns: list[str] | None, after: int) -> pl.DataFrame | None:
        """Return rows from files."""
        return _read_segments(self._context, self._place, self._newest, columns, after, self._as_of)

    def _newest(self) -> Sequence[Segment]:
        """List the files anew: since the first look, rows may have moved into another one, and `gc` removed some."""
        database = self._context.environment.database
        state = database.get(SourceState, source=self._place)
        span = span_of(database, self._source, self._place, state, as_of=self._as_of)
        if span != self._span:  # the rows of another generation have other times
            return self._segments
        return _segments(self._context, self._source, self._place, span, self._as_of)

    def pushed(self, known: Mapping[str, str], columns: list[str] | None, after: int) -> pl.DataFrame | None:
        """Return pushed rows that are in the database; those of an ended generation are in files."""
        if self._span.ends is not None:
            return None
        database, after = self._context.environment.database, max(after, self._span.begins)
        rows = read_pushed(database, self._place, known, after=after, up_to=self._as_of)
        if not rows.height:
            return None
        return rows if columns is None else rows.select(*columns, *SYSTEM)

    def as_known(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Set `__created` to the time that the definition uses."""
        import polars as pl

        if self._source.knowledge == "latest":
            return rows.with_columns(pl.lit(None, pl.Int64).alias("__created"))
        if self.lacks_times:
            return with_observed_times(rows, self._source, Commits(self._context.environment.database, self._place))
        return rows


def _spans(dtype: str) -> bool:
    """Return whether a time of a type is not exactly a microsecond: it is read as its beginning or its end."""
    return dtype == "Date" or dtype.startswith("Datetime[ns")


def stored_batches(context: Context, name: str, *, among: Lookup | None = None) -> Iterator[pl.DataFrame]:
    """Read the rows of a source that is not a transformation as they are stored, some at a time.

    Args:
        context: The workspace's state.
        name: The source's name.
        among: Of the rows in files only those that have one of these values; None for all.

    There is at least one frame, so that the columns are known. Columns and types are those of each file, and `__created`
    is null where none was stored.
    """
    from tinymlops.stores import segments

    source = context.definitions.get(SourceSpec, name)
    database = context.environment.database
    place = place_of(database, name)
    known = known_columns(source, database.get(SourceState, source=place))
    pushed = read_pushed(database, place, known)
    yield _together([pushed] if pushed.height else [], known, None)
    directory = context.environment.segments_dir / place
    with context.environment.gc_lock.shared(deadline=_PATIENCE):
        for one in live_segments(context, name):
            for batch in segments.batches(directory / one.sha256, one.base, among=among):
                yield _without(batch, pushed)


def current_rows(
    context: Context,
    name: str,
    columns: list[str] | None = None,
    *,
    as_of: int | None = None,
    role: Role = "feature",
) -> pl.DataFrame:
    """Return the rows that are the facts by now, in order of sequence: final versions, without what was deleted.

    Args:
        context: The workspace's state.
        name: The source's name.
        columns: The user's columns to read, its id among them; None for all.
        as_of: Use the rows up to this sequence; None for all.
        role: As for `stored_rows`.
    """
    import polars as pl

    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, name))
    rows = final_versions(stored_rows(context, name, columns, as_of=as_of, role=role), source)
    return rows.filter(~pl.col("__deleted")).sort("__sequence")


def final_versions(rows: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Return of each event only the version that stands, which may be its delete; rows without an id stand as they are.

    Args:
        rows: With the source's id, and the `SYSTEM` columns.
        source: The source that the times and ids are of.
    """
    import polars as pl

    if source.id is not None and rows[source.id].drop_nulls().is_duplicated().any():
        final = rows.sort("__created", "__sequence", nulls_last=False).unique(source.id, keep="last")
        rows = pl.concat([final.filter(pl.col(source.id).is_not_null()), rows.filter(pl.col(source.id).is_null())])
    return rows


def since_of(context: Context, source: SourceSpec) -> datetime | None:
    """Return the `since` of an incremental read: the greatest cursor in history less the lookback.

    A cursor later than the clock of its own ingest does not count.

    Returns:
        None if history is empty, or the function does not take `since`.
    """
    import polars as pl

    database = context.environment.database
    place = place_of(database, source.name)
    if not source.takes_since or database.get(SourceState, source=place) is None:
        return None
    assert source.cursor is not None, "a function of since has a cursor"
    if source.cursor == source.timestamp:
        progress = newest_progress(context, source.name)  # which is kept of each file
        return None if progress is None else from_micros(progress - source.lookback)
    rows = stored_rows(context, source.name, [source.cursor])
    cursors = times_of(rows[source.cursor], source)
    newest = cursors.filter(cursors <= pl.Series(Commits(database, place).times_of(rows["__sequence"]))).max()
    return from_micros(newest - source.lookback) if isinstance(newest, int) else None


def state_of(context: Context, name: str) -> SourceState | None:
    """Return the state of a source's stored rows; None if it has none, or is read in place, whatever was stored before."""
    if _is_in_place(context, name):
        return None
    database = context.environment.database
    return database.get(SourceState, source=place_of(database, name))


def columns_now(context: Context, source: SourceSpec) -> dict[str, str]:
    """Return the columns that a source's rows have now, and their dtypes, as `known_columns` does.

    Raises:
        NotFoundError: If the source was never ingested.
    """
    return (
        columns_in_place(context, source) if source.in_place else known_columns(source, state_of(context, source.name))
    )


def _is_in_place(context: Context, name: str) -> bool:
    source = context.definitions.of(SourceSpec).get(name)
    return source is not None and source.in_place


def known_columns(source: SourceSpec, state: SourceState | None, *, as_of: int | None = None) -> dict[str, str]:
    """Return the columns that a source's rows can have, and their dtypes; for a source of pushes, in payload order.

    Args:
        source: The source.
        state: The state of its rows.
        as_of: The types of the rows up to this sequence, which may have been narrower; None for all.

    Raises:
        NotFoundError: If the source was never ingested.
    """
    if state is None and source.via != "push":
        raise NotFoundError(
            f"source {source.name!r} was never ingested", hint=f"run ws.ingest() or: tinymlops ingest {source.name}"
        )
    columns = {} if state is None else state.columns
    if state is not None and as_of is not None and len(state.schemas) > 1:
        then = [schema for schema in state.schemas if schema.after < as_of] or state.schemas[:1]
        columns = {**then[-1].columns, **{name: columns[name] for name in columns if name not in then[-1].columns}}
    return {**columns, **{name: dtype for name, dtype in source.columns.items() if name not in columns}}


def live_segments(context: Context, name: str) -> list[Segment]:
    """Return the segments that hold a source's current rows, oldest first; none of one that is read in place."""
    if _is_in_place(context, name):
        return []
    database = context.environment.database
    return database.list(Segment, where={"source": place_of(database, name), "dead_at": None}, order="id")


def segments_of(context: Context, source: SourceSpec, *, as_of: int | None = None) -> list[Segment]:
    """Return the segments that a definition reads, oldest first: the live ones, or those of an ended generation.

    Args:
        context: The workspace's state.
        source: The definition.
        as_of: As of this sequence; None for now.
    """
    if source.in_place:
        return []
    database = context.environment.database
    place = place_of(database, source.name)
    span = span_of(database, source, place, database.get(SourceState, source=place), as_of=as_of)
    return _segments(context, source, place, span, as_of)


class Rebuilt(NamedTuple):
    """When the rows of a rebuilt transformation were computed, and from what."""

    sequence: int
    """`Q` of its inputs."""
    at: int
    """Microseconds UTC."""


def newest_rebuild(context: Context, name: str, *, as_of: int | None = None) -> Rebuilt | None:
    """Return when a rebuilt source's rows were computed; None for any other source, or one that was never computed.

    Args:
        context: The workspace's state.
        name: The source's name.
        as_of: The rows in force at this sequence; None for those of now.
    """
    source = context.definitions.get(SourceSpec, name)
    found = segments_of(context, source, as_of=as_of) if source.inputs and not source.row_wise else []
    if not found or found[-1].covers is None:
        return None
    return Rebuilt(found[-1].covers, to_micros(found[-1].created_at))


def newest_sequence(context: Context, name: str) -> int | None:
    """Return the greatest sequence of a source's rows: 0 if it has none, None if it was never ingested.

    A row-wise transformation has its input's rows. Those that are read in place have none of the workspace's sequences.
    """
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, name))
    if source.in_place:
        return 0
    database = context.environment.database
    place = place_of(database, source.name)
    if source.via != "push" and database.get(SourceState, source=place) is None:
        return None
    pushed = database.list(PushedRow, where={"source": place}, order="-n", limit=1)
    return max([0, *(row.n for row in pushed), *(segment.last for segment in live_segments(context, source.name))])


def newest_progress(context: Context, name: str, *, as_of: int | None = None) -> int | None:
    """Return the greatest event time of a source's rows up to a sequence that was not later than its commit's clock.

    Returns:
        Microseconds UTC; None if there is none.
    """
    import polars as pl

    bound = _GREATEST if as_of is None else as_of
    source = context.definitions.get(SourceSpec, name)
    if source.in_place:
        dated = read_in_place(context, source, as_of=as_of).rows["__event"]
        last: Any = dated.filter(dated <= context.now()).max()
        return None if last is None else int(last)
    database = context.environment.database
    place = place_of(database, name)
    span = span_of(database, source, place, database.get(SourceState, source=place), as_of=as_of)
    # Every row, not only the greatest: that one may be damaged.
    pushed = pushed_rows(database, place, up_to=bound) if span.ends is None else []
    events: list[int | None] = [row.event for row in pushed if row.event is not None and row.event <= row.created]
    # From the list until the files are read, neither a compaction may replace a row's file nor `gc` remove it.
    with context.environment.gc_lock.shared(deadline=_PATIENCE):
        found = [one for one in _segments(context, source, place, span, as_of) if one.base < bound]
        unclear = [one for one in found if one.last > bound or _progress_is_unknown(one)]
        events += [_told_progress(one) for one in found if one not in unclear]
        rows = _read_segments(context, place, lambda: unclear, [], 0, as_of)
    if rows is not None:
        times = Commits(database, place).times_of(rows["__sequence"])
        newest: Any = rows["__event"].filter(rows["__event"] <= pl.Series(times)).max()
        events.append(newest)
    return max((event for event in events if event is not None), default=None)


def _told_progress(segment: Segment) -> int | None:
    """Return the greatest event time that was not later than its commit's clock, as the segment's row tells it."""
    newest = segment.max_event
    if segment.progress is None and newest is not None and newest <= to_micros(segment.created_at):
        return newest  # stored before schema 3
    return segment.progress


def _progress_is_unknown(segment: Segment) -> bool:
    return _told_progress(segment) is None and segment.max_event is not None and not segment.dated


def require_past(context: Context, as_of: int | None) -> int | None:
    """Return a sequence that a user asks for, if the workspace has reached it.

    Raises:
        DataError: If it is not a sequence, or is not reached yet.
    """
    if as_of is None:
        return None
    newest = context.environment.database.sequence()
    if isinstance(as_of, bool) or not isinstance(as_of, int) or not 0 <= as_of <= newest:
        raise DataError(
            f"as_of={as_of!r} is not a sequence of this workspace, which has come to {newest}",
            hint="answers, pushes, ingests and training sets name theirs: Q, or `sequence`",
        )
    return as_of


def sources_after(context: Context, sequence: int) -> set[str]:
    """Return the places of the sources that have rows of a greater sequence."""
    database = context.environment.database
    ingested = {segment.source for segment in segments_after(database, sequence)}
    return places_pushed_after(database, sequence) | ingested


def _segments(context: Context, source: SourceSpec, place: str, span: Span, as_of: int | None) -> list[Segment]:
    """Return the segments that hold a source's rows of a generation up to a sequence, and maybe later ones."""
    database = context.environment.database
    if source.inputs and (as_of is not None or span.ends is not None):
        bound = min(_GREATEST if as_of is None else as_of, _GREATEST if span.ends is None else span.ends - 1)
        every = database.list(Segment, where={"source": place}, order="id")
        found = [one for one in every if one.last <= bound and (one.until is None or bound < one.until)]
        gone = not found and was_ingested(database, place, up_to=bound)
    elif span.ends is not None:
        found = database.list(Segment, where={"source": place, "until": span.ends}, order="id")
        gone = not found
    else:
        return database.list(Segment, where={"source": place, "dead_at": None}, order="id")
    if gone:
        raise NotFoundError(
            f"the rows that {'transformation' if source.inputs else 'source'} {source.name!r} had "
            f"{'before it was rebuilt' if as_of is None else f'at Q={as_of}'} are no longer kept",
            hint="gc keeps those that a training set or a logged prediction has read, and all rows for its grace period",
        )
    return found


def _read_segments(
    context: Context,
    place: str,
    listed: Callable[[], Sequence[Segment]],
    columns: list[str] | None,
    after: int,
    as_of: int | None,
) -> pl.DataFrame | None:
    import polars as pl

    from tinymlops.stores import segments

    # From the list until the files are read, `gc` must not remove one of them.
    with context.environment.gc_lock.shared(deadline=_PATIENCE):
        wanted = [one for one in listed() if one.last > after and (as_of is None or one.base < as_of)]
        if not wanted:
            return None
        directory = context.environment.segments_dir / place
        rows = segments.read([(directory / one.sha256, one.base) for one in wanted], columns)
    if after and min(one.base for one in wanted) < after:
        rows = rows.filter(pl.col("__sequence") > after)
    if as_of is not None and max(one.last for one in wanted) > as_of:
        rows = rows.filter(pl.col("__sequence") <= as_of)
    return rows


def _without(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Leave out rows whose sequence is one of the others'."""
    if not rows.height or not others.height or not _may_share(rows["__sequence"], others["__sequence"]):
        return rows
    return rows.join(others.select("__sequence"), on="__sequence", how="anti", maintain_order="left")


def _may_share(some: pl.Series, others: pl.Series) -> bool:
    first, last = others.min(), others.max()
    assert isinstance(first, int), "every stored row has a sequence"
    assert isinstance(last, int), "every stored row has a sequence"
    return bool(some.is_between(first, last).any())


def _together(parts: list[pl.DataFrame], known: Mapping[str, str], columns: list[str] | None) -> pl.DataFrame:
    """Join rows from files and from pushes, of the known types; a known column that they do not have is null."""
    import polars as pl

    wanted = {name: parse_dtype(dtype) for name, dtype in known.items() if columns is None or name in columns}
    if not parts:
        ours = {name: pl.Boolean() if name == "__deleted" else pl.Int64() for name in SYSTEM}
        return pl.DataFrame(schema={**wanted, **ours})
    parts = [_of_types(part, wanted) for part in parts]
    rows = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal")
    return rows.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in wanted.items() if name not in rows.columns
    )


def _of_types(rows: pl.DataFrame, wanted: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Cast columns to their known types; as of a sequence these may be narrower."""
    others = [name for name, dtype in wanted.items() if name in rows.columns and rows.schema[name] != dtype]
    return rows.with_columns(widened(rows[name], wanted[name]) for name in others) if others else rows
