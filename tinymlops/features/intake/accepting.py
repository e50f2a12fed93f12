"""Rows of a push, brought to the schema of their source: exactly, or refused with the column and the rows named.

What arrives may come from JSON, which has neither times nor a difference between 7 and 7.0: text in ISO 8601 is
taken for a time, a whole float for an integer and an integer for a float, and nothing else is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError, near
from tinymlops.features.history.record_times import times_of
from tinymlops.frames import to_polars
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.frames import Frame

__all__ = ["accepted"]

_SHOWN_ROWS = 5
_DELETED = "deleted"
# Digits beyond a microsecond, which Python drops: a fact must not come earlier than it did.
_FINER = re.compile(r"[.,]\d{6}0*[1-9]")


def accepted(rows: Frame, source: SourceSpec, keys: Collection[str]) -> pl.DataFrame:
    """Bring rows to a source's schema.

    Args:
        rows: Any table, or a list of dicts.
        source: A source of pushes.
        keys: Its columns that hold entity keys: never null, as are the id and the event time.

    Returns:
        The schema's columns in order, and a boolean `deleted` if there is one. A row that is a delete may lack
        the columns that say nothing about which event it takes back.

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
                f"the columns have {min(lengths)} to {max(lengths)} values", hint="give one value a row in each"
            )
        return dict(rows), max(lengths, default=0)
    frame = to_polars(rows)
    return frame.to_dict(), frame.height


def _require_present(
    rows: Frame, columns: Collection[str], source: SourceSpec, named: Collection[str], deleted: pl.Series
) -> None:
    """Refuse a missing column: of the table, or of a single dict."""
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


