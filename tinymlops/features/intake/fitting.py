"""Fit the columns of a read to those of history: types may widen, and no value changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops._warn import warn
from tinymlops._widening import inexact, widened, wider
from tinymlops.errors import DataError, near
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.history.stored import stored_batches
from tinymlops.schema import dtype_name, parse_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import SourceState

__all__ = ["fitted", "grown", "tell_of_columns"]

_SHOWN_ROWS = 5


def fitted(context: Context, source: SourceSpec, frame: pl.DataFrame, state: SourceState | None) -> pl.DataFrame:
    """Convert the columns of a read to types that also hold the values of history.

    Raises:
        DataError: If a column is of another kind than in history, or a value does not fit the type that holds both.
    """
    if state is None:
        return frame
    columns = grown(context, source, state.columns, _own(frame))
    return frame.with_columns(
        _cast(frame[name], parse_dtype(dtype), source) for name, dtype in columns.items() if name in frame.columns
    )


def grown(
    context: Context, source: SourceSpec, known: Mapping[str, str], now: Mapping[str, pl.DataType]
) -> dict[str, str]:
    """Return all columns of a source with types that hold their old and new values.

    Args:
        context: The workspace's state.
        source: The source.
        known: Column to dtype in history.
        now: Column to type of new rows. A new column is allowed, and so is one of nulls.

    Raises:
        DataError: If a column's type has another kind, or history has values that the new type cannot hold.
    """
    columns = dict(known)
    for name, dtype in now.items():
        before = parse_dtype(known[name]) if name in known else pl.Null()
        after = wider(before, dtype)
        if after is None:
            raise DataError(
                f"column {name!r} of source {source.name!r} was {known[name]} and is now {dtype_name(dtype)}",
                hint=f"cast it to {known[name]} in the source, or give the changed column a new name",
            )
        if after != before and before != pl.Null:
            _require_exact_history(context, source, name, after)
        columns[name] = dtype_name(after)
    return columns


def tell_of_columns(context: Context, source: SourceSpec, frame: pl.DataFrame, state: SourceState) -> None:
    """Warn of columns that are missing in a read, and of new ones that stored rows do not have."""
    gone = [name for name in state.columns if name not in frame.columns and name != "deleted"]
    new = [name for name in _own(frame) if name not in state.columns]
    for name in gone:
        readers = _readers(context.definitions, source, name)
        read = f"; {', '.join(readers)} read{'s' if len(readers) == 1 else ''} it" if readers else ""
        similar = near(name, new, otherwise="")
        warn(
            f"source {source.name!r} has no column {name!r} any more: new rows have null there{read}"
            + (f". {similar}" if similar else "")
        )
    if new:
        names = ", ".join(map(repr, new))
        warn(
            f"source {source.name!r} has new columns, {names}: {state.rows:,} rows stored before have null there; "
            f"tinymlops ingest {source.name} --rebuild reads them again"
        )


def _own(frame: pl.DataFrame) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in frame.schema.items() if not name.startswith("__")}


def _cast(column: pl.Series, dtype: pl.DataType, source: SourceSpec) -> pl.Series:
    if column.dtype == dtype:
        return column
    wrong = inexact(column, dtype)
    if wrong.any():
        rows = wrong.arg_true().head(_SHOWN_ROWS).to_list()
        raise DataError(
            f"column {column.name!r} of source {source.name!r} holds {column[rows[0]]!r}, which {dtype_name(dtype)} does "
            f"not hold exactly, in rows {rows}, counted from 0",
            hint="round it in the source, or give the column a new name",
        )
    return widened(column, dtype)


def _require_exact_history(context: Context, source: SourceSpec, name: str, dtype: pl.DataType) -> None:
    for batch in stored_batches(context, source.name):
        if name not in batch.columns:
            continue
        wrong = inexact(batch[name], dtype)
        if wrong.any():
            raise DataError(
                f"column {name!r} of source {source.name!r} is now {dtype_name(dtype)}, and history has "
                f"{batch[name].filter(wrong)[0]!r}, which that type does not hold exactly",
                hint=f"cast it to {dtype_name(batch[name].dtype)} in the source, or give the changed column a new name",
            )


def _readers(definitions: Definitions, source: SourceSpec, column: str) -> list[str]:
    """Return the names of the definitions that read a column of a source."""
    views = [
        f"feature {view.name}:{name}"
        for view in graph.views_reading(definitions, source.name)
        for name, feature in view.features.items()
        if column in columns_of(feature)
    ]
    labels = graph.labels_reading(definitions, source.name)
    return views + [f"label {label.name}" for label in labels if column in columns_of(label.expression)]
