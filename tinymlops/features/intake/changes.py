"""What one read of a source brings that history does not have: new rows, corrections, and rows that vanished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops.features.history.record_times import times_of
from tinymlops.kernels.matching import unmatched
from tinymlops.schema import schema_of

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["Changes", "Stored", "compared", "in_order", "own_schema"]

_SEEDS = (0x7D1, 0x2013)
_HASHES = [f"__h{i}" for i in range(len(_SEEDS))]


Stored = Callable[[], Iterator[pl.DataFrame]]
"""Reads rows of history, some at a time: the user's columns and the system's."""


class Changes(NamedTuple):
    """The rows to be stored, and what became of the others."""

    rows: pl.DataFrame
    corrected: int = 0
    known: int = 0
    deleted: int = 0


def compared(
    frame: pl.DataFrame, stored: Stored, source: SourceSpec, *, present: pl.Series | None, now: int
) -> Changes:
    """Compare the rows that were read with history: by id with its latest version, without id the rows themselves.

    Args:
        frame: The rows, with their times.
        stored: Reads the source's rows in history, some at a time; of most of them only hashes are kept.
        source: Whose they are.
        present: Every id at the source, if it was read in full: those not among them have vanished.
        now: The clock, microseconds UTC: when a row is found to have vanished, or to be back.
    """
    columns = [*sorted(own_schema(frame)), "__deleted"]
    new = _hashes(frame, columns)
    ids = source.id
    versions = pl.concat([_version(_with_all(batch, frame), columns, source) for batch in stored()])
    if ids is None:
        fresh = frame.filter(_unmatched(new, versions))
        return Changes(fresh, known=frame.height - fresh.height)
    latest = _latest(versions, ids)
    # Several versions in one read, or rows that replace nothing: each is known by what it holds.
    by_content = frame[ids].null_count() or frame[ids].n_unique() < frame.height
    fresh = frame.filter(_unmatched(new, versions if by_content else latest))
    touched = latest.join(fresh, on=ids, how="semi")
    rows = _after(touched, fresh, source, now)
    corrected = rows.join(touched, on=ids, how="semi").height
    gone = rows.clear() if present is None else _vanished(latest, stored, present, source, now)
    gone = _with_all(gone, frame).select(frame.columns)
    return Changes(pl.concat([rows, gone]), corrected, frame.height - rows.height, gone.height)


def own_schema(frame: pl.DataFrame) -> dict[str, str]:
    """Return the user's columns and their dtypes."""
    return {name: dtype for name, dtype in schema_of(frame).items() if not name.startswith("__")}


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Put rows in the order that decides their sequence: event time, created time, deletes last, then their content."""
    keys = rows.select(name for name in ("__event", "__created") if rows[name].null_count() < rows.height)
    if not keys.width:
        keys = pl.DataFrame({"__event": pl.Series([None]).new_from_index(0, rows.height)})
    order = keys.select(pl.arg_sort_by(keys.columns, nulls_last=False, maintain_order=True)).to_series()
    ordered = keys[order]
    as_before = pl.all_horizontal(pl.all().eq_missing(pl.all().shift(1))) & (pl.int_range(pl.len()) > 0)
    same = ordered.select(as_before).to_series()
    tied = (same | same.shift(-1, fill_value=False)).arg_true()
    if len(tied):  # only of these the content is looked at
        among = _hashes(rows[order[tied]], sorted(own_schema(rows))).with_columns(
            run=(~same).cum_sum()[tied], deleted=rows["__deleted"][order[tied]]
        )
        decided = among.select(pl.arg_sort_by("run", "deleted", *_HASHES, maintain_order=True)).to_series()
        order = order.scatter(tied, order[tied][decided])
    return rows[order].with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__ordinal"))


def _with_all(rows: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Give rows of history the columns that have come since, of nulls."""
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in frame.schema.items() if name not in rows.columns]
    return rows.with_columns(missing)


def _version(batch: pl.DataFrame, columns: list[str], source: SourceSpec) -> pl.DataFrame:
    """Return what is kept of rows of history: the hash of what they hold, and of rows with ids which they are.

    Their created time is kept where it is ours (`__since`), and not one that the source itself sent.
    """
    hashes = _hashes(batch, columns)
    if source.id is None:
        return hashes
    created = batch["__created"]
    own = created if source.created is None else times_of(batch[source.created], source)
    ours = created.set(created.eq_missing(own), None)
    return hashes.with_columns(batch.select(source.id, "__sequence", "__deleted", ours.alias("__since")))


def _latest(versions: pl.DataFrame, ids: str) -> pl.DataFrame:
    named = versions.filter(pl.col(ids).is_not_null()) if versions[ids].null_count() else versions
    if named[ids].n_unique() == named.height:
        return named
    return named.sort("__sequence").unique(ids, keep="last")


def _at(stored: Stored, versions: pl.DataFrame) -> pl.DataFrame:
    """Read the rows of some versions as a whole, in order of sequence."""
    wanted = versions.select("__sequence")
    found = [batch.join(wanted, on="__sequence", how="semi", maintain_order="left") for batch in stored()]
    return pl.concat(found, how="diagonal").sort("__sequence")


def _vanished(latest: pl.DataFrame, stored: Stored, present: pl.Series, source: SourceSpec, now: int) -> pl.DataFrame:
    """Return a delete for each event whose row is gone: known from now on, and greater than what it takes back."""
    assert source.id is not None, "a row without an id is never missed"
    here = present.alias(source.id).to_frame()
    missing = latest.filter(~pl.col("__deleted")).join(here, on=source.id, how="anti")
    gone = _at(stored, missing).with_columns(pl.lit(value=True).alias("__deleted"))
    if gone.schema.get("deleted") == pl.Boolean:
        gone = gone.with_columns(pl.lit(value=True).alias("deleted"))
    if source.created is None:
        return gone
    return gone.with_columns(pl.max_horizontal(pl.lit(now, pl.Int64), pl.col("__created") + 1).alias("__created"))


def _after(latest: pl.DataFrame, rows: pl.DataFrame, source: SourceSpec, now: int) -> pl.DataFrame:
    """Let no version be the lesser to one before it whose created time is ours: a delete, or what came back after it.

    A row that had vanished and is there again is known from now on.
    """
    ours = latest.filter(pl.col("__since").is_not_null()).select(source.id, "__since", __gone="__deleted")
    if source.created is None or not ours.height:
        return rows
    again = pl.col("__gone") & ~pl.col("__deleted")
    known = pl.max_horizontal("__created", "__since", pl.when(again).then(pl.lit(now, pl.Int64)))
    follows = pl.col("__since").is_not_null() & (again | pl.col("__created").is_not_null())
    return (
        rows.join(ours, on=source.id, how="left", maintain_order="left")
        .with_columns(pl.when(follows).then(known).otherwise("__created").alias("__created"))
        .drop("__since", "__gone")
    )


def _unmatched(new: pl.DataFrame, old: pl.DataFrame) -> pl.Series:
    """Say which rows hold what history does not, or not as often."""
    return pl.Series(unmatched(*(frame[name].to_numpy() for frame in (new, old) for name in _HASHES)))


def _hashes(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Return a 128-bit hash of each row; only ever compared within this process."""
    values = frame.select(columns)
    return pl.DataFrame([values.hash_rows(seed).alias(name) for name, seed in zip(_HASHES, _SEEDS, strict=True)])
