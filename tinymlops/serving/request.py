"""The rows of a request: entity keys and request fields, or full rows of features."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tinymlops._texts import from_text, is_written_as_text
from tinymlops.errors import DataError, near
from tinymlops.frames import Frame, to_polars
from tinymlops.presence import row_shapes
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import RequestField, Signature

__all__ = ["Signed", "has_features", "json_rows", "read_rows", "require_columns"]


class Signed(Protocol):
    """The properties of a model that its requests need; `str` returns its name."""

    signature: Signature


def read_rows(model: Signed, rows: Frame, *, first_row: int = 0) -> pl.DataFrame:
    """Read the rows of a request as a frame, with request fields in the types of the training set's spine.

    Args:
        model: The model.
        rows: Any table, or a list of dicts. No rows at all, such as `[]`, need no columns.
        first_row: How many rows came before these, for an error.

    Raises:
        DataError: If it is neither full rows of features nor a request; it names the column, and the row if rows differ.
    """
    import polars as pl

    require_columns(model, rows)
    frame = to_polars(rows)
    if not frame.height and not frame.width:
        return pl.DataFrame(schema={field.name: pl.Null for field in model.signature.features})
    if _form(model, frame.columns) == _FEATURES:
        return frame
    return frame.with_columns(_cast(frame[field.name], field, first_row) for field in model.signature.request)


def require_columns(model: Signed, rows: Frame) -> None:
    """Refuse a row that would be refused alone, and rows of both forms: their frame would have nulls for missing columns.

    Raises:
        DataError: If there is such a row; it names the row and the column.
    """
    forms = [(row, _form(model, columns, row)) for row, columns in row_shapes(rows)]
    for row, form in forms:
        if form != forms[0][1]:
            raise DataError(
                f"row {row} holds {form}, and row 0 holds {forms[0][1]}", hint="send them one after the other"
            )


def has_features(signature: Signature, columns: Collection[str]) -> bool:
    """Return whether there is a column for every feature of a model."""
    return all(field.name in columns for field in signature.features)


_FEATURES = "full features"
_KEYS = "entity keys and request fields"


def _form(model: Signed, columns: Collection[str], row: int | None = None) -> str:
    """Return what the columns hold: full features, or keys and request fields.

    Raises:
        DataError: If they are neither, or a feature is sent that the model reads itself.
    """
    if has_features(model.signature, columns):
        return _FEATURES
    where = "" if row is None else f"row {row}: "
    features = [field.name for field in model.signature.features]
    sent = [name for name in features if name in columns]
    absent = [field for field in model.signature.request if field.name not in columns]
    if absent and sent:
        missing = next(name for name in features if name not in columns)
        raise DataError(
            f"{where}there is no column {missing!r}, which model {model} takes",
            hint=near(missing, columns, otherwise=_ways(model)),
        )
    if absent:
        what = "an entity key" if absent[0].role == "key" else "a request field"
        raise DataError(
            f"{where}there is no column {absent[0].name!r}, {what} that model {model} needs",
            hint=near(absent[0].name, columns, otherwise=_ways(model)),
        )
    if sent:
        raise DataError(
            f"{where}column {sent[0]!r} is a feature that model {model} reads itself",
            hint=f"leave it out: {_ways(model)}",
        )
    return _KEYS


def _ways(model: Signed) -> str:
    """Return one sentence about what may be sent."""
    request = ", ".join(field.name for field in model.signature.request) or "nothing"
    return f"send {request} and the features are read, or send all {len(model.signature.features)} features"


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows of values that JSON can carry: times as ISO 8601 text, NaN as null, whole numbers as they are.

    Raises:
        DataError: If a column holds what JSON cannot carry.
    """
    import polars as pl

    unknown = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Object)]
    if unknown:
        raise DataError(f"column {unknown[0]!r} holds Python objects", hint="leave it out, or turn it into text")
    try:
        found = frame.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None)).to_dicts()
    except (ValueError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unsayable(frame) from error
    rows: list[dict[str, Any]] = msgspec.to_builtins(found)
    return rows


def _unsayable(frame: pl.DataFrame) -> DataError:
    """Find the value that Python cannot represent: a time outside the years 1 to 9999 in its zone."""
    import polars as pl

    for column in frame:
        for row in range(len(column)):
            try:
                column[row]
            except (ValueError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
                return DataError(
                    f"column {column.name!r} holds a {column.dtype} in row {row} that is outside the years 1 to 9999",
                    hint="send a time within them, or null",
                )
    return DataError("a column holds what JSON cannot carry", hint="send numbers, text, times and lists of them")


def _cast(series: pl.Series, field: RequestField, first_row: int) -> pl.Series:
    """Convert a key or request field to its type in training, each value exactly, or refuse it.

    Integers may come as whole floats, times as ISO 8601 text.

    Raises:
        DataError: If a value has the wrong type; it names the row.
    """
    import polars as pl

    dtype = parse_dtype(field.dtype)
    if isinstance(dtype, pl.Enum):
        dtype = pl.String()  # a category that training did not have is an unknown key, not an error
    if series.dtype == dtype:
        return series
    if series.null_count() == len(series):  # in pandas a column of nulls alone is text
        return pl.repeat(None, len(series), dtype=dtype, eager=True).alias(series.name)
    if series.dtype == pl.String and is_written_as_text(dtype):
        sent = _from_text(series, dtype, field, first_row)
    elif _kind(series.dtype) != _kind(dtype):
        raise _mistyped(series, field, first_row)
    else:
        sent = series.fill_nan(None) if series.dtype.is_float() else series
    try:
        cast = sent.cast(dtype, strict=False)
        changed = cast.cast(sent.dtype, strict=False).ne_missing(sent).arg_true()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _mistyped(series, field, first_row) from error
    if len(changed):
        raise _mistyped(series, field, first_row, changed[0])
    return cast


def _kind(dtype: pl.DataType) -> str:
    """Return the kind of values that can be converted to one another; times with and without a zone are different kinds."""
    import polars as pl

    if isinstance(dtype, pl.Datetime):
        return "moment" if dtype.time_zone else "local time"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return "number" if dtype.is_numeric() else type(dtype).__name__


def _from_text(series: pl.Series, dtype: pl.DataType, field: RequestField, first_row: int) -> pl.Series:
    """Read text that represents a value, such as ISO 8601 for a time."""
    name = f"column {field.name!r}"
    try:
        return from_text(series, dtype, name=name)
    except DataError as error:
        for row in range(len(series)):
            try:
                from_text(series[row : row + 1], dtype, name=name)
            except DataError:
                raise _mistyped(series, field, first_row, row) from error
        raise _mistyped(series, field, first_row) from error


def _mistyped(series: pl.Series, field: RequestField, first_row: int, row: int | None = None) -> DataError:
    """Return the error that names a value of another type: that of a row, or the first that is not null."""
    import polars as pl

    if row is None:
        row = next(iter(series.is_not_null().arg_true()), None)
    value = "" if row is None or series.dtype == pl.Object else f" {series[row]!r:.100}"
    shown = "" if row is None else f":{value} in row {first_row + row}"
    kind = "String" if field.dtype.startswith("Enum") else field.dtype
    offset = ", with an offset such as Z" if "," in kind else ""
    return DataError(
        f"column {field.name!r} is {series.dtype} and was {kind} in training{shown}",
        hint=f"send {kind} values{offset if kind.startswith('Datetime') else ''}, or null",
    )
