"""Find what a read of a source adds to history: new rows, corrections, and rows that vanished.

Each id is compared by itself. If it occurs once in a read, its row is compared with its latest version; if several
times, its rows are compared by content with all of its versions; rows without an id are compared by content. Rows are
compared in the columns that they were stored with, so a column added since does not change a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops._widening import widened
from tinymlops.errors import ConflictError
from tinymlops.features.history.moves import marked, with_moves
from tinymlops.features.history.row_order import HASHES, SEEDS, in_order, own_schema, row_hashes
from tinymlops.features.history.source_times import times_of
from tinymlops.kernels.matching import unmatched
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.history.corrections import Commits
    from tinymlops.records import Schema

__all__ = [
    "LEAP",
    "Changes",
    "History",
    "Stored",
    "compared",
    "first",
    "in_order",
    "matched_by",
    "own_schema",
    "require_clock",
    "split_known",
]

LEAP = 86_400_000_000
"""Microseconds that the clock may be behind a version's commit: enough for a wrong hour or zone, not for a wrong date."""

Stored = Callable[[], Iterator[pl.DataFrame]]
"""Reads rows of history, some at a time."""


class History(NamedTuple):
    """The stored rows that a read is compared with."""

    stored: Stored
    schemas: Sequence[Schema]
    """The schemas of the stored rows, oldest first."""
    commits: Commits | None
    """When they were ingested, for versions without the time from which they count; None if all have it."""


class Changes(NamedTuple):
    """The rows to be stored, and counts of the others."""

    rows: pl.DataFrame
    corrected: int = 0
    known: int = 0
    deleted: int = 0
    incomplete: int = 0
    """Known rows, stored before a column was added, for which the read has a value in it."""
    unmatched: int = 0
    """Rows of history, of a source without ids, that are missing in a read with new rows that spans their time; not counted
    unless asked for."""

    @property
    def new(self) -> int:
        """The number of rows whose event is not in history."""
        moved = int(self.rows["__moved"].sum()) if "__moved" in self.rows.columns else 0
        return self.rows.height - moved - self.corrected - self.deleted


def compared(
    frame: pl.DataFrame,
    history: History,
    source: SourceSpec,
    *,
    now: int,
    present: pl.Series | None = None,
    keys: Sequence[str] = (),
    whole: bool = False,
    count_unmatched: bool = False,
) -> Changes:
    """Compare the rows that were read with history.

    Args:
        frame: The rows, with their times.
        history: The source's rows; for most of them only hashes are kept.
        source: The source.
        now: The clock, microseconds UTC: the time at which a row counts as changed, vanished, or back.
        present: Every id at the source, if it was read in full: other ids have vanished.
        keys: The columns that hold keys: a row that changes one is taken back under the old key.
        whole: Take back every changed row, for row-wise transformations that may leave the new row out.
        count_unmatched: Count the rows of history that a read of a source without ids lacks; history must be whole.

    Raises:
        ConflictError: If the clock is far behind the time at which a version of a changed row was stored.
    """
    epochs = _epochs(history.schemas, frame)
    keys = [name for name in keys if name in frame.columns]
    read = [_version(batch, frame, source, epochs, keys) for batch in history.stored()]
    versions = pl.concat(read)
    if source.id is None:
        fresh, incomplete = _fresh(frame, versions, epochs)
        unread = _unmatched_in_time(frame, versions, epochs) if count_unmatched and fresh.height else 0
        return Changes(fresh, 0, frame.height - fresh.height, incomplete=incomplete, unmatched=unread)
    latest = _latest(versions, source.id)
    fresh, incomplete = _fresh(frame, _comparable(frame, latest, versions, source.id), epochs)
    touched = latest.join(fresh, on=source.id, how="semi")
    since = _since(touched, versions, source, history.commits)
    rows = _known_from(fresh, since, source, now)
    corrected = rows.join(touched, on=source.id, how="semi").height
    if not whole:
        touched = _maybe_moved(touched, rows, source.id, keys)
    rows = with_moves(rows, touched[source.id], lambda: _at(history.stored, touched, frame), source, keys, whole=whole)
    gone = None if present is None else _vanished(latest, versions, history, present, frame, source, now)
    deleted = 0 if gone is None else gone.height
    if gone is not None and deleted:
        rows = pl.concat([rows, gone], how="diagonal")
    return Changes(rows, corrected, frame.height - fresh.height, deleted, incomplete)


