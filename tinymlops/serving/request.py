"""What a caller sends: entity keys and request fields, or full rows of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops._texts import from_text, is_written_as_text
from tinymlops.errors import DataError, near
from tinymlops.frames import Frame, to_polars
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import RequestField, Signature
    from tinymlops.serving.model import Model

__all__ = ["has_features", "json_rows", "read_rows"]


def read_rows(model: Model, rows: Frame) -> pl.DataFrame:
    """Read what a caller sends as a frame, its request fields in the types of the training set's spine.

    Args:
        model: Who is asked.
        rows: Any table, or a list of dicts. No rows at all, such as `[]`, need no columns.

    Raises:
        DataError: If it is neither full rows of features nor a request, naming the column.
    """
    import polars as pl

    frame = to_polars(rows)
    if not frame.height and not frame.width:
        return pl.DataFrame(schema={field.name: pl.Null for field in model.signature.features})
    return frame if has_features(model.signature, frame) else _cast_request(model, frame)


def has_features(signature: Signature, frame: pl.DataFrame) -> bool:
    """Say whether a frame has a column for every feature of a model."""
    return all(field.name in frame.columns for field in signature.features)


def _cast_request(model: Model, frame: pl.DataFrame) -> pl.DataFrame:
    """Give entity keys and request fields the types they had in training, exactly; other columns are kept as they are.

    Args:
        model: Who is asked.
        frame: Keys and request fields. Integers may come as whole floats, times and decimals as text.

    Raises:
        DataError: If a field is missing or mistyped, or a feature is sent that the model reads itself.
    """
    _check_columns(model, frame)
    return frame.with_columns(_cast(frame[field.name], field) for field in model.signature.request)


def json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows of values that JSON can carry: times as ISO 8601 text, NaN as null, whole numbers as they are.

    Raises:
        DataError: If a column holds what JSON cannot carry.
    """
    import polars as pl

    unknown = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Object)]
    if unknown:
        raise DataError(f"column {unknown[0]!r} holds Python objects", hint="leave it out, or turn it into text")
    rows: list[dict[str, Any]] = msgspec.to_builtins(
        frame.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None)).to_dicts()
    )
    return rows


def _check_columns(model: Model, frame: pl.DataFrame) -> None:
    features = [field.name for field in model.signature.features]
    sent = [name for name in features if name in frame.columns]
    absent = [field for field in model.signature.request if field.name not in frame.columns]
    if absent and sent:
        missing = next(name for name in features if name not in frame.columns)
        raise DataError(
            f"there is no column {missing!r}, which model {model} takes",
            hint=near(missing, frame.columns, otherwise=_ways(model)),
        )
    if absent:
        what = "an entity key" if absent[0].role == "key" else "a request field"
        raise DataError(
            f"there is no column {absent[0].name!r}, {what} that model {model} needs",
            hint=near(absent[0].name, frame.columns, otherwise=_ways(model)),
        )
    if sent:
        raise DataError(
            f"column {sent[0]!r} is a feature that model {model} reads itself", hint=f"leave it out: {_ways(model)}"
        )


def _ways(model: Model) -> str:
    """Say in one sentence what may be sent."""
    request = ", ".join(field.name for field in model.signature.request) or "nothing"
    return f"send {request} and the features are read, or send all {len(model.signature.features)} features"


def _cast(series: pl.Series, field: RequestField) -> pl.Series:
    import polars as pl

    dtype = parse_dtype(field.dtype)
    if isinstance(dtype, pl.Enum):
        dtype = pl.String()  # a category that training had not is a key that nobody knows, and no error
    if series.dtype in (dtype, pl.Null):
        return series.cast(dtype)
    if series.dtype == pl.String and is_written_as_text(dtype):
        try:
            series = from_text(series, dtype, name=f"column {field.name!r}")
        except DataError as error:
            raise _mistyped(series, field) from error
    if _kind(series.dtype) != _kind(dtype):
        raise _mistyped(series, field)
    sent = series.fill_nan(None) if series.dtype.is_float() else series
    try:
        cast = sent.cast(dtype)
    except pl.exceptions.InvalidOperationError as error:
        raise _mistyped(series, field) from error
    if not cast.cast(sent.dtype).equals(sent):
        raise _mistyped(series, field)
    return cast


def _kind(dtype: pl.DataType) -> str:
    """Name the values that can be one another; a zone is part of what a time is."""
    import polars as pl

    if isinstance(dtype, pl.Datetime):
        return "moment" if dtype.time_zone else "local time"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return "number" if dtype.is_numeric() else type(dtype).__name__


def _mistyped(series: pl.Series, field: RequestField) -> DataError:
    import polars as pl

    shown = f": {series.drop_nulls().head(3).to_list()}" if series.dtype != pl.Object else ""
    kind = "String" if field.dtype.startswith("Enum") else field.dtype
    offset = ", with an offset such as Z" if "," in kind else ""
    return DataError(
        f"column {field.name!r} is {series.dtype} and was {kind} in training{shown}"[:300],
        hint=f"send {kind} values{offset if kind.startswith('Datetime') else ''}, or null",
    )
