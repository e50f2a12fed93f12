"""`materialize`: keep in the online store what any read from now on can ask of a view.

For each key of a view that is the newest visible row of each expression, every row not yet available, and the rows
of the longest window. A key with late rows or corrections is kept whole. The rows are stored as they are, and read
back through the same code as history, so that online and offline cannot differ.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops._keys import key_bytes
from tinymlops.features import specs
from tinymlops.features.computing import Array, History, kept_rows
from tinymlops.features.expressions import columns_of
from tinymlops.features.historical import origin_of
from tinymlops.features.sources import SYSTEM, stored_rows
from tinymlops.features.specs import EntitySpec, SourceSpec, ViewSpec

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.stores._entries import Writer

__all__ = ["Covered", "covered", "materialize", "online_rows"]


class Covered(msgspec.Struct, frozen=True):
    """What the online store holds of one view."""

    sequence: int
    """`Q`: rows up to this sequence are in it."""
    at: int
    """Clock time it was written, microseconds UTC: reads before it need history."""
    keys: int
    schema: bytes
    """An empty Arrow stream with the columns of the rows."""


def materialize(context: Context, view: ViewSpec) -> Covered:
    """Write a view's rows to the online store if it does not cover history yet.

    Returns:
        What it covers now.
    """
    sequence = context.environment.database.sequence()
    known = covered(context, view)
    if known is not None and known.sequence == sequence and known.at <= context.now():
        return known
    definitions = context.definitions
    source = definitions.get(SourceSpec, view.source)
    key = definitions.key_columns(definitions.get(EntitySpec, view.entity), source)
    rows = _needed(context, view, stored_rows(context, source.name).filter(pl.col("__sequence") <= sequence), key)
    entries = [
        (key_bytes(values), _pack(group))
        for values, group in rows.partition_by(key, as_dict=True, maintain_order=True).items()
    ]
    state = Covered(sequence, context.now(), len(entries), _pack(rows.clear()))
    prefix = _prefix(view)

    def write(tx: Writer) -> None:
        tx.delete_range(prefix, prefix + b"\xff")
        for name, value in entries:
            tx.put(prefix + b"r" + name, value)
        tx.put(prefix + b"c", msgspec.msgpack.encode(state))

    context.environment.online.update(write)
    return state


def covered(context: Context, view: ViewSpec) -> Covered | None:
    """Return what the online store holds of a view; None if nothing."""
    with context.environment.online.read() as tx:
        value = tx.get(_prefix(view) + b"c")
    return None if value is None else msgspec.msgpack.decode(value, type=Covered)


def online_rows(context: Context, view: ViewSpec, keys: Sequence[pl.Series]) -> tuple[pl.DataFrame, int] | None:
    """Return the stored rows of these keys.

    Args:
        context: The workspace's state.
        view: Whose rows.
        keys: The key columns of the request.

    Returns:
        The rows as in history, and the sequence they cover; None if the view was never materialized, or the clock
        stands before that.
    """
    prefix = _prefix(view)
    wanted = pl.DataFrame([series.alias(str(i)) for i, series in enumerate(keys)]).drop_nulls().unique()
    with context.environment.online.read() as tx:
        value = tx.get(prefix + b"c")
        if value is None:
            return None
        state = msgspec.msgpack.decode(value, type=Covered)
        if state.at > context.now():
            return None
        found = [tx.get(prefix + b"r" + key_bytes(values)) for values in wanted.rows()]
    rows = pl.concat([_unpack(state.schema), *(_unpack(value) for value in found if value is not None)])
    return rows, state.sequence


def _needed(context: Context, view: ViewSpec, rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Leave out the rows and columns that no read from now on can use."""
    source = origin_of(context, context.definitions.get(SourceSpec, view.source))
    keys = [rows[column] for column in key]
    history = History(rows, source, key, keys, by_push=source.via == "push")
    keep: Array = np.zeros(rows.height, np.bool_)
    keep[history.order] = kept_rows(history, view.features, context.now(), ttl=view.ttl)
    columns = {*key, *SYSTEM} | {column for column in (source.id, source.delay_column) if column}
    for feature in view.features.values():
        columns |= columns_of(feature)
    return rows.filter(keep).select(column for column in rows.columns if column in columns)


def _prefix(view: ViewSpec) -> bytes:
    return b"v" + bytes.fromhex(specs.fingerprint(view))[:16]


def _pack(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer)
    return buffer.getvalue()


def _unpack(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(data))
