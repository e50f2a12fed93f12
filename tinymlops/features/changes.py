"""What one read of a source brings that history does not have: new rows, corrections, and rows that vanished."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops.features.record_times import times_of
from tinymlops.schema import schema_of

if TYPE_CHECKING:
    from tinymlops.features.specs import SourceSpec

__all__ = ["Changes", "compared", "in_order", "own_schema"]

_SEEDS = (0x7D1, 0x2013)
_HASHES = [f"__h{i}" for i in range(len(_SEEDS))]


class Changes(NamedTuple):
    """The rows to be stored, and what became of the others."""

    rows: pl.DataFrame
    corrected: int = 0
    known: int = 0
    deleted: int = 0


def compared(
    frame: pl.DataFrame, stored: pl.DataFrame, source: SourceSpec, *, present: pl.Series | None, now: int
) -> Changes:
    """Compare the rows that were read with history: by id with its latest version, without id the rows themselves.

    Args:
        frame: The rows, with their times.
        stored: The source's rows in history.
        source: Whose they are.
        present: Every id at the source, if it was read in full: those not among them have vanished.
        now: The clock, microseconds UTC: when a row is found to have vanished, or to be back.
    """
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in frame.schema.items() if name not in stored.columns]
    stored = stored.with_columns(missing)
    columns = [*sorted(own_schema(frame)), "__deleted"]
    old, new = _hashed(stored, columns), _hashed(frame, columns)
    ids = source.id
    if ids is None:
        fresh = _unmatched(new, old)
        return Changes(fresh.select(frame.columns), known=frame.height - fresh.height)
    latest = old.filter(pl.col(ids).is_not_null()).sort("__sequence").unique(ids, keep="last")
    if new[ids].null_count() or new[ids].n_unique() < new.height:
        # Several versions in one read, or rows that replace nothing: each is known by what it holds.
        fresh = _unmatched(new, old)
    else:
        fresh = new.join(latest, on=[ids, *_HASHES], how="anti", maintain_order="left")
    rows = _back_again(fresh.select(frame.columns), latest, source, now)
    corrected = rows.join(latest, on=ids, how="semi").height
    gone = _vanished(latest, present, source, now).select(frame.columns) if present is not None else rows.clear()
    return Changes(pl.concat([rows, gone]), corrected, frame.height - rows.height, gone.height)


def own_schema(frame: pl.DataFrame) -> dict[str, str]:
    """Return the user's columns and their dtypes."""
    return {name: dtype for name, dtype in schema_of(frame).items() if not name.startswith("__")}


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Put rows in the order that decides their sequence: event time, created time, deletes last, then their content."""
    hashed = _hashed(rows, sorted(own_schema(rows)))
    return (
        hashed.sort("__event", "__created", "__deleted", *_HASHES, nulls_last=False, maintain_order=True)
        .drop(_HASHES)
        .with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__ordinal"))
    )


def _vanished(latest: pl.DataFrame, present: pl.Series, source: SourceSpec, now: int) -> pl.DataFrame:
    """Return a delete for each event whose row is gone: known from now on, and greater than what it takes back."""
    assert source.id is not None, "a row without an id is never missed"
    here = present.alias(source.id).to_frame()
    gone = latest.filter(~pl.col("__deleted")).join(here, on=source.id, how="anti", maintain_order="left")
    gone = gone.with_columns(pl.lit(value=True).alias("__deleted"))
    if gone.schema.get("deleted") == pl.Boolean:
        gone = gone.with_columns(pl.lit(value=True).alias("deleted"))
    if source.created is None:
        return gone
    return gone.with_columns(pl.max_horizontal(pl.lit(now, pl.Int64), pl.col("__created") + 1).alias("__created"))


def _back_again(rows: pl.DataFrame, latest: pl.DataFrame, source: SourceSpec, now: int) -> pl.DataFrame:
    """Let a row that had vanished and is there again be known from now on, or its delete would stay the greater."""
    if source.created is None or not latest["__deleted"].any():
        return rows
    own = times_of(latest[source.created], source)
    # Ours, not one that the source itself sent: that has the created time of its row.
    ours = latest.filter(latest["__deleted"] & own.ne_missing(latest["__created"]))
    taken_back = rows.join(
        ours.select(source.id, pl.col("__created").alias("__since")), on=source.id, how="left", maintain_order="left"
    )
    again = pl.col("__since").is_not_null() & ~pl.col("__deleted")
    known = pl.max_horizontal("__created", "__since", pl.lit(now, pl.Int64))
    return taken_back.with_columns(pl.when(again).then(known).otherwise("__created").alias("__created")).drop("__since")


def _unmatched(new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose content history does not have, or not as often."""
    on = [*_HASHES, "__copy"]
    return _numbered(new).join(_numbered(old), on=on, how="anti", maintain_order="left")


def _hashed(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Add a 128-bit hash of the rows; only ever compared within this process."""
    values = frame.select(columns)
    return frame.with_columns(values.hash_rows(seed).alias(name) for name, seed in zip(_HASHES, _SEEDS, strict=True))


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Number equal rows, so that a join keeps count of them."""
    return frame.with_columns(pl.int_range(pl.len()).over(_HASHES).alias("__copy"))
