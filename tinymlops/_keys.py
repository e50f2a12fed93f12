"""Entity keys: typed tuples, matched by value and never as joined text, so ("1", "23") and ("12", "3") differ."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import polars as pl
    import pyarrow as pa

    Array = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["Coder", "all_key_bytes", "encode", "key_bytes", "key_values", "kind_of"]

_INT64 = struct.Struct(">q")
_INT64_HEAD = b"i" + (8).to_bytes(4, "big")
_LARGEST_CODE = 2**62
_LEAST_INT64 = -(2**63)
_SHOWN_ROWS = 5


class Coder:
    """Numbers the keys of a spine, then those of records, batch by batch: equal keys alike.

    Integers of any width and whole floats match by value; strings, categoricals and enums as strings; dates,
    times, booleans, binary and decimals match their own type.

    Args:
        spine: The key columns of the spine, m rows each.
        records: The types of the same columns of the records.
        names: What to call the columns in an error.

    Attributes:
        codes: int64[m], the spine's keys. What is not in `low` to `low + count - 1` has a null part.
        low: The least code.
        count: How many codes there are.

    Raises:
        DataError: If two columns' types cannot match, or a float is not whole.
    """

    def __init__(self, spine: Sequence[pl.Series], records: Sequence[pl.DataType], names: Sequence[str]) -> None:
        self._names = names
        self._kinds = [
            _common_kind(column.dtype, dtype, name, column.name)
            for name, column, dtype in zip(names, spine, records, strict=True)
        ]
        columns = [_canonical(column, kind, name) for column, kind, name in zip(spine, self._kinds, names, strict=True)]
        self._dtypes = [column.dtype for column in columns]
        self._numberings = [_numbering(column, dense=True) for column in columns]
        # Where the numbers of several parts would not fit into one integer, those so far are numbered anew.
        self._anew: dict[int, _Numbering] = {}
        self.codes, self.low, self.count = self._join(columns, learn=True)

    def number(self, records: Sequence[pl.Series], *, first_row: int = 0) -> Array:
        """Return int64[n], the codes of a batch of records; a key that no spine row has may have none.

        Args:
            records: The key columns.
            first_row: How many records came before, for an error.
        """
        columns = []
        for column, kind, dtype, name in zip(records, self._kinds, self._dtypes, self._names, strict=True):
            values = _canonical(column, kind, name, first_row=first_row)
            # What does not fit the spine's type equals nothing there.
            columns.append(values if values.dtype == dtype else values.cast(dtype, strict=False))
        return self._join(columns, learn=False)[0]

    def _join(self, columns: Sequence[pl.Series], *, learn: bool) -> tuple[Array, int, int]:
        codes, low, count = self._numberings[0](columns[0]), self._numberings[0].low, self._numberings[0].size
        for place, (column, numbering) in enumerate(zip(columns[1:], self._numberings[1:], strict=True), start=1):
            codes, low = _from_zero(codes, low, count), 0
            if learn and count * numbering.size >= _LARGEST_CODE:
                self._anew[place] = _numbering(_with_nulls(codes), dense=False)
            if place in self._anew:
                codes, count = self._anew[place](_with_nulls(codes)), self._anew[place].size
            part = _from_zero(numbering(column), numbering.low, numbering.size)
            codes, count = _combine(codes, part, numbering.size), count * numbering.size
        if learn and count > _dense_limit(len(codes)):
            self._anew[len(columns)] = _numbering(_with_nulls(codes), dense=False)
        if len(columns) in self._anew:
            codes, low, count = self._anew[len(columns)](_with_nulls(codes)), 0, self._anew[len(columns)].size
        return codes, low, count


def encode(spine: Sequence[pl.Series], records: Sequence[pl.Series], names: Sequence[str]) -> tuple[Array, Array, int]:
    """Number the keys of a spine and of records, equal keys alike, from 0.

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
    coder = Coder(spine, [column.dtype for column in records], names)
    sides = (coder.codes, coder.number(records))
    left, right = (_from_zero(codes, coder.low, coder.count) for codes in sides)
    return left, right, max(1, coder.count)


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
    return b"".join(map(_part, values))


