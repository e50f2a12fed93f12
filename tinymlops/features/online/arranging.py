"""Prepare rows of a view for the online store: lay them out, merge them with stored ones, and trim them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.features.compute.arranged import Array, History, history_of
from tinymlops.features.compute.needed import kept_rows
from tinymlops.features.compute.operands import operand_values
from tinymlops.features.definitions.expressions import Aggregate, AnyOperand, aggregates_in, feature_of
from tinymlops.features.history.payloads import stored_dtype
from tinymlops.features.online.variants import KeyRows, Layout, Slot, Variant, form_of
from tinymlops.kernels.compiling import frozen
from tinymlops.kernels.entries import CREATED, EVENT, KIND, SEEN, SYSTEM, UNSEEN, merge
from tinymlops.kernels.records import NEVER, Records, records_of
from tinymlops.keys import key_bytes
from tinymlops.schema import dtype_name, parse_dtype

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import ViewSpec

__all__ = ["arranged", "column_values", "filtered", "merged", "needed", "with_keys"]


def arranged(variant: Variant, frame: pl.DataFrame, *, at: int | None = None) -> tuple[Layout, KeyRows]:
    """Lay out rows from history, with the expressions of the view evaluated.

    Args:
        variant: The view.
        frame: Rows of its source; those whose key is null are left out.
        at: Leave out rows that no read at this time or later can use, before anything is evaluated; None to keep all.

    Raises:
        DataError: If an expression does not fit the rows.
    """
    frame = frame.drop_nulls(variant.key)
    key = [frame[column] for column in variant.key]
    history = history_of(frame, variant.sources[-1], variant.key, key)
    assert history.order is not None, "it was made here"
    rows = history.order
    records = history.records
    if at is not None:
        keep = kept_rows(records, aggregates_in(variant.view.features).values(), history.keep, at, ttl=variant.view.ttl)
        rows, records = rows[keep], _kept(records, keep)
    frame = frame[rows]
    key = [frame[column] for column in variant.key]
    history = History(history.source, records, frame, None, history.spine_key)
    layout = _layout(variant, history, key)
    columns = np.empty((layout.width, records.event.size), np.int64)
    columns[EVENT] = records.event
    columns[SEEN] = records.visible_from - records.event  # it may wrap around, and wraps back when it is read
    columns[UNSEEN] = records.visible_to
    columns[KIND] = records.kind
    created = frame["__created"].fill_null(NEVER).to_numpy()
    columns[CREATED] = np.where(created == NEVER, NEVER, created - records.visible_from)
    objects = []
    for place, slot in enumerate(layout.slots):
        series = history.series(msgspec.json.decode(slot.operand, type=AnyOperand))
        values = columns[SYSTEM + 2 * place : SYSTEM + 2 * place + 2]
        values[1] = series.is_not_null().to_numpy()
        values[0] = 0 if slot.form == "object" else _words(series, slot)
        if slot.form == "object":
            objects.append(series.cast(stored_dtype(series.dtype)).to_list())
    used = np.flatnonzero(np.diff(records.offsets))
    first = pl.Series(records.offsets[used])
    used_keys = [part.gather(first) for part in key]
    keys = key_bytes(used_keys, [part.dtype for part in key], variant.key, variant.prefix)
    offsets = np.append(records.offsets[used], records.event.size).astype(np.int64)
    return layout, KeyRows([key for key in keys if key is not None], offsets, columns, objects)


def column_values(words: Array, found: Array, dtype: str) -> pl.Series:
    """Return the values of a word slot in their own type; null where nothing was found."""
    kind = parse_dtype(dtype)
    if kind.is_float():
        series = pl.Series(words.view(np.float64)).cast(kind)
    else:
        series = pl.Series(words).cast(kind) if kind != pl.Null else pl.Series([None] * len(words), dtype=pl.Null)
    return series if found.all() else series.set(pl.Series(found == 0), None)


def merged(old: KeyRows, new: KeyRows) -> KeyRows:
    """Merge rows with newer ones of the same keys."""
    offsets, columns, origin = merge(old.offsets, old.columns, new.offsets, new.columns)
    objects = [
        [before[row] if row >= 0 else after[~row] for row in origin.tolist()]
        for before, after in zip(old.objects, new.objects, strict=True)
    ]
    return KeyRows(new.keys, offsets, columns, objects)


def needed(rows: KeyRows, layout: Layout, view: ViewSpec, at: int) -> Array:
    """Return which rows a read at a time or later can use."""
    columns = rows.columns
    records = records_of(rows.offsets, columns[EVENT], columns[EVENT] + columns[SEEN], columns[UNSEEN], columns[KIND])

    def keep_of(aggregate: Aggregate) -> Array | None:
        parts = []
        if aggregate.where is not None:
            place = SYSTEM + 2 * layout.slot_of(aggregate.where, "word")
            parts.append((columns[place] != 0) & (columns[place + 1] != 0))
        slot = layout.place_of(aggregate)
        if aggregate.skip_nulls and slot is not None:
            parts.append(columns[SYSTEM + 2 * slot + 1] != 0)
        return np.logical_and.reduce(parts) if parts else None

    return kept_rows(records, aggregates_in(view.features).values(), keep_of, at, ttl=view.ttl)


def filtered(rows: KeyRows, keep: Array) -> KeyRows:
    """Leave rows out; a key stays, even without any."""
    counts = np.append(0, np.cumsum(keep))
    objects = [[value for value, kept in zip(values, keep, strict=True) if kept] for values in rows.objects]
    return KeyRows(rows.keys, counts[rows.offsets], np.ascontiguousarray(rows.columns[:, keep]), objects)


def with_keys(rows: KeyRows, chosen: Array) -> KeyRows:
    """Return the rows of some keys.

    Args:
        rows: The rows.
        chosen: bool[K].
    """
    part = filtered(rows, np.repeat(chosen, np.diff(rows.offsets)))
    offsets = np.append(part.offsets[:-1][chosen], part.offsets[-1])
    return part._replace(keys=[key for key, one in zip(rows.keys, chosen, strict=True) if one], offsets=offsets)


def _kept(records: Records, keep: Array) -> Records:
    """Return some of the arranged records."""
    counts = np.append(0, np.cumsum(keep))
    return records._replace(
        offsets=frozen(counts[records.offsets], np.int64),
        event=frozen(records.event[keep], np.int64),
        visible_from=frozen(records.visible_from[keep], np.int64),
        visible_to=frozen(records.visible_to[keep], np.int64),
        kind=frozen(records.kind[keep], np.uint8),
    )


def _layout(variant: Variant, history: History, key: Sequence[pl.Series]) -> Layout:
    """Assign a slot to each operand in each form that a feature needs."""
    slots: dict[tuple[bytes, str], Slot] = {}
    for name, aggregate in aggregates_in(variant.view.features).items():
        for operand, function in ((aggregate.operand, aggregate.function), (aggregate.where, "all")):
            if operand is None:
                continue
            series = history.series(operand, feature=feature_of(name))
            slot = Slot(
                msgspec.json.encode(operand), form_of(dtype_name(series.dtype), function), dtype_name(series.dtype)
            )
            if function not in ("first", "last") and operand is aggregate.operand:
                values = operand_values(series, aggregate, history.source.name)
                if slot.form == "number":
                    slot = msgspec.structs.replace(slot, dtype="Float64" if values.dtype == np.float64 else "Int64")
            slots[slot.operand, slot.form] = slot
    return Layout(tuple(slots.values()), tuple(dtype_name(part.dtype) for part in key))


def _words(series: pl.Series, slot: Slot) -> Array:
    """Return int64, the values of a slot; floats as their bits, any number for null."""
    if slot.form == "number":
        series = series.cast(pl.Float64 if slot.dtype == "Float64" else pl.Int64)
    if series.dtype == pl.Null:
        return np.zeros(len(series), np.int64)
    if series.dtype.is_float():
        return series.cast(pl.Float64).fill_null(0.0).to_numpy().view(np.int64)
    return series.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
