"""Convert the rows of a push to the schema of their source: exactly, or refuse them and name the column and the rows.

Rows may come from JSON, which has no times and no difference between 7 and 7.0: text in ISO 8601 is read as a time, a
whole float as an integer and an integer as a float, and nothing else is guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError, near
from tinymlops.features.intake.exact import Target, exact
from tinymlops.frames import to_polars
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.frames import Frame

__all__ = ["accepted"]

_DELETED = "deleted"


def accepted(rows: Frame, source: SourceSpec, keys: Collection[str]) -> pl.DataFrame:
    """Convert rows to a source's schema.

    Args:
        rows: Any table, or a list of dicts.
        source: A source of pushes.
        keys: Its columns that hold entity keys: never null, as are the id and the event time.

    Returns:
        The schema's columns in order, and a boolean `deleted` if there is one. A delete may lack the columns that do
        not identify the event it takes back.

    Raises:
        DataError: If a column is unknown, missing or of another type, or a value cannot be stored.
    """
    import polars as pl

    named = {column for column in (source.id, source.timestamp) if column} | set(keys)
    columns, height = _by_column(rows)
    unknown = [name for name in columns if name not in source.columns and name != _DELETED]
    if unknown:
        raise DataError(f"source {source.name!r} has no column {unknown[0]!r}", hint=near(unknown[0], source.columns))
    deleted = _column(columns.get(_DELETED), _DELETED, "Boolean", height, source)
    _require_present(rows, columns, source, named, deleted)
    typed = [_column(columns.get(name), name, dtype, height, source) for name, dtype in source.columns.items()]
    for series in typed:
        if series.name in named and series.null_count():
            raise _refused(series.name, source, "is null", series.is_null().arg_true().to_list(), "fill it in")
    if _DELETED in columns and _DELETED not in source.columns:
        typed.append(deleted)
    return pl.DataFrame(typed)


def _by_column(rows: Frame) -> tuple[dict[str, Any], int]:
    """Return each column, as a Polars series or a list of Python values, and the number of rows."""
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}, len(rows)
    if isinstance(rows, dict) and all(isinstance(values, list) for values in rows.values()):
        lengths = {len(values) for values in rows.values()}
        if len(lengths) > 1:
            raise DataError(
                f"the columns have {min(lengths)} to {max(lengths)} values", hint="give each the same number of values"
            )
        return dict(rows), max(lengths, default=0)
    frame = to_polars(rows)
    return frame.to_dict(), frame.height


def _require_present(
    rows: Frame, columns: Collection[str], source: SourceSpec, named: Collection[str], deleted: pl.Series
) -> None:
    """Refuse a missing column, of the table or of a single dict."""
    is_delete = deleted.fill_null(value=False).to_list()
    for name in source.columns:
        if name == _DELETED or (name in columns and not isinstance(rows, list)):
            continue
        if isinstance(rows, list):
            lacking = [i for i, row in enumerate(rows) if name not in row and (name in named or not is_delete[i])]
        else:
            lacking = [i for i in range(len(deleted)) if name in named or not is_delete[i]]
        if lacking:
            raise _refused(name, source, "is missing", lacking, "give every column of the schema; null is a value too")


def _column(values: Any, name: str, dtype: str, height: int, source: SourceSpec) -> pl.Series:
    """Convert one column to its type; a missing one is null."""
    return exact([None] * height if values is None else values, Target(name, parse_dtype(dtype), source))


def _refused(name: str, source: SourceSpec, what: str, rows: Sequence[int], hint: str) -> DataError:
    return Target(name, parse_dtype(source.columns[name]), source).refused(what, rows, hint)