def all_key_bytes(
    columns: Sequence[Sequence[Any]], prefix: bytes = b"", kinds: Sequence[type | None] | None = None
) -> list[bytes | None]:
    """Write the key of each row as `key_bytes` does; None where a part is null.

    Args:
        columns: The parts, a column for each.
        prefix: Put before each key.
        kinds: The type of each column's values, null left out, where the caller knows it.
    """
    if kinds is None:
        kinds = list(map(kind_of, columns))
    if len(columns) == 1:
        return _parts(columns[0], prefix, kinds[0])
    parts = [_parts(column, b"" if place else prefix, kinds[place]) for place, column in enumerate(columns)]
    return [None if None in row else b"".join(row) for row in zip(*parts, strict=True)]


def kind_of(values: Sequence[Any]) -> type | None:
    """Return the type of all values, null left out; None if they have several, or there are none."""
    if len(values) == 1:
        return None if values[0] is None else type(values[0])
    kinds: set[type] = set(map(type, values))
    kinds.discard(NoneType)
    return kinds.pop() if len(kinds) == 1 else None


def key_values(column: pl.Series, dtype: pl.DataType, name: str) -> list[Any]:
    """Return the values of a spine's key column as `all_key_bytes` takes them, after checking that they can match.

    Args:
        column: Of the spine.
        dtype: The type of the records' column.
        name: What to call the column in an error.

    Raises:
        DataError: If the types cannot match, or a float is not whole.
    """
    kind = _common_kind(column.dtype, dtype, name, column.name)
    if kind.family in ("null", "number", "string"):
        column = _canonical(column, kind, name)
    return column.to_list()


def _parts(column: Sequence[Any], prefix: bytes, kind: type | None) -> list[bytes | None]:
    """Write one part of every key; integers and strings in a line each, for requests hold nothing else as a rule."""
    try:
        if kind is int:
            head, pack = prefix + _INT64_HEAD, _INT64.pack
            return [head + pack(value) for value in column]
        if kind is str:
            head = prefix + b"s"
            texts = [text.encode("utf-8", "surrogatepass") for text in column]
            return [head + len(text).to_bytes(4, "big") + text for text in texts]
    except (struct.error, AttributeError):  # an integer beyond int64, or null
        pass
    return [None if value is None else prefix + _part(value) for value in column]


def _part(value: object) -> bytes:
    tag, payload = _tagged(value)
    return tag + len(payload).to_bytes(4, "big") + payload


def _combine(codes: Array, part: Array, size: int) -> Array:
    import numpy as np

    joined = codes * size + part
    joined[(codes < 0) | (part < 0)] = -1
    return np.asarray(joined, np.int64)


def _dense_limit(rows: int) -> int:
    """Return how many codes are few enough to be array indices: some unused ones cost less than a hash table."""
    return 4 * rows + 2**16


class _Numbering(NamedTuple):
    """How the values of one column get numbers: `low` to `low + size - 1`, anything else for none."""

    find: Callable[[pl.Series], Array]
    low: int
    size: int

    def __call__(self, values: pl.Series) -> Array:
        return self.find(values)


def _from_zero(codes: Array, low: int, count: int) -> Array:
    """Bring numbers to 0 and up, and -1 for none."""
    import numpy as np

    if low == 0 and (not codes.size or (codes.max() < count and codes.min() >= -1)):
        return codes
    known = (codes >= low) & (codes - low < count) & (codes - low >= 0)
    return np.where(known, codes - low, -1)


def _with_nulls(codes: Array) -> pl.Series:
    import polars as pl

    return pl.Series(codes).replace(-1, None)


