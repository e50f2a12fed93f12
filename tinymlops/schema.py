"""Column types by name: how a schema is written in definitions, stored in records and given to Polars."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError, DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["dtype_instance", "dtype_name", "lasting_dtype", "mapped_dtype", "parse_dtype", "parse_schema", "schema_of"]

_PYTHON_TYPES: dict[object, str] = {
    bool: "Boolean",
    int: "Int64",
    float: "Float64",
    str: "String",
    bytes: "Binary",
    datetime: "Datetime[us, UTC]",
    date: "Date",
    timedelta: "Duration[us]",
}
_PLAIN = [
    *("Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float32", "Float64", "String", "Binary", "Date", "Time", "Null"),
]


def dtype_name(dtype: pl.DataType) -> str:
    """Write a Polars dtype as text that `parse_dtype` reads.

    Example:
        >>> import polars as pl
        >>> dtype_name(pl.List(pl.Datetime("us", "UTC")))
        'List[Datetime[us, UTC]]'
        >>> dtype_name(pl.Struct({"zip": pl.String, "at": pl.Array(pl.Float64, 2)}))
        "Struct[('zip', 'String'), ('at', 'Array[Float64, 2]')]"
    """
    import polars as pl

    if isinstance(dtype, pl.Datetime):
        return f"Datetime[{dtype.time_unit}, {dtype.time_zone}]" if dtype.time_zone else _unit(dtype)
    if isinstance(dtype, pl.Duration):
        return f"Duration[{dtype.time_unit}]"
    if isinstance(dtype, pl.Decimal):
        return f"Decimal[{dtype.precision}, {dtype.scale}]"
    if isinstance(dtype, pl.List):
        return f"List[{dtype_name(dtype_instance(dtype.inner))}]"
    if isinstance(dtype, pl.Array):
        return f"Array[{dtype_name(dtype_instance(dtype.inner))}, {dtype.size}]"
    if isinstance(dtype, pl.Struct) and dtype.fields:
        return f"Struct{[(field.name, dtype_name(dtype_instance(field.dtype))) for field in dtype.fields]!r}"
    if isinstance(dtype, pl.Categorical):
        return "String"
    if isinstance(dtype, pl.Enum):
        return f"Enum{dtype.categories.to_list()!r}"
    name = type(dtype).__name__
    if name not in _PLAIN:
        raise DataError(
            f"columns of type {dtype} cannot be stored",
            hint="cast it to numbers, strings, times, or lists or structs of them in the source",
        )
    return name


def lasting_dtype(dtype: pl.DataType) -> pl.DataType:
    """Return a dtype without categories, which the next table may not have: Categorical is String, in lists and structs too.

    Example:
        >>> import polars as pl
        >>> lasting_dtype(pl.List(pl.Categorical()))
        List(String)
    """
    import polars as pl

    return mapped_dtype(dtype, lambda one: pl.String() if isinstance(one, pl.Categorical) else one)


def mapped_dtype(dtype: pl.DataType, change: Callable[[pl.DataType], pl.DataType]) -> pl.DataType:
    """Return a dtype with each part changed that is not a list, an array or a struct of others.

    Example:
        >>> import polars as pl
        >>> mapped_dtype(pl.List(pl.Date()), lambda one: pl.Int32())
        List(Int32)
    """
    import polars as pl

    if isinstance(dtype, pl.List):
        return pl.List(mapped_dtype(dtype_instance(dtype.inner), change))
    if isinstance(dtype, pl.Array):
        return pl.Array(mapped_dtype(dtype_instance(dtype.inner), change), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: mapped_dtype(dtype_instance(one.dtype), change) for one in dtype.fields})
    return change(dtype)


def parse_dtype(name: str) -> pl.DataType:
    """Read a dtype written by `dtype_name`.

    Raises:
        DefinitionError: If it names no type.
    """
    import polars as pl

    head, _, rest = name.partition("[")
    arguments = [part.strip() for part in rest.removesuffix("]").split(",")]
    if name in _PLAIN:
        return dtype_instance(getattr(pl, name))
    if head == "Datetime":
        zone = arguments[1] if len(arguments) > 1 else None
        return pl.Datetime(arguments[0], zone)  # type: ignore[arg-type]  # one of us, ms, ns as written
    if head == "Duration":
        return pl.Duration(arguments[0])  # type: ignore[arg-type]  # one of us, ms, ns as written
    if head == "Decimal":
        return pl.Decimal(int(arguments[0]), int(arguments[1]))
    if head == "List":
        return pl.List(parse_dtype(rest.removesuffix("]")))
    if head == "Array":
        inner, _, size = rest.removesuffix("]").rpartition(",")
        return pl.Array(parse_dtype(inner), int(size))
    if head == "Struct":
        return pl.Struct({field: parse_dtype(kind) for field, kind in ast.literal_eval(f"[{rest}")})
    if head == "Enum":
        return pl.Enum(ast.literal_eval(f"[{rest}"))
    raise DefinitionError(f"there is no column type {name!r}", hint=f"use one of {', '.join(_PLAIN)}")


def parse_schema(columns: Mapping[str, object], *, where: str) -> dict[str, str]:
    """Read a schema as a user writes it: Python types, Polars dtypes or their names.

    Args:
        columns: Column to type.
        where: Its owner, for the error.

    Returns:
        Column to dtype name.
    """
    if not isinstance(columns, Mapping) or not columns:
        raise DefinitionError(
            f"{where} returned no schema", hint='return {"user_id": str, "amount": float, "at": datetime}'
        )
    return {name: _parse_type(kind, f"column {name!r} of {where}") for name, kind in columns.items()}


def schema_of(frame: pl.DataFrame) -> dict[str, str]:
    """Return a frame's columns and their dtype names."""
    return {name: dtype_name(dtype) for name, dtype in frame.schema.items()}


def _parse_type(kind: object, where: str) -> str:
    import polars as pl

    if isinstance(kind, str):
        return dtype_name(parse_dtype(kind))
    if isinstance(kind, type) and kind in _PYTHON_TYPES:
        return _PYTHON_TYPES[kind]
    if isinstance(kind, pl.DataType) or (isinstance(kind, type) and issubclass(kind, pl.DataType)):
        return dtype_name(dtype_instance(kind))
    raise DefinitionError(
        f"{where} has the type {kind!r}",
        hint="use str, int, float, bool, datetime, date, bytes or a Polars dtype",
    )


def dtype_instance(dtype: Any) -> pl.DataType:
    """Return a dtype that may be given as its class."""
    instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return instance


def _unit(dtype: pl.Datetime) -> str:
    return f"Datetime[{dtype.time_unit}]"
