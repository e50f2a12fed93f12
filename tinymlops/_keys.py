"""Entity keys: typed tuples, matched by value and never as joined text, so ("1", "23") and ("12", "3") differ."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["encode", "key_bytes"]

_LARGEST_CODE = 2**62
_SHOWN_ROWS = 5


def encode(spine: Sequence[pl.Series], records: Sequence[pl.Series], names: Sequence[str]) -> tuple[Array, Array, int]:
    """Number the keys of a spine and of records, equal keys alike.

    Integers of any width and whole floats match by value; strings, categoricals and enums as strings; dates,
    times, booleans, binary and decimals match their own type.

    Args:
        spine: The key columns of the spine, m rows each.
        records: The same columns of the records, n rows each.
        names: What to call the columns in an error.

    Returns:
        int64[m] and int64[n] codes, -1 where a part is null, and the number of codes. A record whose key no
        spine row has may be -1 as well: nothing can match it.

    Raises:
        DataError: If two columns' types cannot match, or a float is not whole.
    """
    import numpy as np

    lengths = len(spine[0]), len(records[0])
    codes, count = (np.zeros(lengths[0], np.int64), np.zeros(lengths[1], np.int64)), 1
    for name, left, right in zip(names, spine, records, strict=True):
        part, size = _encode_column(*_comparable(left, right, name))
        if count * size >= _LARGEST_CODE:
            codes, count = _renumber(*codes)
        codes, count = (_combine(codes[0], part[0], size), _combine(codes[1], part[1], size)), count * size
    if count > _dense_limit(*lengths):
        codes, count = _renumber(*codes)
    return *codes, count


def key_bytes(values: Sequence[Any]) -> bytes:
    """Write one key as bytes for a key-value store: equal keys give equal bytes, and no two others do.

    Args:
        values: The parts: int, whole float, str, bool, bytes, date, datetime, time, timedelta, Decimal or
            UUID (equal to its text).

    Returns:
        A tag, a length and a payload per part.

    Raises:
        DataError: If a part is null, a float that is not whole, or of another type.

    Example:
        >>> key_bytes(("1", "23")) == key_bytes(("12", "3"))
        False
        >>> key_bytes((7.0,)) == key_bytes((7,)), key_bytes(("7",)) == key_bytes((7,))
        (True, False)
    """
    parts = []
    for value in values:
        tag, payload = _tagged(value)
        parts.append(tag + len(payload).to_bytes(4, "big") + payload)
    return b"".join(parts)


def _combine(codes: Array, part: Array, size: int) -> Array:
    import numpy as np

    joined = codes * size + part
    joined[(codes < 0) | (part < 0)] = -1
    return np.asarray(joined, np.int64)


def _dense_limit(spine_rows: int, record_rows: int) -> int:
    """Return how many codes are few enough to be array indices: some unused ones cost less than hashing all rows."""
    return 2 * (spine_rows + record_rows) + 1024


def _encode_column(left: pl.Series, right: pl.Series) -> tuple[tuple[Array, Array], int]:
    """Number the values of one column: integers in a small range by subtraction, all else by hashing."""
    import polars as pl

    if left.dtype != pl.Int64:
        return _hashed(left, right)
    ends = [end for side in (left, right) for end in (side.min(), side.max()) if end is not None]
    low, high = (min(ends), max(ends)) if ends else (0, 0)
    size = int(high) - int(low) + 1  # type: ignore[arg-type]
    if size > _dense_limit(len(left), len(right)):
        return _hashed(left, right)
    return (_offset(left, int(low)), _offset(right, int(low))), size  # type: ignore[arg-type]


def _offset(values: pl.Series, low: int) -> Array:
    codes = values if low == 0 else values - low
    return codes.fill_null(-1).to_numpy()


def _hashed(left: pl.Series, right: pl.Series) -> tuple[tuple[Array, Array], int]:
    """Number the distinct values of the spine; other values can match nothing."""
    known = left.drop_nulls().unique().alias("key").to_frame().with_row_index("code")
    return (_look_up(left, known), _look_up(right, known)), max(1, known.height)


def _look_up(values: pl.Series, known: pl.DataFrame) -> Array:
    import polars as pl

    joined = values.alias("key").to_frame().join(known, on="key", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()


def _renumber(left: Array, right: Array) -> tuple[tuple[Array, Array], int]:
    """Number codes that are too far apart for array indices anew."""
    import polars as pl

    columns = [pl.Series(side).replace(-1, None) for side in (left, right)]
    return _hashed(*columns)


def _comparable(left: pl.Series, right: pl.Series, name: str) -> tuple[pl.Series, pl.Series]:
    """Bring both sides of a key column to one type whose equality is the key's.

    Raises:
        DataError: If there is none.
    """
    import polars as pl

    if pl.Null in (left.dtype, right.dtype):
        # A column of nulls matches nothing, whatever the other side holds.
        return pl.Series([None] * len(left), dtype=pl.Int64), pl.Series([None] * len(right), dtype=pl.Int64)
    families = _family(left.dtype), _family(right.dtype)
    if families[0] != families[1] or not families[0]:
        raise DataError(
            f"key column {name!r} is {left.dtype} in the spine ({left.name!r}) and {right.dtype} in the features "
            f"({right.name!r})",
            hint="cast one of them so that both are the same kind: integer, string, boolean, date, time or binary",
        )
    if families[0] == "number":
        left, right = _whole(left, name), _whole(right, name)
        wide = pl.Int128 if pl.Int128 in (left.dtype, right.dtype) else pl.Int64
        return left.cast(wide), right.cast(wide)
    if families[0] == "string":
        return left.cast(pl.String), right.cast(pl.String)
    if families[0] == "boolean":
        return left.cast(pl.Int64), right.cast(pl.Int64)
    if families[0] == "decimal":
        scale = max(left.dtype.scale, right.dtype.scale)  # type: ignore[attr-defined]
        return left.cast(pl.Decimal(38, scale)), right.cast(pl.Decimal(38, scale))
    return _instants(left, right)


def _family(dtype: pl.DataType) -> str:
    """Name the kind of values that may equal each other; empty for what cannot be a key."""
    import polars as pl

    if dtype.is_integer() or dtype.is_float():
        return "number"
    if isinstance(dtype, pl.Datetime):
        return "naive datetime" if dtype.time_zone is None else "datetime"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "string"
    simple = {
        pl.Boolean: "boolean",
        pl.Binary: "binary",
        pl.Date: "date",
        pl.Time: "time",
        pl.Duration: "duration",
        pl.Decimal: "decimal",
    }
    return next((family for kind, family in simple.items() if isinstance(dtype, kind)), "")


def _whole(values: pl.Series, name: str) -> pl.Series:
    """Bring numbers to Int64, or to Int128 where an unsigned one does not fit.

    Raises:
        DataError: If a float is not a whole number.
    """
    import polars as pl

    if values.dtype.is_float():
        values = values.cast(pl.Float64).fill_nan(None)
        wrong = ((values != values.floor()) | (values.abs() >= 2.0**63)).fill_null(value=False)
        if wrong.any():
            rows = wrong.arg_true().head(_SHOWN_ROWS)
            raise DataError(
                f"key column {name!r} has numbers that are no whole int64, in rows {rows.to_list()}: "
                f"{values.gather(rows).to_list()}",
                hint="a float is a key only where pandas made one of an integer; cast the column, or key by a string",
            )
    try:
        return values.cast(pl.Int64)
    except pl.exceptions.InvalidOperationError:  # beyond int64: found by trying, for almost none is
        return values.cast(pl.Int128)


def _instants(left: pl.Series, right: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Bring times of one family to integers of one unit; binary stays as it is."""
    import polars as pl

    if isinstance(left.dtype, pl.Binary):
        return left, right
    numbers = left.to_physical(), right.to_physical()
    units = getattr(left.dtype, "time_unit", None), getattr(right.dtype, "time_unit", None)
    if units[0] == units[1]:
        return numbers[0].cast(pl.Int64), numbers[1].cast(pl.Int64)
    # Far years do not fit into nanoseconds of 64 bits.
    per_unit = {"ns": 1, "us": 1_000, "ms": 1_000_000}
    factors = (pl.Series([per_unit[str(unit)]], dtype=pl.Int128) for unit in units)
    left, right = (side.cast(pl.Int128) * factor for side, factor in zip(numbers, factors, strict=True))
    return left, right