def split_known(
    frame: pl.DataFrame, stored: pl.DataFrame, schemas: Sequence[Schema], source: SourceSpec
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Compare a read of a source without ids with its stored rows, each in the columns it was stored with.

    Returns:
        The stored rows that were not read, or less often; the rows read that are stored; and those that are not.
    """
    epochs = _epochs(schemas, frame)
    versions, unread = _version(stored, frame, source, epochs), []
    left = frame.with_row_index("__place")
    for number in reversed(range(len(epochs))):
        old = versions.filter(pl.col("__epoch") == number)
        new = row_hashes(left, [*epochs[number].columns, "__deleted"])
        unread.append(old.filter(_unmatched(old, new)).select("__sequence"))
        left = left.filter(_unmatched(new, old))
    known = frame.with_row_index("__place").join(left, on="__place", how="anti", maintain_order="left").drop("__place")
    return (
        stored.join(pl.concat(unread), on="__sequence", how="semi", maintain_order="left"),
        known,
        left.drop("__place"),
    )


def first(frame: pl.DataFrame, source: SourceSpec, *, keys: Sequence[str] = (), whole: bool = False) -> Changes:
    """Return the changes of the first read of a source: all its rows; the arguments are those of `compared`."""
    if source.id is None:
        return Changes(frame)
    return Changes(with_moves(frame, frame[source.id].clear(), frame.clear, source, keys, whole=whole))


def matched_by(frame: pl.DataFrame, schemas: Sequence[Schema], source: SourceSpec) -> pl.DataFrame | None:
    """Return the columns of a read in which a stored row has to be equal to matter to `compared`; None if there are none.

    Args:
        frame: The rows, with their times.
        schemas: The schemas of the stored rows, oldest first.
        source: The source.
    """
    if source.id is not None:
        return frame.select(source.id)
    epochs = _epochs(schemas, frame)
    return frame.select(*epochs[0].columns, "__deleted") if len(epochs) == 1 else None


def require_clock(since: int, now: int, identifier: object, source: str) -> None:
    """Refuse to store a version that would count only from a time far ahead of the clock.

    Args:
        since: The time of the version before it, by the clock then.
        now: The clock.
        identifier: The id of the event.
        source: Its source's name.

    Raises:
        ConflictError: If one of the two times is wrong.
    """
    if since > now + LEAP:
        raise ConflictError(
            f"event {identifier!r} of source {source!r} was last stored at {from_micros(since).isoformat()}, and the "
            f"clock is at {from_micros(now).isoformat()}: a row stored now would not be seen until then",
            hint="correct the clock; if it was wrong then: tinymlops doctor --repair lets such rows count from now on",
        )


class _Epoch(NamedTuple):
    """Rows that were stored with the same columns of a read."""

    after: int
    columns: list[str]
    lacks: list[str]
    """The read's other columns."""


def _epochs(schemas: Sequence[Schema], frame: pl.DataFrame) -> list[_Epoch]:
    own = sorted(own_schema(frame))
    found: list[_Epoch] = []
    for schema in schemas:
        columns = [name for name in own if name in schema.columns]
        if not found or found[-1].columns != columns:
            lacks = [name for name in own if name not in schema.columns]
            found.append(_Epoch(schema.after if found else 0, columns, lacks))
    return found or [_Epoch(0, own, [])]


def _version(
    batch: pl.DataFrame, frame: pl.DataFrame, source: SourceSpec, epochs: Sequence[_Epoch], keys: Sequence[str] = ()
) -> pl.DataFrame:
    """Return what is kept of rows of history: the hash of their content, and the ids of rows with ids."""
    batch = _like(batch, frame)
    kept = ["__sequence", "__event"] if source.id is None else [source.id, "__sequence", "__deleted", "__created"]
    if source.id is not None and source.created is not None:
        # Kept where it is ours, not one that the source itself sent.
        own = times_of(batch[source.created], source)
        batch = batch.with_columns(__created=batch["__created"].set(batch["__created"].eq_missing(own), None))
    if source.id is not None and keys:
        batch = batch.with_columns(_of_keys(batch, keys))
        kept.append("__key")
    parts = []
    for number, epoch in enumerate(epochs):
        part = batch
        if len(epochs) > 1:
            until = epochs[number + 1].after if number + 1 < len(epochs) else None
            bound = pl.col("__sequence") > epoch.after if number else pl.lit(value=True)
            part = batch.filter(bound if until is None else bound & (pl.col("__sequence") <= until))
        hashes = row_hashes(part, [*epoch.columns, "__deleted"]).with_columns(pl.lit(number, pl.UInt8).alias("__epoch"))
        parts.append(hashes.with_columns(part.select(kept)))
    return pl.concat(parts)


def _like(batch: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Give rows of history the columns and types of the read, with nulls for missing columns."""
    shared = [name for name in frame.columns if name in batch.columns and batch.schema[name] != frame.schema[name]]
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in frame.schema.items() if name not in batch.columns]
    return batch.with_columns(*(widened(batch[name], frame.schema[name]) for name in shared), *missing)


def _latest(versions: pl.DataFrame, ids: str) -> pl.DataFrame:
    named = versions.filter(pl.col(ids).is_not_null()) if versions[ids].null_count() else versions
    if named[ids].n_unique() == named.height:
        return named
    return named.sort("__sequence").unique(ids, keep="last")


def _comparable(frame: pl.DataFrame, latest: pl.DataFrame, versions: pl.DataFrame, ids: str) -> pl.DataFrame:
    """Return the versions that a read's rows may match."""
    parts = [latest]
    if frame[ids].null_count():
        parts.append(versions.filter(pl.col(ids).is_null()))
    named = frame.select(ids).drop_nulls()
    if named[ids].n_unique() < named.height:
        several = named.filter(pl.col(ids).is_duplicated()).unique()
        parts[0] = latest.join(several, on=ids, how="anti")
        parts.append(versions.join(several, on=ids, how="semi"))
    return parts[0] if len(parts) == 1 else pl.concat(parts)


def _fresh(frame: pl.DataFrame, versions: pl.DataFrame, epochs: Sequence[_Epoch]) -> tuple[pl.DataFrame, int]:
    """Return the rows that no version holds, or less often, and how many of the others have a value that was never stored."""
    left, incomplete = frame, 0
    for number in reversed(range(len(epochs))):
        epoch = epochs[number]
        new = row_hashes(left, [*epoch.columns, "__deleted"])
        old = versions if len(epochs) == 1 else versions.filter(pl.col("__epoch") == number)
        missing = _unmatched(new, old)
        if epoch.lacks:
            known = left.filter(~missing)
            incomplete += known.filter(pl.any_horizontal(pl.col(epoch.lacks).is_not_null())).height
        left = left.filter(missing)
    return left, incomplete


def _unmatched_in_time(frame: pl.DataFrame, versions: pl.DataFrame, epochs: Sequence[_Epoch]) -> int:
    """Count the rows of history that are missing in a read that spans their time."""
    first, last = frame["__event"].min(), frame["__event"].max()
    inside = versions.filter(pl.col("__event").is_between(pl.lit(first), pl.lit(last)))
    count = 0
    for number, epoch in enumerate(epochs):
        old = inside.filter(pl.col("__epoch") == number)
        count += int(_unmatched(old, row_hashes(frame, [*epoch.columns, "__deleted"])).sum())
    return count


def _since(touched: pl.DataFrame, versions: pl.DataFrame, source: SourceSpec, commits: Commits | None) -> pl.DataFrame:
    """Return for each repeated id the greatest time of ours from which it counts, `__since`, null if there is none.

    A version without it that was stored after the first of its id counts from its ingest.
    """
    assert source.id is not None, "asked of rows with ids"
    every = versions.join(touched.select(source.id), on=source.id, how="semi")
    if commits is not None and source.created is None:
        every = every.with_columns(
            __commit=pl.Series(commits.numbers_of(every["__sequence"])),
            __at=pl.Series(commits.times_of(every["__sequence"])),
        )
        later = pl.col("__commit") > pl.col("__commit").min().over(source.id)
        every = every.with_columns(__created=pl.coalesce("__created", pl.when(later).then("__at")))
    greatest = every.group_by(source.id).agg(__since=pl.col("__created").max())
    return touched.select(source.id, __gone="__deleted").join(greatest, on=source.id)


def _known_from(rows: pl.DataFrame, since: pl.DataFrame, source: SourceSpec, now: int) -> pl.DataFrame:
    """Let rows of known ids count from now on, and never from earlier than the version before.

    Created times that the source sends are kept; but a version is never less than an earlier one whose created time is
    ours: a delete, or the row that came back after it. A row that vanished and is back is known from now on.
    """
    if not since.height:
        return rows
    assert source.id is not None, "rows without ids are never known again"
    for identifier, greatest in since.filter(pl.col("__since") > now + LEAP).select(source.id, "__since").iter_rows():
        require_clock(greatest, now, identifier, source.name)
    moment = pl.lit(now, pl.Int64)
    again = pl.col("__gone") & ~pl.col("__deleted")
    known, follows = pl.max_horizontal(moment, "__since"), pl.col("__gone").is_not_null()
    if source.created is not None:
        known = pl.max_horizontal("__created", "__since", pl.when(again).then(moment))
        follows = pl.col("__since").is_not_null() & (again | pl.col("__created").is_not_null())
    return (
        rows.join(since, on=source.id, how="left", maintain_order="left")
        .with_columns(pl.when(follows).then(known).otherwise("__created").alias("__created"))
        .drop("__since", "__gone")
    )


def _of_keys(frame: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    return frame.select(keys).hash_rows(SEEDS[0]).alias("__key")


def _maybe_moved(touched: pl.DataFrame, rows: pl.DataFrame, ids: str, keys: Sequence[str]) -> pl.DataFrame:
    """Return the versions whose event may have another key now, whose rows must be read: those with other hashes."""
    if not keys:
        return touched.clear()
    now = rows.select(ids, _of_keys(rows, keys))
    return touched.join(now, on=[ids, "__key"], how="anti") if now[ids].n_unique() == now.height else touched


def _at(stored: Stored, versions: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Read the full rows of some versions, in order of sequence."""
    wanted = versions.select("__sequence")
    found = [batch.join(wanted, on="__sequence", how="semi", maintain_order="left") for batch in stored()]
    return pl.concat([_like(batch, frame) for batch in found if batch.height], how="diagonal").sort("__sequence")


def _vanished(
    latest: pl.DataFrame,
    versions: pl.DataFrame,
    history: History,
    present: pl.Series,
    frame: pl.DataFrame,
    source: SourceSpec,
    now: int,
) -> pl.DataFrame | None:
    """Return a delete for each event whose row is gone: known from now on, and greater than the version it takes back."""
    assert source.id is not None, "a row without an id is never missed"
    here = present.alias(source.id).to_frame().with_columns(pl.col(source.id).cast(latest.schema[source.id]))
    missing = latest.filter(~pl.col("__deleted")).join(here, on=source.id, how="anti")
    if not missing.height:
        return None
    gone = marked(_at(history.stored, missing, frame).with_columns(pl.lit(value=True).alias("__deleted")))
    if source.created is not None:
        known = pl.max_horizontal(pl.lit(now, pl.Int64), pl.col("__created") + 1)
        return gone.with_columns(known.alias("__created")).drop("__sequence")
    since = _since(missing, versions, source, history.commits)
    return _known_from(gone.drop("__sequence"), since, source, now)


def _unmatched(new: pl.DataFrame, old: pl.DataFrame) -> pl.Series:
    """Return which rows history does not hold, or does not hold as often."""
    if not old.height:  # as of a small read of new ids
        return pl.Series([True]).new_from_index(0, new.height)
    return pl.Series(unmatched(*(frame[name].to_numpy() for frame in (new, old) for name in HASHES)))
