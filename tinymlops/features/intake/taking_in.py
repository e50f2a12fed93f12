"""Check the rows that a source returned, before they are compared: which of them count, and what to warn about."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import DataError
from tinymlops.features.columns import check_readers
from tinymlops.features.compute.deletes import refuse_deletes
from tinymlops.features.definitions import specs
from tinymlops.features.history.corrections import Commits
from tinymlops.features.history.counted import SHOWN_ROWS, available, entity_keys, with_event_time
from tinymlops.features.history.generations import (
    Judgement,
    generations_of,
    how_to_rebuild,
    judge,
    place_of,
)
from tinymlops.features.history.stored import live_segments, state_of, stored_batches
from tinymlops.features.intake.changes import Changes, History, matched_by
from tinymlops.features.intake.computable import require_computable
from tinymlops.features.intake.row_wise import check_row_wise
from tinymlops.stores.lookup import Lookup

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import SourceState

__all__ = [
    "TakenIn",
    "entity_keys",
    "history_for",
    "judged_now",
    "never_known",
    "refuse_other_dating",
    "refuse_other_rows",
    "take_in",
    "tell_of_ids",
    "with_event_time",
]

_SMALL = 4
"""A read is small beside a history of so many times its rows: finding their ids costs less than it saves."""


class TakenIn(NamedTuple):
    """The result of a read of a source."""

    rows: pl.DataFrame
    timeless: pl.Series
    """The numbers of rows without an event time, which were left out."""
    held_back: int
    ahead: int
    """Rows dated later than the clock."""


def take_in(context: Context, source: SourceSpec, frame: pl.DataFrame) -> TakenIn:
    """Leave out the rows that do not count yet, and refuse rows that could not be read later.

    Args:
        context: The workspace's state.
        source: The source.
        frame: Its rows, with their times.

    Raises:
        DataError: If rows are deletes that name no event.
        DefinitionError: If a definition that reads the source does not fit its columns.
    """
    frame, timeless = with_event_time(frame, source)
    frame, held_back = available(context, frame, source)
    refuse_deletes(context.definitions, source, frame)
    _check_readers(context, source, frame)
    check_row_wise(context, source, frame)
    require_computable(context, source, frame)
    return TakenIn(frame, timeless, held_back, _ahead(context, source, frame))


def judged_now(context: Context, source: SourceSpec, state: SourceState | None = None) -> Judgement:
    """Compare a source's definition with the one that its stored rows were read and dated by."""
    state = state if state is not None else state_of(context, source.name)
    if state is None or not state.rows or state.definition == specs.fingerprint(source):
        return Judgement((), query=False)
    database = context.environment.database
    found = generations_of(database, place_of(database, source.name), state)
    return judge(source, found[-1] if found else None, state.columns)


def refuse_other_dating(source: SourceSpec, judged: Judgement) -> None:
    """Refuse to add rows to others that were dated or identified differently.

    Raises:
        DataError: If the definition differs from the one that the rows were stored by.
    """
    if judged.dating:
        raise DataError(
            f"the {' and '.join(judged.dating)} of source {source.name!r} changed under its stored rows",
            hint=how_to_rebuild(source.name),
        )


def refuse_other_rows(source: SourceSpec, changes: Changes, rows: pl.DataFrame) -> None:
    """Refuse rows that differ from known ones because the query changed: they are not corrections.

    Raises:
        DataError: If a changed query or function returns other rows for known events, or for the same time.
    """
    fresh = changes.rows.height
    if source.id is None and changes.unmatched and fresh:
        what = f"of {rows.height:,} rows {fresh:,} are new and {changes.unmatched:,} stored ones of their time are gone"
    elif source.id is not None and changes.corrected:
        what = f"{changes.corrected:,} of the rows it gives differ from the stored ones of the same {source.id!r}"
    else:
        return
    raise DataError(
        f"source {source.name!r} is read by another {'function' if source.via == 'function' else 'query'} now, and {what}",
        hint=f"these are not corrections: {how_to_rebuild(source.name)}",
    )


def history_for(
    context: Context, source: SourceSpec, state: SourceState, frame: pl.DataFrame, *, whole: bool
) -> History:
    """Return a source's live rows, to compare a read with.

    Args:
        context: The workspace's state.
        source: The source.
        state: The state of its rows.
        frame: The read. Where it is small beside history, only the rows of its ids, or without ids those that may be equal
            to one of it, are compared with it.
        whole: Whether rows matter that are not in the read.
    """
    environment = context.environment
    database, place = environment.database, place_of(environment.database, source.name)
    undated = any(one.corrections and not one.dated for one in live_segments(context, source.name))
    commits = Commits(database, place) if undated else None
    among = None
    matched = None if whole or frame.height * _SMALL > state.rows else matched_by(frame, state.all_schemas, source)
    if matched is not None:
        among = Lookup(matched, environment.indexes_dir / place, environment.tmp, exact=source.id is not None)
    return History(lambda: stored_batches(context, source.name, among=among), state.all_schemas, commits)


def never_known(frame: pl.DataFrame, source: SourceSpec) -> int:
    """Count the rows without the created time that their source declares."""
    return frame["__created"].null_count() if source.created is not None else 0


def tell_of_ids(source: SourceSpec, rows: pl.DataFrame, changes: Changes) -> None:
    """Warn if rows of one read share an id and some of them are stored: each is a version of one event."""
    if source.id is None or source.created is not None or "deleted" in rows.columns:
        return  # a change log is meant to repeat ids
    if not changes.rows.height or rows[source.id].n_unique() == rows.height:
        return
    stored = changes.rows.select(pl.col(source.id).drop_nulls().unique())
    among = rows.select(source.id).join(stored, on=source.id, how="semi")
    if among[source.id].n_unique() == among.height:
        return
    counted = among.group_by(source.id).len().filter(pl.col("len") > 1)
    counted = counted.sort("len", source.id, descending=[True, False])
    shown = ", ".join(f"{value!r} ({count} rows)" for value, count in counted.head(SHOWN_ROWS).iter_rows())
    more = f" and {counted.height - SHOWN_ROWS:,} more" if counted.height > SHOWN_ROWS else ""
    warn(
        f"source {source.name!r}: id={source.id!r} is not unique in what was read: {shown}{more}. Each row counts as a "
        "version of the event before it with that id; if they are events of their own, name another column or leave id out"
    )


def _ahead(context: Context, source: SourceSpec, frame: pl.DataFrame) -> int:
    ahead = frame["__event"] > context.now()
    count = int(ahead.sum())
    if count and source.timestamp is not None:
        row = ahead.arg_true()[0]
        warn(
            f"source {source.name!r}: {count:,} of {frame.height:,} rows are dated later than now, such as row {row} with "
            f"{source.timestamp} {frame[source.timestamp][row]}: they are stored, but labels and `since` ignore them"
        )
    return count


def _check_readers(context: Context, source: SourceSpec, frame: pl.DataFrame) -> None:
    """Check the definitions that read a source against the columns of its rows, when these are seen for the first time."""
    state = state_of(context, source.name)
    new = {name: frame.schema[name] for name in frame.columns if not name.startswith("__")}
    if state is None:
        check_readers(context, source, new)
    elif state.definition != specs.fingerprint(source) or new.keys() - state.columns.keys():
        from tinymlops.schema import parse_dtype

        check_readers(context, source, {**{k: parse_dtype(v) for k, v in state.columns.items()}, **new})