def _numbering(spine: pl.Series, *, dense: bool) -> _Numbering:
    """Number the distinct values of a spine column: integers in a small range as they are, all else by hashing."""
    import polars as pl

    from tinymlops.kernels.hashing import IntegerTable, TextTable

    if spine.dtype in (pl.String, pl.Binary):
        text = TextTable(_views(spine))
        return _Numbering(lambda values: text.find(_views(values)), 0, text.count)
    if spine.dtype != pl.Int64:
        known = spine.drop_nulls().unique().alias("key").to_frame().with_row_index("code")
        return _Numbering(lambda values: _look_up(values, known), 0, known.height)
    low, high = spine.min(), spine.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return _Numbering(lambda values: _filled(values, -1)[0], 0, 0)
    if dense and high - low < _dense_limit(len(spine)):
        none = low - 1 if low > _LEAST_INT64 else high + 1
        return _Numbering(lambda values: _filled(values, none)[0], low, high - low + 1)
    integers = IntegerTable(*_filled(spine, 0))
    return _Numbering(lambda values: integers.find(*_filled(values, 0)), 0, integers.count)


def _filled(values: pl.Series, null: int) -> tuple[Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return int64[n] with a number in place of nulls, and bool[n] where they are, empty if there are none."""
    import numpy as np

    if not values.null_count():
        return values.to_numpy(), np.empty(0, np.bool_)
    return values.fill_null(null).to_numpy(), values.is_null().to_numpy()


def _views(values: pl.Series) -> pa.Array[Any]:
    import polars as pl

    return values.to_arrow(compat_level=pl.CompatLevel.newest())


def _look_up(values: pl.Series, known: pl.DataFrame) -> Array:
    import polars as pl

    joined = values.alias("key").to_frame().join(known, on="key", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int64).fill_null(-1).to_numpy()


class _Kind(NamedTuple):
    """What both sides of a key column are brought to."""

    family: str
    scale: int = 0
    same_unit: bool = True


def _common_kind(left: pl.DataType, right: pl.DataType, name: str, column: str) -> _Kind:
    """Find the kind of values whose equality is the key's.

    Raises:
        DataError: If there is none.
    """
    import polars as pl

    if pl.Null in (left, right):
        return _Kind("null")  # a column of nulls matches nothing, whatever the other side holds
    family = _family(left)
    if not family or family != _family(right):
        raise DataError(
            f"key column {name!r} is {left} in the spine ({column!r}) and {right} in the features",
            hint="cast one of them so that both are the same kind: integer, string, boolean, date, time or binary",
        )
    scale = max(getattr(left, "scale", 0), getattr(right, "scale", 0))
    return _Kind(family, scale, getattr(left, "time_unit", None) == getattr(right, "time_unit", None))


def _canonical(values: pl.Series, kind: _Kind, name: str, *, first_row: int = 0) -> pl.Series:
    """Bring one side of a key column to the type in which it is compared."""
    import polars as pl

    if kind.family == "null":
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(values))
    if kind.family == "number":
        return _whole(values, name, first_row)
    if kind.family == "string":
        return values.cast(pl.String)
    if kind.family == "boolean":
        return values.cast(pl.Int64)
    if kind.family == "decimal":
        return values.cast(pl.Decimal(38, kind.scale))
    if kind.family == "binary":
        return values
    return _instants(values, same_unit=kind.same_unit)


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


def _whole(values: pl.Series, name: str, first_row: int) -> pl.Series:
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
                f"key column {name!r} has numbers that are no whole int64, in rows "
                f"{[first_row + row for row in rows]}: {values.gather(rows).to_list()}",
                hint="a float is a key only where pandas made one of an integer; cast the column, or key by a string",
            )
    try:
        return values.cast(pl.Int64)
    except pl.exceptions.InvalidOperationError:  # beyond int64: found by trying, for almost none is
        return values.cast(pl.Int128)


def _instants(values: pl.Series, *, same_unit: bool) -> pl.Series:
    """Bring times to integers, of one unit where the two sides' differ."""
    import polars as pl

    numbers = values.to_physical()
    if same_unit:
        return numbers.cast(pl.Int64)
    # Far years do not fit into nanoseconds of 64 bits.
    factor = {"ns": 1, "us": 1_000, "ms": 1_000_000}[str(getattr(values.dtype, "time_unit", None))]
    return numbers.cast(pl.Int128) * pl.Series([factor], dtype=pl.Int128)


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
    return value.to_bytes(max(8, value.bit_length() // 8 + 1), "big", signed=True)