def _column(values: Any, name: str, dtype_text: str, height: int, source: SourceSpec) -> pl.Series:
    """Bring one column to its type."""
    import polars as pl

    dtype = parse_dtype(dtype_text)
    if values is None:
        return pl.Series(name, [None] * height, dtype=dtype)
    if isinstance(values, pl.Series):
        same = _same_kind(values, name, dtype, source)
        if same is not None:
            return same.alias(name)
        values = values.to_list()
    kinds = set(map(type, values)) - {type(None)}
    taken, convert = _conversions(dtype)
    if not kinds <= taken:
        values = _each(values, name, dtype_text, taken, convert, source)
    if isinstance(dtype, pl.Datetime):
        return _times(values, name, dtype, source)
    if dtype.is_integer():
        _require_range(values, name, dtype, source)
    try:
        return pl.Series(name, values, dtype=dtype, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        wrong = [i for i, value in enumerate(values) if not _fits(value, dtype)]
        raise _refused(name, source, f"is no {dtype_text}", wrong, f"{error}".splitlines()[0]) from error


def _same_kind(values: pl.Series, name: str, dtype: pl.DataType, source: SourceSpec) -> pl.Series | None:
    """Cast a Polars column that can only mean the same in the schema's type; None for any other."""
    import polars as pl

    now = values.dtype
    if now == dtype or now == pl.Null:
        return values.cast(dtype)
    if isinstance(now, pl.Categorical | pl.Enum) and dtype == pl.String:
        return values.cast(pl.String)
    if isinstance(now, pl.Datetime) and isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        micros = times_of(values.alias(name), source)
        return micros.cast(pl.Datetime("us", "UTC")).cast(dtype)
    if now == pl.Float32 and dtype == pl.Float64:
        return values.cast(dtype)
    return None


Convert = Callable[[Any], Any]


def _conversions(dtype: pl.DataType) -> tuple[set[type], dict[type, Convert]]:
    """Return the Python types that are a column's own, and how others that mean the same become one of them."""
    import polars as pl

    if dtype.is_integer():
        return {int}, {float: _whole}
    if dtype.is_float():
        return {float}, {int: _float}
    if isinstance(dtype, pl.Decimal):
        return {Decimal}, {int: Decimal, str: Decimal}
    own: dict[Any, tuple[type, dict[type, Convert]]] = {
        pl.Boolean: (bool, {}),
        pl.String: (str, {}),
        pl.Enum: (str, {}),
        pl.Binary: (bytes, {}),
        pl.Datetime: (datetime, {str: _moment}),
        pl.Date: (date, {str: date.fromisoformat}),
        pl.Time: (time, {str: time.fromisoformat}),
        pl.Duration: (timedelta, {}),
        pl.List: (list, {}),
    }
    kind, convert = next(found for known, found in own.items() if isinstance(dtype, known))
    return {kind}, convert


def _each(
    values: Sequence[Any],
    name: str,
    dtype: str,
    taken: Collection[type],
    convert: dict[type, Convert],
    source: SourceSpec,
) -> list[Any]:
    """Convert the values that are not of the column's own type."""
    result, wrong, found = list(values), [], None
    for i, value in enumerate(values):
        if value is None or type(value) in taken:
            continue
        try:
            result[i] = convert[type(value)](value)
        except (KeyError, ValueError, ArithmeticError):
            wrong.append(i)
            found = found if found is not None else value
    if wrong:
        raise _refused(name, source, f"is {dtype} and holds {_shown(found)}", wrong, _hint(dtype))
    return result


def _whole(value: float) -> int | None:
    if value != value:
        return None
    if not value.is_integer():
        raise ValueError
    return int(value)


def _float(value: int) -> float:
    number = float(value)
    if int(number) != value:
        raise ValueError
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment + timedelta(microseconds=1) if _FINER.search(text) else moment


def _times(values: Sequence[datetime | None], name: str, dtype: pl.Datetime, source: SourceSpec) -> pl.Series:
    """Bring times to a column's unit and zone; those without a zone are in the source's."""
    import polars as pl

    naive = [value is not None and value.tzinfo is None for value in values]
    if dtype.time_zone is None:
        wrong = [i for i, value in enumerate(values) if value is not None and not naive[i]]
        if wrong:
            raise _refused(
                name, source, "is a time without a zone and got one", wrong, "declare it as datetime, which is UTC"
            )
        return pl.Series(name, values, dtype=dtype)
    aware = pl.Series(
        name,
        [None if bare else value for value, bare in zip(values, naive, strict=True)],
        dtype=pl.Datetime("us", "UTC"),
    )
    if any(naive):
        bare = [value if is_bare else None for value, is_bare in zip(values, naive, strict=True)]
        local = times_of(pl.Series(name, bare, dtype=pl.Datetime("us")), source)
        aware = aware.to_physical().fill_null(local).cast(pl.Datetime("us", "UTC"))
    return aware.cast(dtype)


def _require_range(values: Sequence[int | None], name: str, dtype: pl.DataType, source: SourceSpec) -> None:
    bits = int("".join(filter(str.isdigit, str(dtype))))
    low, high = (
        (0, 2 ** min(bits, 63) - 1) if dtype.is_unsigned_integer() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    wrong = [i for i, value in enumerate(values) if value is not None and not low <= value <= high]
    if wrong:
        raise _refused(
            name, source, f"holds {values[wrong[0]]}, beyond {low} to {high}", wrong, "send it as text, or as a float"
        )


def _fits(value: Any, dtype: pl.DataType) -> bool:
    import polars as pl

    try:
        pl.Series([value], dtype=dtype, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return False
    return True


def _refused(name: str, source: SourceSpec, what: str, rows: Sequence[int], hint: str) -> DataError:
    shown = f"{list(rows[:_SHOWN_ROWS])}{f' and {len(rows) - _SHOWN_ROWS} more' if len(rows) > _SHOWN_ROWS else ''}"
    return DataError(f"column {name!r} of source {source.name!r} {what}, in rows {shown}", hint=hint)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}..." if len(text) > 60 else text


def _hint(dtype: str) -> str:
    if dtype.startswith("Date"):
        return 'write times as ISO 8601 text, such as "2024-05-01T12:00:00Z"'
    return "send a value that is exactly of the column's type"