def _tagged(value: object) -> tuple[bytes, bytes]:
    """Return the type tag and the canonical payload of one part of a key."""
    if hasattr(value, "item") and not isinstance(value, list | tuple):
        value = value.item()  # a numpy scalar
    if isinstance(value, bool):
        return b"b", b"\1" if value else b"\0"
    if isinstance(value, int):
        return b"i", _int_bytes(value)
    if isinstance(value, float) and value.is_integer():
        return b"i", _int_bytes(int(value))
    if isinstance(value, str | uuid.UUID):
        return b"s", str(value).encode("utf-8", "surrogatepass")
    if isinstance(value, bytes | bytearray | memoryview):
        return b"x", bytes(value)
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return _time_bytes(value)
    if isinstance(value, Decimal) and value.is_finite():
        return b"m", str(value.normalize() if value else Decimal(0)).encode()
    raise DataError(
        f"{value!r} ({type(value).__name__}) cannot be part of a key",
        hint="give a string, an integer or a whole float, a boolean, a date, a time or bytes; a null matches nothing",
    )


def _time_bytes(value: dt.date | dt.time | dt.timedelta) -> tuple[bytes, bytes]:
    micro = dt.timedelta(microseconds=1)
    if isinstance(value, dt.datetime):
        start = dt.datetime(1970, 1, 1, tzinfo=None if value.tzinfo is None else dt.UTC)
        return b"n" if value.tzinfo is None else b"t", _int_bytes((value - start) // micro)
    if isinstance(value, dt.date):
        return b"d", _int_bytes(value.toordinal())
    if isinstance(value, dt.timedelta):
        return b"u", _int_bytes(value // micro)
    midnight = dt.timedelta(
        hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
    )
    return b"h", _int_bytes(midnight // micro)


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
